//! Optimizers that see a parameter as a matrix, or as a tensor with a matrix along each dimension.
#![forbid(unsafe_code)]

pub mod muon;
pub mod muon_cwd;
pub mod shampoo;
pub mod shampoo_meta;
pub mod soap;

mod kronecker;
mod newton_schulz;

sdk::plugin!();
