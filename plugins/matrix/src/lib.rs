//! Optimizers that treat a weight as the matrix it is.
#![forbid(unsafe_code)]

pub mod muon;

sdk::plugin!();
