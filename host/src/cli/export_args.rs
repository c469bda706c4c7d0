//! Flags of `host export`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Flags of `host export`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Names are nanoGPT's, adapters are merged into their weights, and the element type is the one that was trained; of
bf16, merged weights are f32, for a weight of bf16 would lose what is merged. A head that shares the token embedding
has no tensor of its own. Sizes and vocabulary are in the file's header.

Examples:
  host export runs/my-run --out my-model.safetensors
  host export runs/my-run/checkpoints/step-00000500 --out older.safetensors --force"
)]
pub struct ExportFlags {
    /// Run directory (its latest checkpoint is taken) or checkpoint
    #[arg(value_name = "RUN-DIR|CHECKPOINT", value_hint = ValueHint::DirPath)]
    pub from: PathBuf,
    /// File to write, outside run directories
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// Replace the file where there is one
    #[arg(long)]
    pub force: bool,
}
