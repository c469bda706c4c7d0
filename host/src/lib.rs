//! The trainer: everything but the command line's `main`.
//!
//! Modules in reading order; see ARCHITECTURE.md for the map and the invariants.

pub mod fault;

pub mod config;
pub mod registry;

pub mod tensor;
pub mod rules;
pub mod optim;
pub mod projection;
pub mod growth;

pub mod data;
pub mod model;

pub mod checkpoint;
pub mod metrics;
pub mod run;
pub mod train;

pub mod cli;
