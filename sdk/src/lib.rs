//! What a plugin author depends on.

pub mod abi;
pub mod tape;
