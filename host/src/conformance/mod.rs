//! Conformance: does a plugin's library keep its promises? Every label and level in a child process of its own, on the
//! runtime that trains. Decides nothing about a run; the checks themselves are `sdk::conformance`'s.
//!
//! A plugin may panic, abort, end the process or never come back. So the parent opens no library: children do, write
//! what they find into a file line by line, and are killed when their time is up.

mod card;
mod child;
pub mod families;
mod guarded;
mod hosted;
mod journal;
mod parent;
mod twins;

pub use child::{list_labels, run_level};
pub use hosted::Hosted;
pub use journal::to_json;
pub use parent::{Order, check};

/// Time that one level of one label may take where nothing else is said.
pub const TIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
