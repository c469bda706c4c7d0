//! Optimizers that keep a matrix's second moment as rows and columns.
#![forbid(unsafe_code)]

pub mod adafactor;
pub mod adafactor_fairseq;
pub mod came;

mod moments;

sdk::plugin!();
