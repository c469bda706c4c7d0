//! `host compare`: what several runs say together, and how far that can be believed.
//! Trains nothing and writes into no run directory.
//!
//! Runs are [`fn@gather`]ed and checked against their own records, dealt out to [`arms`] by the knobs in which they differ
//! ([`told`]), compared bit by bit ([`identity`]) and number by number ([`statistics`], [`target`]). The
//! [`comparison`] holds all of it, with the [`remarks`] that must be read first; [`tables`], [`json`] and [`page`] show it.

pub mod told;

pub mod gather;
pub mod run;

pub mod arms;
pub mod identity;
pub mod statistics;
pub mod student_t;
pub mod target;

pub mod comparison;
pub mod remarks;

pub mod chart;
pub mod curves;
pub mod json;
pub mod page;
pub mod tables;

pub use comparison::{Comparison, Question};
pub use gather::gather;
pub use run::Run;
