//! Optimizers for the trainer: example-rule.
#![forbid(unsafe_code)]

pub mod example_rule;

// A library may have any number of rules: one file each, named here, with one entry each in the registry.
sdk::plugin!();

// Tests of every rule over elements in this library: the checks of `host plugin check`, as far as they need no host.
#[cfg(test)]
sdk::conformance! {}
