//! Room of `cli`.

pub mod args;
pub mod config_show;
