//! Flags of `host plugin`.
//! Does nothing with them; that is `plugin_new.rs` and `plugin_verbs.rs`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::args::RegistryFlags;
use crate::scaffold::Rule;

/// Flags of `host plugin`.
#[derive(Args, Clone, Debug)]
pub struct PluginVerbFlags {
    /// What to do.
    #[command(subcommand)]
    pub verb: PluginVerb,
}

/// Verbs of `host plugin`.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginVerb {
    /// Make a crate with one rule under a new label, ready to build, and print its entry for a registry
    #[command(after_help = "Examples:
  host plugin new my-opt
  host plugin new my-opt --rule matrix --path ../my-opt --register
  host plugin new my-opt --path /elsewhere/my-opt --sdk ~/trainer/sdk > my-registry.toml")]
    New(PluginNewFlags),
    /// Run the conformance checks on every optimizer of a library, each in a process of its own
    #[command(
        after_help = "Levels: 1 protocol, 2 what a step leaves alone, 3 the same bits, 4 declarations, 5 convergence,
6 kernels against the recorded expression, 7 twins.

Examples:
  host plugin check target/debug/libmy_plugin.so
  host plugin check target/debug/libmy_plugin.so --label my-opt --level 4
  host plugin check target/debug/libmy_plugin.so --json --time-limit 300"
    )]
    Check(PluginCheckFlags),
    /// Tell what a library is: hash, ABI, labels
    #[command(after_help = "Examples:\n  host plugin inspect target/debug/libmy_plugin.so")]
    Inspect(PluginInspectFlags),
    /// One level of one label: what `check` starts
    #[command(hide = true)]
    CheckOne(PluginCheckOneFlags),
}

/// Flags of `host plugin check`.
#[derive(Args, Clone, Debug)]
pub struct PluginCheckFlags {
    /// Library of the plugin; it need not be in the registry
    #[arg(value_name = "LIBRARY", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Check this label alone
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// Run this level alone
    #[arg(long, value_name = "1-7", value_parser = clap::value_parser!(u8).range(1..=7))]
    pub level: Option<u8>,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
    /// Time that one level of one label may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = crate::conformance::TIME_LIMIT.as_secs_f64(), value_parser = seconds)]
    pub time_limit: f64,
    /// Registry, whose labels twins are looked for among.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// A time in seconds.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value > 0.0 && value <= 1e6 { Ok(value) } else { Err("a number above 0, at most a million".into()) }
}

/// Flags of `host plugin inspect`.
#[derive(Args, Clone, Debug)]
pub struct PluginInspectFlags {
    /// Library of a plugin
    #[arg(value_name = "LIBRARY", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
}

/// Flags of `host plugin check-one`.
#[derive(Args, Clone, Debug)]
pub struct PluginCheckOneFlags {
    /// Library of the plugin
    pub file: PathBuf,
    /// Where findings are written
    #[arg(long)]
    pub journal: PathBuf,
    /// The label; without one, all labels are listed
    #[arg(long, requires = "level")]
    pub label: Option<String>,
    /// The level
    #[arg(long)]
    pub level: Option<u8>,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Flags of `host plugin new`.
#[derive(Args, Clone, Debug)]
pub struct PluginNewFlags {
    /// Label of the rule
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What the label stands for
    #[arg(long, value_enum, default_value_t = NewKind::Optimizer)]
    pub kind: NewKind,
    /// What the rule is made of
    #[arg(long, value_enum, default_value_t = Rule::Elementwise)]
    pub rule: Rule,
    /// Folder of the new crate, which must not exist [default: NAME, here]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub path: Option<PathBuf>,
    /// Folder of the crate `sdk` [default: that of the checkout this program lies in]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub sdk: Option<PathBuf>,
    /// Registry whose labels are taken [default: registry.toml here, beside the executable, or of the checkout]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub registry: Option<PathBuf>,
    /// Write the entry into the registry too
    #[arg(long)]
    pub register: bool,
}

/// What `host plugin new` can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NewKind {
    /// How a gradient changes a parameter
    Optimizer,
}
