//! Optimizers that follow a running sum of gradients.
#![forbid(unsafe_code)]

pub mod asgd;
pub mod sgdm;

sdk::plugin!();

#[cfg(test)]
sdk::conformance! {}
