//! `host plugin check|inspect`: does a library keep its promises, and what is it.
//! Checks nothing itself; that is `conformance`.

use std::{ffi::OsString, path::Path, time::Duration};

use sdk::conformance::{Finding, LEVELS, Verdict};
use serde_json::{Value, json};

use super::{
    plugin_args::{PluginCheckFlags, PluginCheckOneFlags},
    stdout,
};
use crate::{
    conformance::{self, Order},
    fault::{Exit, Faults},
    registry::{Library, PluginEntry, Registry},
};

/// Runs the checks and prints what came of them. A registry is looked for; only one that was named must be there.
///
/// # Errors
/// Faults of the registry that was named; a library or label that is not there.
pub fn check(flags: &PluginCheckFlags, registry: Result<Registry, Faults>) -> anyhow::Result<Exit> {
    let named = flags.registry.registry.is_some();
    let registry = match registry {
        Ok(registry) => Some(registry),
        Err(faults) if named => return Err(faults.into()),
        Err(_) => None,
    };
    let order = Order {
        file: flags.file.clone(),
        label: flags.label.clone(),
        levels: flags.level.map_or(1..=LEVELS, |level| level..=level),
        registry: registry.as_ref().map(flags_of).unwrap_or_default(),
        limit: Duration::from_secs_f64(flags.time_limit),
    };
    let findings = conformance::check(&order)?;
    let (bad, counts) = (bad(&findings), counts(&findings));
    if flags.json {
        let all: Vec<Value> = findings.iter().map(conformance::to_json).collect();
        let counts: serde_json::Map<String, Value> =
            counts.iter().map(|(verdict, count)| (verdict.name().to_string(), json!(count))).collect();
        stdout::print_json(&json!({
            "library": flags.file.display().to_string(),
            "passed": bad == 0 && !findings.is_empty(),
            "counts": counts,
            "findings": all,
        }))?;
    } else {
        let head = ["label", "level", "check", "result", "what"];
        stdout::print(&stdout::table(&head, findings.iter().map(row).collect()))?;
        let counts: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        stdout::print(&format!("\n{}: {}\n", flags.file.display(), counts.join(", ")))?;
    }
    // A library without optimizers has nothing that could pass.
    Ok(if bad > 0 || findings.is_empty() { Exit::Check } else { Exit::Ok })
}

/// Runs what a parent asked for.
pub fn check_one(flags: &PluginCheckOneFlags, registry: Option<&Registry>) {
    match (&flags.label, flags.level) {
        (Some(label), Some(level)) => conformance::run_level(&flags.file, label, level, registry, &flags.journal),
        _ => conformance::list_labels(&flags.file, &flags.journal),
    }
}

/// The registry that was found, as a child is told of it.
fn flags_of(registry: &Registry) -> Vec<OsString> {
    let path = registry.path.clone().into_os_string();
    vec!["--registry".into(), path, "--plugin-dir".into(), registry.plugin_dir().as_os_str().to_os_string()]
}

fn bad(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.outcome.verdict.is_bad()).count()
}

fn counts(findings: &[Finding]) -> Vec<(Verdict, usize)> {
    let count = |verdict| findings.iter().filter(|finding| finding.outcome.verdict == verdict).count();
    Verdict::ALL.into_iter().map(|verdict| (verdict, count(verdict))).collect()
}

fn row(finding: &Finding) -> Vec<String> {
    let outcome = &finding.outcome;
    let about = outcome.subject.as_ref().map(|subject| format!("`{subject}`: ")).unwrap_or_default();
    let seed = outcome.seed.map(|seed| format!(" (seed {seed})")).unwrap_or_default();
    let what = format!("{about}{}{seed}", outcome.detail);
    vec![finding.label.clone(), finding.level.to_string(), finding.check.clone(), outcome.verdict.to_string(), what]
}

/// Prints what a library is. It is opened only if its file is that of a plugin for this machine.
///
/// # Errors
/// All that is wrong with it.
pub fn inspect(file: &Path, json: bool) -> anyhow::Result<()> {
    let place = file.display().to_string();
    let id = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let library = Library::open(&PluginEntry { id, library: place.clone(), place: place.clone() }, file, None)?;
    let abi = format!("{}.{}", library.abi.major, library.abi.required_minor);
    let fact = |key| library.fact(key).unwrap_or("unknown").to_string();
    if json {
        let labels = library.descriptors().iter().map(|found| {
            json!({
                "kind": found.kind.as_str(),
                "label": found.label.as_str(),
                "table": found.table.as_str(),
                "summary": found.summary.as_str(),
                "paper": found.paper.as_str(),
            })
        });
        return stdout::print_json(&json!({
            "library": place,
            "sha256": library.sha256,
            "abi": abi,
            "sdk": fact("sdk"),
            "rustc": fact("rustc"),
            "labels": labels.collect::<Vec<_>>(),
        }));
    }
    let (sdk, rustc) = (fact("sdk"), fact("rustc"));
    let head = format!("{place}\n  sha256   {}\n  abi      {abi} (sdk {sdk}, {rustc})\n", library.sha256);
    let symbols = "  symbols  nothing that a plugin may not use\n\n";
    let rows = library.descriptors().iter().map(|found| {
        [&found.label, &found.kind, &found.table, &found.paper, &found.summary].map(|text| text.to_string()).to_vec()
    });
    let table = stdout::table(&["label", "kind", "table", "paper", "summary"], rows.collect());
    stdout::print(&format!("{head}{symbols}{table}"))
}
