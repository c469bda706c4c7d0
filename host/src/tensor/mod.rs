//! The only room where libtorch and the plugin boundary meet.
//! Decides nothing about training: it stores, offers and runs tensors for the rooms that do.
#![allow(unsafe_code)]

pub mod arena;
pub mod batch;
pub mod bytes;
pub mod device;
pub mod fingerprint;
pub mod index_map;
pub mod libtorch;
pub mod memory;
pub mod project;
pub mod slots;
mod symmetric;
pub mod tables;
pub mod trace;
pub mod whole;

pub use arena::Scope;
pub use batch::Batch;
pub use fingerprint::matrix_fingerprint;
pub use whole::WholeRule;
