//! The registry, its lock, and whether every library of it can be opened and has what the registry says.
//! What opens libraries runs in a child.

use std::collections::BTreeSet;

use crate::{
    fault::{Exit, Fault, Faults},
    registry::{Kind, Library, PluginEntry, Registry},
};

use super::{Finding, child::Journal};

/// What can be told without opening anything.
pub fn places(registry: &Registry) -> Vec<Finding> {
    let path = registry.path.display().to_string();
    let counts = Kind::ALL.map(|kind| format!("{} {kind}", registry.labels(kind).len())).join(", ");
    let folder = registry.plugin_dir();
    let shown = folder.display().to_string();
    let of_folder = match folder.is_dir() {
        true => Finding::ok("plugin folder", shown.clone()),
        false => Finding::limited(
            "plugin folder",
            format!("{shown} is not there"),
            "build the plugins, or say where they are: `--plugin-dir`, or `plugin-dir` in the registry",
        ),
    };
    let lock = registry.lock_state().to_string();
    let of_lock = match registry.lock() {
        Some(_) => Finding::ok("lock", lock.clone()),
        None => Finding::ok("lock", "unlocked: libraries are taken as they are; `host registry lock` vouches for them"),
    };
    vec![
        Finding::ok("registry", format!("{path}: {counts} labels"))
            .fact("path", path)
            .fact("sha256", registry.sha256.clone()),
        of_lock.fact("locked", registry.lock().is_some()),
        of_folder.fact("path", shown),
    ]
}

/// Opens the libraries one by one, and compares their labels with the registry and with each other.
pub fn examine(registry: &Registry, skipped: &[String], journal: &Journal) {
    let mut told = BTreeSet::new();
    for plugin in registry.plugins().iter().filter(|plugin| !skipped.contains(&plugin.id)) {
        journal.begin(&plugin.id);
        let path = registry.library_path(plugin);
        let survey = registry.survey_where(|entry| entry.plugin == plugin.id);
        let faults = match Library::open(plugin, &path, registry.lock()) {
            Ok(_) => survey.faults(),
            Err(faults) => faults,
        };
        told.extend(faults.0.iter().map(key));
        let count = survey.catalogue().iter().count();
        let (what, shown) = (format!("plugin {}", plugin.id), path.display().to_string());
        let finding = match faults.0.is_empty() {
            true => Finding::ok(what, format!("{count} {}, {shown}", if count == 1 { "label" } else { "labels" })),
            false => Finding::unfit(what, codes(&faults), &faults),
        };
        journal.found(&finding.fact("path", shown).fact("labels", count));
    }
    journal.begin("labels");
    let survey = registry.survey_where(|entry| !skipped.contains(&entry.plugin));
    let faults = survey.faults().0.into_iter().filter(|fault| !told.contains(&key(fault)));
    let faults = Faults(faults.collect());
    let catalogue = survey.catalogue();
    let count = |kind: Kind| catalogue.iter().filter(|loaded| loaded.kind == kind).count();
    let counts = Kind::ALL.map(|kind| format!("{} {kind}", count(kind))).join(", ");
    let finding = match faults.0.is_empty() {
        true => Finding::ok("labels", format!("{counts} can be loaded")),
        false => Finding::unfit("labels", codes(&faults), &faults),
    };
    journal.found(&Kind::ALL.into_iter().fold(finding, |finding, kind| finding.fact(kind.name(), count(kind))));
}

/// The fault of a library that ended the process which opened it.
pub fn fatal(registry: &Registry, plugin: &PluginEntry, end: &str) -> Fault {
    let message = format!("the process that opened plugin `{}` {end}", plugin.id);
    Fault::new("R035", Exit::Registry, message)
        .at(plugin.place.clone())
        .note("library", registry.library_path(plugin).display().to_string())
        .hint("build it again for this machine, or take it out of the registry; `host plugin check` tells more")
}

fn codes(faults: &Faults) -> String {
    let all = faults.0.iter().map(|fault| format!("{} {}", fault.code, fault.message));
    all.collect::<Vec<_>>().join("; ")
}

fn key(fault: &Fault) -> (&'static str, String) {
    (fault.code, fault.message.clone())
}
