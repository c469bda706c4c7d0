//! Optimizers that estimate their step size while they train: sums over all tensors, and a memory.
#![forbid(unsafe_code)]

pub mod dadapt_adam;
pub mod prodigy;

sdk::plugin!();

#[cfg(test)]
sdk::conformance! {}
