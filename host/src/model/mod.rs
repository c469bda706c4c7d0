//! The network: nanoGPT's GPT in libtorch operations, with names as there.
//! Does not train itself: gradients come from autograd, steps from plugins.

pub mod architecture;
mod attention;
mod backward;
mod block;
mod builder;
mod dropout;
mod embedding;
mod format;
mod gpt;
mod init;
mod layer_norm;
mod linear;
mod load;
pub(crate) mod lora;
mod mlp;
mod network;
pub mod parameter;
mod pass;

pub use architecture::Architecture;
pub use dropout::dropout_seed;
pub use format::kind;
pub use gpt::Gpt;
pub(crate) use gpt::refused;
pub use lora::Ranks;
pub use parameter::{Parameter, Role};
