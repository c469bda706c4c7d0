//! `host plugin new`: a crate with one rule, ready to build, and its entry in a registry.
//! Builds nothing and loads nothing.
//!
//! # Codes
//!
//! | code | exit | fault |
//! |---|---|---|
//! | U010 | 2 | a name that cannot be a label, or is one already |
//! | U011 | 2 | a folder where no crate can be made |
//! | U012 | 2 | the sdk is not found |
//! | R040 | 4 | a registry that no entry can be written into |
//! | D110 | 8 | the crate or the registry cannot be written |

mod crate_folder;
mod entry;
mod names;
pub mod sdk_folder;
mod template;
mod workspace;

pub use crate_folder::{NewCrate, Plan};
pub use entry::RegistryEntry;
pub use names::Names;
pub use template::Rule;
