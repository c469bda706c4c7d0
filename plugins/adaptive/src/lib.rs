//! Optimizers that divide by a running measure of the gradient's size.
#![forbid(unsafe_code)]

pub mod adabelief;
pub mod adadelta;
pub mod adagrad;
pub mod adam;
pub mod adamax;
pub mod adamw;
pub mod adan;
pub mod ademamix;
pub mod adopt;
pub mod cautious_adamw;
pub mod grams;
pub mod laprop;
pub mod madgrad;
pub mod mars;
pub mod nadam;
pub mod nadamw;
pub mod radam;
pub mod rmsprop;
pub mod stableadamw;
pub mod yogi;

sdk::plugin!();

#[cfg(test)]
sdk::conformance! {}
