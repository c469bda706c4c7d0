//! Flags of `host generate`.
//! Does nothing with them; that is `generate.rs`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use clap_complete::Shell;

use super::args::RegistryFlags;

/// Flags of `host generate`.
#[derive(Args, Clone, Debug)]
pub struct GenerateFlags {
    /// What to do.
    #[command(subcommand)]
    pub verb: GenerateVerb,
}

/// Verbs of `host generate`.
#[derive(Clone, Debug, Subcommand)]
pub enum GenerateVerb {
    /// Print a script that completes verbs, flags and their values in a shell
    #[command(
        after_help = "Labels and presets are those of the moment: after a change of the registry, generate again.

Examples:
  host generate completions bash > ~/.local/share/bash-completion/completions/host
  host generate completions zsh > ~/.zfunc/_host
  host generate completions fish > ~/.config/fish/completions/host.fish
  host generate completions bash --registry bundle/registry.toml"
    )]
    Completions(CompletionsFlags),
    /// Print the manual page of the program, or write a page for every verb
    #[command(after_help = "Examples:
  host generate man | man -l -
  host generate man --dir ~/.local/share/man/man1")]
    Man(ManFlags),
    /// Write the reference pages: command line, configuration, variables, and the optimizers of a registry
    #[command(after_help = "Examples:
  host generate reference --dir docs/reference
  host generate reference --dir /tmp/pages --registry bundle/registry.toml")]
    Reference(ReferenceFlags),
}

/// Flags of `host generate completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsFlags {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
    /// Registry whose labels are completed [default: registry.toml here, or beside the executable; none is no fault]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub registry: Option<PathBuf>,
}

/// Flags of `host generate man`.
#[derive(Args, Clone, Debug, Default)]
pub struct ManFlags {
    /// Write a page for every verb into this folder, and print none
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Flags of `host generate reference`.
#[derive(Args, Clone, Debug)]
pub struct ReferenceFlags {
    /// Write the pages into this folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}
