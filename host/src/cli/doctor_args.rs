//! Flags of `host doctor`.
//! Does nothing with them; that is `doctor.rs`.

use clap::{Args, builder::PossibleValuesParser};

use super::args::RegistryFlags;
use crate::{config::choice::DEVICES, doctor::Part};

/// Flags of `host doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorFlags {
    /// What runs will ask for: with cuda a card that cannot be used is a fault, with cpu none is looked for
    #[arg(long, value_name = "WORD", default_value = "auto", value_parser = PossibleValuesParser::new(DEVICES))]
    pub device: String,
    /// Print JSON for machines: `fit`, `exit_code` and `findings`, each with `what`, `state`, `text`, `hint`, `facts` and `faults`
    #[arg(long)]
    pub json: bool,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
    /// What the program asks of its own children
    #[arg(long, hide = true, value_enum, conflicts_with = "json")]
    pub part: Option<Part>,
    /// A plugin that a child leaves out, for it ended another
    #[arg(long, hide = true, requires = "part")]
    pub without: Vec<String>,
}
