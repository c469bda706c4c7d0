//! Flags of `host compare`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Flags of `host compare`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Runs that differ in the seed alone are one arm; arms differ in their optimizer or in any other knob. Warnings come
first: arms that share bits, unequal budgets, runs without a result. Runs on different texts are refused.

Examples:
  host compare runs
  host compare runs/lion-* runs/adamw-* --target 2.1
  host compare runs --by lr --html lr.html
  host compare runs/a runs/b --json"
)]
pub struct CompareFlags {
    /// Run directories, or folders of run directories
    #[arg(value_name = "RUN", required = true, value_hint = ValueHint::DirPath)]
    pub runs: Vec<PathBuf>,
    /// Tell arms apart by this knob alone, such as `lr` or `model.n_layer` [default: every knob that differs]
    #[arg(long, value_name = "KNOB")]
    pub by: Option<String>,
    /// Bits per byte to reach [default: the highest result of all runs that have finished]
    #[arg(long, value_name = "BPB", value_parser = target)]
    pub target: Option<f64>,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
    /// Write a page with curves and all tables too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
}

fn target(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("a finite number above 0".into()) }
}
