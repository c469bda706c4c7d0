//! Architecture operations: changes of the network.
#![forbid(unsafe_code)]

pub mod adapter;
pub mod decrease_attn_lora_scaling;
pub mod decrease_vocab_lora_scaling;
pub mod duplicate_layer;
pub mod freeze_layer;
pub mod hidden_units;
pub mod layer;
pub mod layer_map;
pub mod merge_lora_weights;
pub mod resize_vocabulary;
pub mod set_attn_lora_rank;
pub mod set_mlp_width;
pub mod set_vocab_lora_rank;
pub mod stack_layers;
pub mod unfreeze_layer;
pub mod widen_mlp;

sdk::plugin!();
