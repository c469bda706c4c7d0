//! The trainer: everything but the command line's `main`.
//!
//! Modules in reading order; see ARCHITECTURE.md for the map and the invariants.

pub mod fault;
pub mod text_file;

pub mod config;
pub mod registry;

pub mod growth;
pub mod optim;
pub mod projection;
pub mod rules;
pub mod tensor;

mod child_process;
pub mod conformance;

pub mod random;

pub mod data;
pub mod evaluation;
pub mod model;
pub mod sample;

pub mod checkpoint;
pub mod metrics;
pub mod run;
pub mod train;

pub mod export;
pub mod trained;

pub mod compare;
pub mod preflight;

pub mod scaffold;

pub mod doctor;
pub mod reference;

pub mod cli;
