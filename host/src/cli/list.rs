//! `host --list-optimizers`, `--list-projections`, `--list-arch-ops`: every label of a kind and what its plugin says.
//! Labels that cannot be loaded are listed as such, and end the program as what they are.

use std::sync::Arc;

use sdk::conformance::properties;
use serde_json::{Value, json};

use super::stdout;
use crate::{
    fault::{Fault, Faults},
    registry::{Entry, Kind, Loaded, Registry, state_bytes},
};

/// Prints all labels of a kind: a table, or JSON.
///
/// # Errors
/// All faults of these labels, after the list is printed.
pub fn list(registry: &Registry, kind: Kind, json: bool) -> anyhow::Result<()> {
    let survey = registry.survey_kind(kind);
    let mut labels: Vec<_> = survey.labels().iter().collect();
    labels.sort_by(|a, b| a.0.label.cmp(&b.0.label));
    if json {
        let all: Vec<Value> = labels
            .iter()
            .map(|(entry, result)| match result {
                Ok(loaded) => loaded_json(loaded),
                Err(faults) => Ok(failed_json(entry, faults)),
            })
            .collect::<Result<_, Fault>>()?;
        stdout::print_json(&Value::Array(all))?;
    } else {
        let rows = labels
            .iter()
            .map(|(entry, result)| match result {
                Ok(loaded) => loaded_row(loaded),
                Err(faults) => Ok(failed_row(entry, faults)),
            })
            .collect::<Result<_, Fault>>()?;
        let state = if kind == Kind::Optimizer { "state B/param" } else { "state" };
        // Formulas are long: last, so that nothing is pushed to the right by them.
        let head =
            ["label", "aliases", "plugin", "version", state, "portable", "declares", "paper", "summary", "formula"];
        stdout::print(&stdout::table(&head, rows))?;
    }
    survey.faults().check().map_err(Into::into)
}

/// What a label is, for machines.
///
/// # Errors
/// P002 where the plugin no longer says what it said at load.
pub fn loaded_json(loaded: &Arc<Loaded>) -> Result<Value, Fault> {
    let hyper = loaded.defaults();
    let bytes = loaded.state_bytes()?;
    let slots = loaded.slots(&hyper)?;
    let narrow = loaded.narrow_by_default()?;
    let slots = slots.iter().map(|slot| {
        let bf16 = narrow >> slot.index & 1 != 0;
        json!({ "name": slot.name.as_str(), "shape": state_bytes::shape(slot), "bf16": bf16 })
    });
    Ok(json!({
        "kind": loaded.kind.name(),
        "label": loaded.label,
        "aliases": loaded.entry.aliases,
        "summary": loaded.descriptor.summary.as_str(),
        "paper": loaded.descriptor.paper.as_str(),
        "declares": properties::declared(&loaded.descriptor).collect::<Vec<_>>(),
        "formula": loaded.formula(&hyper)?,
        "portable": loaded.portable()?,
        "fingerprint": loaded.fingerprint(),
        "state_bytes_per_parameter": bytes.as_ref().map(|bytes| bytes.per_parameter),
        "state_bytes_per_parameter_bf16": bytes.map(|bytes| bytes.with_narrow(narrow).per_parameter),
        "state": slots.collect::<Vec<_>>(),
        "plugin": loaded.entry.plugin,
        "abi": abi(loaded),
        "sdk": loaded.fact("sdk"),
        "rustc": loaded.fact("rustc"),
        "library": loaded.library.path.display().to_string(),
        "sha256": loaded.library.sha256,
    }))
}

/// `1.0`: the ABI a label's library was built for and the minor it needs.
pub fn abi(loaded: &Loaded) -> String {
    format!("{}.{}", loaded.library.abi.major, loaded.library.abi.required_minor)
}

/// What runs a label and what it was built with, in a few words.
pub fn version(loaded: &Loaded) -> String {
    let sdk = loaded.fact("sdk").map_or(String::new(), |sdk| format!(", sdk {sdk}"));
    format!("abi {}{sdk}", abi(loaded))
}

fn loaded_row(loaded: &Arc<Loaded>) -> Result<Vec<String>, Fault> {
    let formula = match loaded.formula(&loaded.defaults())? {
        Some(formula) => formula.lines().collect::<Vec<_>>().join("; "),
        None => "-".to_string(),
    };
    let portable = match loaded.portable()? {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    Ok(vec![
        loaded.label.clone(),
        aliases(&loaded.entry),
        loaded.entry.plugin.clone(),
        version(loaded),
        loaded.state_bytes()?.map_or("-".to_string(), |bytes| bytes.to_string()),
        portable.to_string(),
        some_of(&properties::declared(&loaded.descriptor).collect::<Vec<_>>().join(", ")),
        loaded.descriptor.paper.to_string(),
        loaded.descriptor.summary.to_string(),
        formula,
    ])
}

fn failed_row(entry: &Entry, faults: &Faults) -> Vec<String> {
    let none = || "-".to_string();
    let text = format!("cannot be loaded: {}", codes(faults));
    let known = [entry.label.clone(), aliases(entry), entry.plugin.clone()];
    let told = [none(), none(), none(), none(), none(), text, none()];
    known.into_iter().chain(told).collect()
}

fn failed_json(entry: &Entry, faults: &Faults) -> Value {
    json!({
        "kind": entry.kind.name(),
        "label": entry.label,
        "aliases": entry.aliases,
        "plugin": entry.plugin,
        "faults": faults.0.iter().map(|fault| json!({ "code": fault.code, "message": fault.message })).collect::<Vec<_>>(),
    })
}

fn codes(faults: &Faults) -> String {
    faults.0.iter().map(|fault| fault.code).collect::<Vec<_>>().join(", ")
}

fn aliases(entry: &Entry) -> String {
    some_of(&entry.aliases.join(", "))
}

/// A text for a cell that is not empty.
fn some_of(text: &str) -> String {
    if text.is_empty() { "-".to_string() } else { text.to_string() }
}
