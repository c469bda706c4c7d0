//! `host registry check|lock|diff`: is every label loadable, vouch for the libraries, tell what changed since.

use super::stdout;
use crate::{
    fault::{Exit, Fault},
    registry::{Kind, Registry, lock},
};

/// Loads every label and compares all of them with each other.
///
/// # Errors
/// Every fault of the registry.
pub fn check(registry: &Registry) -> anyhow::Result<()> {
    let catalogue = registry.load_all()?;
    let counts: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| format!("{} {kind}", catalogue.iter().filter(|l| l.kind == *kind).count()))
        .collect();
    let (path, state) = (registry.path.display(), registry.lock_state());
    stdout::print(&format!("{path}: {} labels, {state}: all loaded, no two the same rule\n", counts.join(", ")))
}

/// Writes what the libraries are now into the lock beside the registry.
///
/// # Errors
/// Every fault of the registry; R014 where the lock cannot be written.
pub fn lock(registry: &Registry) -> anyhow::Result<()> {
    let survey = registry.survey_unlocked();
    survey.faults().check()?;
    let lock = survey.lock()?.with_other_targets(registry.lock());
    let path = lock.write(&registry.path)?;
    let here = lock.library.iter().filter(|library| library.target == lock::target());
    let labels: usize = here.clone().map(|library| library.label.len()).sum();
    let (path, count) = (path.display(), here.count());
    stdout::print(&format!("{path}: {labels} labels in {count} libraries for {}\n", lock::target()))
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
    let mut words = before.differences(&survey.lock()?);
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
