//! The network.

pub mod parameter;

pub use parameter::{Parameter, Role};
