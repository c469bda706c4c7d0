//! Architecture operations: changes of the network.
#![forbid(unsafe_code)]

pub mod freeze_layer;
pub mod layer;
pub mod unfreeze_layer;

sdk::plugin!();
