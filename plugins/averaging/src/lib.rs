//! Optimizers that are evaluated at other weights than they train, or move through an average.
#![forbid(unsafe_code)]

pub mod ranger;
pub mod schedulefree_adamw;
pub mod schedulefree_sgd;
mod weights;

sdk::plugin!();

#[cfg(test)]
sdk::conformance! {}
