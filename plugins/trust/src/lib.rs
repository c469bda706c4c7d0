//! Optimizers whose step follows the norm of a whole tensor.
#![forbid(unsafe_code)]

pub mod adamp;
pub mod lamb;
pub mod lars;
pub mod novograd;

sdk::plugin!();

#[cfg(test)]
sdk::conformance! {}
