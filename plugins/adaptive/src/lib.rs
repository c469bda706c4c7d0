//! Optimizers that divide by a running measure of the gradient's size.
#![forbid(unsafe_code)]

pub mod adamw;

sdk::plugin!();
