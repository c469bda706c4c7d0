//! Flags of `host registry`.
//! Does nothing with them; that is `registry_verbs.rs`.

use clap::{Args, Subcommand};

use super::args::RegistryFlags;

/// Flags of `host registry`.
#[derive(Args, Clone, Debug)]
pub struct RegistryVerbFlags {
    /// What to do.
    #[command(subcommand)]
    pub verb: RegistryVerb,
}

/// Verbs of `host registry`.
#[derive(Clone, Debug, Subcommand)]
pub enum RegistryVerb {
    /// Load every plugin, say whether all labels hold what the registry says, and which are one rule or one family
    #[command(after_help = "Examples:\n  host registry check\n  host registry check --json")]
    Check(RegistryCheckFlags),
    /// Write registry.lock: hashes, versions, labels and fingerprints of what is there now
    #[command(
        after_help = "Examples:\n  host registry lock --conformance\n  host registry lock --registry bundle/registry.toml"
    )]
    Lock(RegistryLockFlags),
    /// Say in words how what is there differs from registry.lock
    #[command(after_help = "Examples:\n  host registry diff")]
    Diff(RegistryFlags),
}

/// Flags of `host registry check`.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryCheckFlags {
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Flags of `host registry lock`.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryLockFlags {
    /// Run the conformance checks on every optimizer first, and lock only if all pass; takes minutes
    #[arg(long)]
    pub conformance: bool,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}
