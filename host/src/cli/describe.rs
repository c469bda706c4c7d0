//! `host describe LABEL`: all that registry and plugin say about a label.
//! Runs nothing but the plugin's own description.

use std::{fmt::Write, sync::Arc};

use sdk::{abi::SlotDescriptor, conformance::properties};
use serde_json::{Value, json};

use super::{
    list::{abi, loaded_json},
    stdout,
};
use crate::{
    fault::{Exit, Fault},
    registry::{Kind, Loaded, Registry, Wanted, hyper, state_bytes},
    rules::cuda::source::{self, Shape, Storage},
};

/// Prints what `label` is, in every kind that has it: text, or JSON.
///
/// # Errors
/// R001 for an unknown label; all faults of its plugin.
pub fn describe(registry: &Registry, label: &str, json: bool) -> anyhow::Result<()> {
    let place = format!("host describe {label}");
    let entries = registry.known_as_any(label, &place)?;
    let wanted = |kind| Wanted { kind, label: label.to_string(), place: place.clone() };
    let catalogue = registry.resolve(&entries.iter().map(|entry| wanted(entry.kind)).collect::<Vec<_>>())?;
    if json {
        let all = catalogue.iter().map(|loaded| whole_json(loaded, registry)).collect::<Result<Vec<_>, Fault>>()?;
        return stdout::print_json(&Value::Array(all));
    }
    let all = catalogue.iter().map(|loaded| text(loaded, registry)).collect::<Result<Vec<_>, Fault>>()?;
    stdout::print(&all.join("\n"))
}

/// Prints the CUDA source of an optimizer's kernel in one storage format, at its defaults.
///
/// # Errors
/// R001 for an unknown label; R033 for an optimizer that is no rule over elements; all faults of its plugin.
pub fn cuda_source(registry: &Registry, label: &str, storage: Storage) -> anyhow::Result<()> {
    let place = format!("host describe {label} --cuda-source");
    let wanted = Wanted { kind: Kind::Optimizer, label: label.to_string(), place: place.clone() };
    let catalogue = registry.resolve(&[wanted])?;
    let loaded = catalogue.iter().next().map(|loaded| loaded.record(&loaded.defaults())).transpose()?.flatten();
    let Some(tape) = loaded else {
        let text = format!("optimizer `{label}` has no kernel: it is a rule over whole tensors");
        return Err(Fault::new("R033", Exit::Registry, text).at(place).into());
    };
    stdout::print(&source::source(&tape, &Shape::of(&tape, storage), source::THREADS))
}

fn whole_json(loaded: &Arc<Loaded>, registry: &Registry) -> Result<Value, Fault> {
    let mut value = loaded_json(loaded)?;
    let schema = loaded.schema().iter().zip(loaded.defaults());
    let hyper = schema.map(|(hyper, default)| {
        json!({
            "name": hyper.name.as_str(),
            "kind": hyper.kind.as_str(),
            "default": hyper::value(hyper, default),
            "source": loaded.default_source(&hyper.name),
            "low": hyper.low,
            "high": hyper.high,
            "choices": hyper.choices.iter().map(|choice| choice.as_str()).collect::<Vec<_>>(),
            "meaning": hyper.meaning.as_str(),
        })
    });
    value["hyper"] = hyper.collect();
    let (slots, narrow) = (loaded.slots(&loaded.defaults())?, loaded.narrow_by_default()?);
    value["state"] = slots
        .iter()
        .map(|slot| {
            json!({
                "name": slot.name.as_str(),
                "shape": state_bytes::shape(slot),
                "start": start(slot),
                "value_degree": slot.value_degree,
                "grad_degree": slot.grad_degree,
                "bf16": narrow >> slot.index & 1 != 0,
            })
        })
        .collect();
    value["same_rule_as"] = json!(loaded.entry.same_rule_as);
    value["companion"] = json!(loaded.entry.companion.as_ref().map(|companion| {
        json!({ "roles": companion.roles, "optimizer": companion.optimizer, "hyper": companion.hyper })
    }));
    value["portable"] = json!(loaded.portable()?);
    value["lock"] = json!(registry.lock_state().to_string());
    let facts = loaded.descriptor.facts.iter().map(|fact| (fact.0.to_string(), json!(fact.1.as_str())));
    value["facts"] = Value::Object(facts.collect());
    Ok(value)
}

fn text(loaded: &Arc<Loaded>, registry: &Registry) -> Result<String, Fault> {
    let mut text = format!("{} ({}): {}\n\n", loaded.label, loaded.kind, loaded.descriptor.summary);
    for (name, value) in facts(loaded, registry)? {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<12} {value}");
    }
    if let Some(formula) = loaded.formula(&loaded.defaults())? {
        text += "\nformula\n";
        for line in formula.lines() {
            text += &format!("  {line}\n");
        }
    }
    section(&mut text, "hyper-parameters", &["name", "default", "from", "range", "meaning"], hyper_rows(loaded));
    let (slots, narrow) = (loaded.slots(&loaded.defaults())?, loaded.narrow_by_default()?);
    let bytes = loaded.state_bytes()?.map(|bytes| {
        let less = if narrow == 0 { String::new() } else { format!(", {} in bf16", bytes.clone().with_narrow(narrow)) };
        format!("state: {bytes} bytes per parameter in f32{less}")
    });
    let head = ["name", "shape", "starts as", "degree in value", "degree in gradient", "in bf16"];
    let rows = slots.iter().map(|slot| slot_row(slot, narrow >> slot.index & 1 != 0));
    section(&mut text, &bytes.unwrap_or_default(), &head, rows.collect());
    Ok(text)
}

/// A heading and an indented table; nothing where there are no rows.
fn section(text: &mut String, heading: &str, head: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    *text += &format!("\n{heading}\n");
    for line in stdout::table(head, rows).lines() {
        *text += &format!(" {line}\n");
    }
}

fn facts(loaded: &Loaded, registry: &Registry) -> Result<Vec<(&'static str, String)>, Fault> {
    let entry = &loaded.entry;
    let mut facts = vec![("paper", loaded.descriptor.paper.to_string())];
    if !entry.aliases.is_empty() {
        facts.push(("aliases", entry.aliases.join(", ")));
    }
    if let Some(fingerprint) = loaded.fingerprint() {
        facts.push(("fingerprint", fingerprint.to_string()));
    }
    if let Some(other) = &entry.same_rule_as {
        facts.push(("same rule as", other.clone()));
    }
    if let Some(portable) = loaded.portable()? {
        let words = if portable { "same bits on every device" } else { "bits differ between devices" };
        facts.push(("portability", words.to_string()));
    }
    let declared: Vec<&str> = properties::declared(&loaded.descriptor).collect();
    if !declared.is_empty() {
        facts.push(("declares", declared.join(", ")));
    }
    if let Some(companion) = &entry.companion {
        let hyper = companion.hyper.iter().map(|(name, value)| format!(", {name} = {}", hyper::written(value)));
        let (optimizer, roles) = (&companion.optimizer, companion.roles.join(", "));
        facts.push(("companion", format!("{optimizer} for {roles}{}", hyper.collect::<String>())));
    }
    let built = |key| loaded.fact(key).unwrap_or("unknown").to_string();
    facts.push(("plugin", entry.plugin.clone()));
    facts.push(("library", loaded.library.path.display().to_string()));
    facts.push(("sha256", loaded.library.sha256.clone()));
    facts.push(("lock", registry.lock_state().to_string()));
    facts.push(("abi", format!("{} (sdk {}, {})", abi(loaded), built("sdk"), built("rustc"))));
    Ok(facts)
}

fn hyper_rows(loaded: &Loaded) -> Vec<Vec<String>> {
    let rows = loaded.schema().iter().zip(loaded.defaults()).map(|(schema, default)| {
        let (name, meaning) = (schema.name.to_string(), schema.meaning.to_string());
        let from = loaded.default_source(&name).to_string();
        vec![name, hyper::text(schema, default), from, hyper::range(schema), meaning]
    });
    rows.collect()
}

/// `bf16`: whether a run in bf16 keeps it so.
fn slot_row(slot: &SlotDescriptor, bf16: bool) -> Vec<String> {
    let (shape, degrees) = (state_bytes::shape(slot).to_string(), [slot.value_degree, slot.grad_degree]);
    let [value, grad] = degrees.map(|degree| degree.to_string());
    vec![slot.name.to_string(), shape, start(slot), value, grad, if bf16 { "may be" } else { "no" }.to_string()]
}

fn start(slot: &SlotDescriptor) -> String {
    match slot.start {
        0 => "zeros".to_string(),
        1 => hyper::plain(slot.fill),
        _ => "the parameter".to_string(),
    }
}
