//! What black-box tests share: built plugins, and a folder to run the binary in.
// Every test binary has a copy of this module and uses its own part of it.
#![allow(dead_code, unused_imports)]

pub mod faulty_disk;
pub mod plugins;
pub mod rules;
mod workshop;

pub use plugins::{library, plugins};
pub use workshop::{Finished, TINY, Workshop, registry, repository, text};
