//! Optimizers whose steps are signs: every element moves by the same length.
#![forbid(unsafe_code)]

pub mod cautious_lion;
pub mod lion;
pub mod rprop;
pub mod signsgd;
pub mod tiger;
pub mod tiger_authors;

sdk::plugin!();

#[cfg(test)]
sdk::conformance! {}
