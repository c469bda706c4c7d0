//! Optimizers whose steps are signs: every element moves by the same length.
#![forbid(unsafe_code)]

pub mod lion;

sdk::plugin!();
