//! `host registry check|lock|diff`: is every label loadable, vouch for the libraries, tell what changed since.

use std::{collections::BTreeMap, sync::Arc};

use sdk::conformance::{Finding, LEVELS, Verdict};
use serde_json::{Value, json};

use super::stdout;
use crate::{
    conformance::{self, Order},
    fault::{Exit, Fault},
    registry::{
        Kind, Loaded, Registry,
        families::{self, Family, Member},
        lock, twins,
    },
};

/// Loads every label and compares all of them with each other; prints which are one rule, and which are one family.
///
/// # Errors
/// Every fault of the registry.
pub fn check(registry: &Registry, json: bool) -> anyhow::Result<()> {
    let catalogue = registry.load_all()?;
    let twins = twins::shared(catalogue.iter());
    let families = families::families(catalogue.iter());
    let observed = conformance::families::observed(catalogue.iter());
    for (member, reason) in families.unrecorded.iter().chain(&observed.failed) {
        tracing::warn!("{member} cannot be compared: {reason}");
    }
    let count = |kind: Kind| catalogue.iter().filter(|loaded| loaded.kind == kind).count();
    if json {
        return stdout::print_json(&json!({
            "registry": registry.path.display().to_string(),
            "sha256": registry.sha256,
            "lock": registry.lock_state().to_string(),
            "labels": Kind::ALL.map(|kind| (kind.name(), count(kind))).into_iter().collect::<BTreeMap<_, _>>(),
            "twins": twins.iter().map(|(fingerprint, labels)| twin_json(fingerprint, labels)).collect::<Vec<_>>(),
            "families": families.found.iter().map(family_json).collect::<Vec<_>>(),
            "families_left_out": families.left_out,
            "families_observed": observed.found.iter().map(|members| members_json(members)).collect::<Vec<_>>(),
        }));
    }
    let counts = Kind::ALL.map(|kind| format!("{} {kind}", count(kind))).join(", ");
    let (path, state) = (registry.path.display(), registry.lock_state());
    let mut text = format!("{path}: {counts} labels, {state}: all loaded, no two the same rule unless declared\n");
    if !twins.is_empty() {
        text += "\ndeclared as the same rule\n";
        let rows = twins.iter().map(|(fingerprint, labels)| vec![label_list(labels), fingerprint.to_string()]);
        text += &stdout::table(&["labels", "fingerprint"], rows.collect());
    }
    let remarks: Vec<String> = families.found.iter().flat_map(Family::remarks).collect();
    let (compared, left_out) = (families.compared, families.left_out.join(", "));
    text += &format!(
        "\nfamilies: one rule on paper, up to rounding; {compared} optimizers compared, as they are and with one\n\
         hyper-parameter at 0, at 1 or switched\n"
    );
    text += &remarks.iter().map(|remark| format!("  {remark}\n")).collect::<String>();
    if remarks.is_empty() {
        text += "  none\n";
    }
    if !left_out.is_empty() {
        text +=
            &format!("  not compared on paper, for they are no expressions or are evaluated elsewhere: {left_out}\n");
    }
    text += &format!(
        "\nfamilies by observation: the same steps along the same gradients, up to rounding; {} rules over whole tensors\n\
         compared with all others, as they are and with one hyper-parameter at 0, at 1 or switched\n",
        observed.compared
    );
    let remarks = observed.found.iter().flat_map(|members| families::remarks(members, "makes the steps of"));
    let remarks: String = remarks.map(|remark| format!("  {remark}\n")).collect();
    text += if remarks.is_empty() { "  none\n" } else { &remarks };
    stdout::print(&text)
}

fn label_list(labels: &[&Arc<Loaded>]) -> String {
    labels.iter().map(|loaded| loaded.label.as_str()).collect::<Vec<_>>().join(", ")
}

fn twin_json(fingerprint: &str, labels: &[&Arc<Loaded>]) -> Value {
    let declared =
        labels.iter().filter_map(|loaded| Some((loaded.label.clone(), json!(loaded.entry.same_rule_as.as_ref()?))));
    json!({
        "fingerprint": fingerprint,
        "labels": labels.iter().map(|loaded| loaded.label.as_str()).collect::<Vec<_>>(),
        "same_rule_as": Value::Object(declared.collect()),
    })
}

fn family_json(family: &Family) -> Value {
    let members = members_json(&family.members);
    json!({ "fingerprint": family.fingerprint, "members": members, "remarks": family.remarks() })
}

fn members_json(members: &[Member]) -> Value {
    let members = members.iter().map(|member| {
        let setting = member.setting.as_ref().map(|(name, value)| json!({ name.as_str(): value }));
        json!({ "label": member.label, "setting": setting })
    });
    members.collect()
}

/// Writes what the libraries are now into the lock beside the registry. With `conformance`, every optimizer is checked
/// first, and a lock is written only if all keep their promises; without it, what an older lock says of a library that
/// is still the same stays.
///
/// # Errors
/// Every fault of the registry; R034 where a check failed; R014 where the lock cannot be written.
pub fn lock(registry: &Registry, conformance: bool) -> anyhow::Result<()> {
    let survey = registry.survey_unlocked();
    survey.faults().check()?;
    let mut lock = survey.lock()?.with_conformance_of(registry.lock());
    if conformance {
        check_conformance(registry, &mut lock)?;
    }
    let lock = lock.with_other_targets(registry.lock());
    let path = lock.write(&registry.path)?;
    let here = lock.library.iter().filter(|library| library.target == lock::target());
    let labels: usize = here.clone().map(|library| library.label.len()).sum();
    let (path, count) = (path.display(), here.count());
    stdout::print(&format!("{path}: {labels} labels in {count} libraries for {}\n", lock::target()))
}

/// Runs the checks on every library with optimizers, and notes in the lock that they passed.
fn check_conformance(registry: &Registry, lock: &mut lock::Lock) -> anyhow::Result<()> {
    let mut bad: Vec<String> = Vec::new();
    for library in &mut lock.library {
        let optimizers = library.label.iter_mut().filter(|label| label.kind == Kind::Optimizer.name());
        let optimizers: Vec<_> = optimizers.collect();
        let Some(plugin) = registry.plugins().iter().find(|plugin| plugin.id == library.plugin) else { continue };
        if optimizers.is_empty() {
            continue;
        }
        let file = registry.library_path(plugin);
        // The last level, twins, is the registry's own check, which was just made.
        let (levels, limit) = (1..=LEVELS - 1, conformance::TIME_LIMIT);
        let findings = conformance::check(&Order { file, label: None, levels, registry: Vec::new(), limit })?;
        bad.extend(findings.iter().filter(|found| found.outcome.verdict.is_bad()).map(ToString::to_string));
        for label in optimizers {
            let passed = |found: &&Finding| found.label == label.label && found.outcome.verdict == Verdict::Passed;
            if findings.iter().any(|found| passed(&found)) {
                label.conformance = "passed".to_string();
            }
        }
    }
    if bad.is_empty() {
        return Ok(());
    }
    let fault = Fault::new("R034", Exit::Check, "not every optimizer keeps its promises, so nothing is locked");
    let fault = fault.note("checks", bad.join("; "));
    Err(fault.hint("`host plugin check` tells more about one library").into())
}

/// Tells in words what is different from the lock.
///
/// # Errors
/// R014 where there is no lock; every fault of the registry; R030 where anything is different.
pub fn diff(registry: &Registry) -> anyhow::Result<()> {
    let Some(before) = registry.lock() else {
        let fault = Fault::new("R014", Exit::Registry, "there is no registry.lock to compare with");
        let fault = fault.at(lock::path_beside(&registry.path).display().to_string());
        return Err(fault.hint("`host registry lock` writes one").into());
    };
    let survey = registry.survey_unlocked();
    // What cannot be loaded is neither the same nor different.
    let unopened: Vec<&str> = survey.unopened().collect();
    let unloaded = |kind: &str, label: &str| survey.unloaded().any(|e| e.kind.name() == kind && e.label == label);
    let mut before = before.clone();
    before.library.retain(|library| !unopened.contains(&library.plugin.as_str()));
    for library in &mut before.library {
        library.label.retain(|label| !unloaded(&label.kind, &label.label));
    }
    let mut words = before.differences(&survey.lock()?.with_conformance_of(registry.lock()));
    words.extend(survey.unloaded().map(|entry| format!("{} `{}` cannot be loaded", entry.kind, entry.label)));
    if words.is_empty() {
        stdout::print("no difference\n")?;
    } else {
        stdout::print(&(words.join("\n") + "\n"))?;
    }
    survey.faults().check()?;
    if words.is_empty() {
        return Ok(());
    }
    let fault = Fault::new("R030", Exit::Check, "registry.lock no longer tells what is there");
    let fault = fault.at(lock::path_beside(&registry.path).display().to_string());
    Err(fault.hint("if the change is meant, vouch for it with `host registry lock`").into())
}
