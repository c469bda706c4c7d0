//! `docs/reference/optimizers.md`: every optimizer of the registry, as its plugin tells it.
//! Adds nothing to what plugins and registry say.

use std::fmt::Write;

use sdk::conformance::properties;

use super::cell;
use crate::{
    fault::{Fault, Faults},
    registry::{Kind, Loaded, Registry, hyper},
};

const INTRODUCTION: &str = "# Optimizers

The labels of `registry.toml`, with the defaults that it and the plugins give them. `host describe LABEL` tells more of
one, `host --list-optimizers --json` the same to machines. A hyper-parameter is set as `optimizer.NAME`, by `--set` or in
`[optimizer]`. State is in bytes per parameter in f32; what grows with a tensor's rows or columns is named. In a
formula a primed name is a slot's new value.
";

/// The page.
///
/// # Errors
/// All faults of the optimizers' plugins.
pub fn page(registry: &Registry) -> Result<String, Faults> {
    let survey = registry.survey_kind(Kind::Optimizer);
    survey.faults().check()?;
    let catalogue = survey.catalogue();
    let mut page = INTRODUCTION.to_string();
    if let Some(default) = registry.default_optimizer() {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "Where no source names one it is `{default}`.");
    }
    page += "\n| label | aliases | state | summary |\n|---|---|---|---|\n";
    for loaded in catalogue.iter() {
        let (label, aliases) = (&loaded.label, quoted(&loaded.entry.aliases));
        let (state, summary) = (state(loaded)?, cell(&loaded.descriptor.summary));
        let _ = writeln!(page, "| [`{label}`](#{}) | {aliases} | {state} | {summary} |", anchor(label));
    }
    for loaded in catalogue.iter() {
        section(loaded, &mut page)?;
    }
    Ok(page)
}

fn section(loaded: &Loaded, page: &mut String) -> Result<(), Fault> {
    let entry = &loaded.entry;
    let _ = write!(page, "\n## {}\n\n{}.\n\n", loaded.label, loaded.descriptor.summary);
    let _ = writeln!(page, "- paper: {}", loaded.descriptor.paper);
    if !entry.aliases.is_empty() {
        let _ = writeln!(page, "- aliases: {}", quoted(&entry.aliases));
    }
    let _ = writeln!(page, "- state: {}", state(loaded)?);
    let _ = writeln!(page, "- plugin: `{}`", entry.plugin);
    if let Some(portable) = loaded.portable()? {
        let _ =
            writeln!(page, "- bits: {}", if portable { "the same on every device" } else { "differ between devices" });
    }
    let declared: Vec<&str> = properties::declared(&loaded.descriptor).collect();
    if !declared.is_empty() {
        let _ = writeln!(page, "- declares: {}", declared.join(", "));
    }
    if let Some(other) = &entry.same_rule_as {
        let _ = writeln!(page, "- the same rule as `{other}`");
    }
    if let Some(companion) = &entry.companion {
        let hyper = companion.hyper.iter().map(|(name, value)| format!(", {name} = {}", hyper::written(value)));
        let (optimizer, roles) = (&companion.optimizer, quoted(&companion.roles));
        let _ = writeln!(page, "- companion: `{optimizer}` for {roles}{}", hyper.collect::<String>());
    }
    if let Some(formula) = loaded.formula(&loaded.defaults())? {
        let _ = write!(page, "\n```\n{}\n```\n", formula.trim_end());
    }
    if !loaded.schema().is_empty() {
        *page += "\n| hyper-parameter | default | range | meaning |\n|---|---|---|---|\n";
    }
    for (schema, default) in loaded.schema().iter().zip(loaded.defaults()) {
        let from = if loaded.default_source(&schema.name) == "registry" { " (registry)" } else { "" };
        let (name, default) = (&schema.name, hyper::text(schema, default));
        let (range, meaning) = (hyper::range(schema), cell(&schema.meaning));
        let _ = writeln!(page, "| `{name}` | {default}{from} | {range} | {meaning} |");
    }
    Ok(())
}

fn state(loaded: &Loaded) -> Result<String, Fault> {
    Ok(loaded.state_bytes()?.map(|bytes| bytes.to_string()).unwrap_or_default())
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

/// The fragment of a heading, as pages of Markdown are commonly shown: dots go, the rest of a label stays.
fn anchor(label: &str) -> String {
    label.replace('.', "")
}
