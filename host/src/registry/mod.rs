//! From a label to the plugin that runs it: `registry.toml`, `registry.lock`, loading, and the one way to resolve a
//! label. Does not run a plugin's rule, and decides nothing about parameter groups or hyper-parameters of a run.
//!
//! # Which libraries are opened
//!
//! [`Registry::resolve`] opens the libraries of the wanted labels and fails on any fault of theirs. It also opens those
//! of all other optimizer labels, to see whether two labels are secretly one rule; a fault of such a library is no
//! fault of the run: a label whose library is missing does not stop a run that does not use it. [`Registry::load_all`]
//! is strict about every label, and `host registry check` is that.
//!
//! # Codes
//!
//! | code | exit | fault |
//! |---|---|---|
//! | R001 | 4 | a label is not in the registry |
//! | R002 | 4 | `registry.toml` is missing or cannot be read |
//! | R003 | 4 | `registry.toml` is not understood: syntax, key, kind of value |
//! | R004 | 4 | a label or an alias is defined twice |
//! | R005 | 4 | an entry names a plugin, label or role that does not exist |
//! | R006 | 4 | the registry has no label |
//! | R007 | 4 | a hyper-parameter of an entry does not fit the plugin's schema |
//! | R008 | 4 | a hyper-parameter of the run does not fit the plugin's schema (found by `optim`) |
//! | R010 | 4 | a plugin's library is missing or cannot be read |
//! | R011 | 4 | a library is not a whole plugin for this machine |
//! | R012 | 4 | a library needs another library or a symbol that plugins may not use |
//! | R013 | 4 | a library is not the one that `registry.lock` names |
//! | R014 | 4 | `registry.lock` cannot be read or is missing where it is asked for |
//! | R015 | 4 | abi_stable refuses a library: no root module, or another layout |
//! | R016 | 4 | a plugin is built for another ABI |
//! | R017 | 4 | a plugin fails while it is loaded |
//! | R018 | 4 | a plugin is built with `panic = "abort"` |
//! | R019 | 4 | a plugin describes itself wrongly |
//! | R020 | 4 | a plugin does not export a label |
//! | R021 | 4 | a plugin exports a label as another kind |
//! | R022 | 4 | two labels are the same rule |
//! | R023 | 4 | `same_rule_as` is not true |
//! | R024 | 4 | a plugin lacks a table, or has it in another shape |
//! | R025 | 4 | a label is not the one that `registry.lock` names |
//! | R026 | 4 | the library to be checked, or the label in it, is not there (found by `conformance`) |
//! | R030 | 6 | `registry.lock` no longer tells what is there (`host registry diff`) |
//! | R035 | 4 | a library ended the process in which it was opened (found by `doctor`) |
//! | P001 | 5 | a plugin panicked |
//! | P002 | 5 | a plugin reported an error |
//! | P003 | 5 | a plugin was called again after a panic, or answered with an unknown status |

mod catalogue;
mod consistency;
mod descriptor;
mod elf;
mod entry;
pub mod families;
mod fingerprint;
pub mod hyper;
mod kind;
mod library;
mod loaded;
pub mod lock;
mod module;
mod parse;
mod source;
pub mod state_bytes;
pub mod twins;

pub use catalogue::{Catalogue, Survey, Wanted};
pub use entry::{Companion, Entry, PluginEntry};
pub use kind::Kind;
pub use library::Library;
pub use loaded::{Loaded, of_panic};
pub use lock::LockState;
pub use parse::is_label;
pub use source::Registry;
pub use state_bytes::StateBytes;

#[cfg(test)]
mod tests;
