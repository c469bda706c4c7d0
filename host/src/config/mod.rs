//! Settings of a run, and where each value came from: flags, variables, files, presets.
//! Reads no process-wide state: variables and the working directory are handed in.
//!
//! Reading order: [`settings`] is the result; [`knobs`] is the one table everything else is made from;
//! [`schema`] says what a key means; [`variables`], [`mod@file`], [`command_line`], [`presets`] and [`schedule_file`]
//! read one source each into a layer of [`layers`]; [`resolve()`] merges the layers and [`check`]s the result; [`origin`], [`trace`] and
//! [`mod@write`] tell it.

pub mod settings;

pub mod choice;
pub mod faults;
pub mod kind;
pub mod knobs;
pub mod schema;
pub mod value;

pub mod command_line;
pub mod file;
pub mod layers;
pub mod presets;
pub mod schedule_file;
pub mod variables;

pub mod check;
pub mod origin;
pub mod resolve;

pub mod reference;
pub mod trace;
pub mod write;

pub use command_line::Flags;
pub use knobs::{KNOBS, Knob};
pub use origin::{Origin, Origins, Source};
pub use resolve::{Resolved, examine, for_resume, recorded, resolve, unchanged};
pub use settings::Settings;
pub use value::Value;
pub use variables::Variables;

#[cfg(test)]
mod tests;
