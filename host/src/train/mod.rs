//! Training: what is settled before work begins, the step, the loop, and what a run carries from step to step.
//!
//! A step is a sentence: batch → forward → backward → clip → project → update. Everything the sentence names lives in a
//! room of its own; this one only says it.

pub mod forecast;
mod ledger;
mod lineage;
mod operate;
pub mod prepare;
mod progress;
pub mod step;
mod takers;
mod trainer;

pub use ledger::{Ledger, Terms};
pub use prepare::{Prepared, prepare};
pub use progress::Progress;
pub use trainer::Trainer;
