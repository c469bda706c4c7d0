//! Projections: what happens to a gradient before the optimizer sees it.
#![forbid(unsafe_code)]

pub mod remove_direction;

sdk::plugin!();
