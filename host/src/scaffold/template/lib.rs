//! Optimizers for the trainer: example-rule.
#![forbid(unsafe_code)]

pub mod example_rule;

// A library may have any number of rules: one file each, named here, with one entry each in the registry.
sdk::plugin!();
