//! Flags of `host preflight`.
//! Does nothing with them; that is `preflight.rs`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::args::{KnobFlags, RegistryFlags};
use crate::preflight::{TIME_LIMIT, Via};

/// Flags of `host preflight`.
#[derive(Args, Clone, Debug)]
pub struct PreflightFlags {
    /// Labels that the fleet will use, separated by commas
    #[arg(long, value_name = "LABELS", value_delimiter = ',', required = true)]
    pub optimizers: Vec<String>,
    /// How the fleet sends seed and label to a run
    #[arg(long, value_enum, default_value_t = Via::Env)]
    pub via: Via,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
    /// Folder of the runs that are let through; the result is kept there [default: that of the configured run, or `runs`]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub runs_dir: Option<PathBuf>,
    /// Keep the runs of the gate with their checkpoints: in DIR, or beside the result
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, value_hint = ValueHint::DirPath)]
    pub keep: Option<Option<PathBuf>>,
    /// Runs at a time [default: as the machine has room]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Time that a run may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = TIME_LIMIT.as_secs_f64(), value_parser = super::plugin_args::seconds)]
    pub time_limit: f64,
    /// Knobs.
    #[command(flatten)]
    pub knobs: KnobFlags,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Flags of `host evaluate-start`.
#[derive(Args, Clone, Debug)]
pub struct EvaluateStartFlags {
    /// Knobs.
    #[command(flatten)]
    pub knobs: KnobFlags,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// What is said behind the flags.
pub fn preflight_help() -> &'static str {
    "Give it the flags, variables and files of the fleet. Every run is short, a process
of its own, and has a directory of its own.

Checks:
  1  seeds make a difference
  2  so do optimizers, and every one of them makes progress
  3  a label that is not in the registry is refused
  4  the same seed and label give the same bits
  5  learning rate and schedule reach every label
Exit code 0 only if all hold, 6 where one does not.

Examples:
  host preflight --optimizers adamw,lion,muon --config fleet.toml
  host preflight --optimizers lion,muon --config fleet.toml --via flag --steps 100 --json
  host preflight --optimizers adamw,soap --preset default --keep=gate"
}
