//! `host plan`: the whole schedule of a run with the network, memory and cost after each operation.
//! Trains nothing and writes nothing.

use serde_json::Value;

use super::{Invocation, args::PlanFlags, stdout};
use crate::{
    config,
    fault::Exit,
    train::{Trainer, forecast, prepare},
};

/// `host plan`.
///
/// # Errors
/// All that `host train` would find wrong before it begins.
pub fn plan(flags: &PlanFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let told = config::examine(&flags.knobs.0, &invocation.variables, &invocation.cwd);
    let prepared = prepare(told, flags.registry.registry.as_deref(), flags.registry.plugin_dir.as_deref())?;
    let stages = Trainer::new(&prepared)?.forecast()?;
    if flags.json {
        stdout::print_json(&Value::Array(stages.iter().map(|stage| stage.json()).collect()))?;
    } else {
        stdout::print(&stdout::table(&forecast::HEAD, stages.iter().map(|stage| stage.row()).collect()))?;
    }
    Ok(Exit::Ok)
}
