//! Runs the rules of plugins over tensors: elementwise kernels on libtorch's threads or on a CUDA card, recorded
//! expressions on other devices, and the norm of the gradients. Does not know optimizers, groups or hyper-parameters by name; that is
//! `optim`.
//!
//! Every result is the same for any number of threads, any chunk size and any instruction set.
#![allow(unsafe_code)]

pub mod instruction_set;
pub mod threads;

pub mod chunks;
pub mod cuda;
mod grid;
pub mod interpret;
pub mod kernel;
pub mod norm;
pub mod pass;
pub mod touched;

#[cfg(test)]
pub(crate) mod pass_tests;
#[cfg(test)]
mod tests;

pub use instruction_set::InstructionSet;
pub use kernel::{Memory, Pass, Rule, Target};
pub use touched::Touched;
