//! Settings of a run and where each came from.

pub mod settings;

pub use settings::Settings;
