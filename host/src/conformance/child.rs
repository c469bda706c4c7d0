//! What a child process does: opens the library, runs one level of one label, and writes down each finding.
//! Trusts nobody to be there afterwards; whether it came to its end is for the parent to see.

use std::{path::Path, sync::Arc};

use sdk::conformance::{self, Finding, LEVELS, Outcome};

use super::{Hosted, hosted, journal::Journal, twins};
use crate::{
    fault::Faults,
    registry::{Entry, Kind, Library, Loaded, PluginEntry, Registry},
};

/// Writes down which optimizers the library exports, or why it cannot be opened.
pub fn list_labels(file: &Path, journal: &Path) {
    let journal = Journal::at(journal);
    journal.begin("loads");
    match open(file) {
        Ok(library) => {
            let optimizers = library.descriptors().iter().filter(|found| found.kind == Kind::Optimizer.name());
            optimizers.for_each(|descriptor| journal.label(&descriptor.label));
        }
        Err(faults) => journal.finding(&unloaded("*", &faults)),
    }
    journal.done();
}

/// Runs one level of one label. Twins are looked for in the registry, where there is one.
pub fn run_level(file: &Path, label: &str, level: u8, registry: Option<&Registry>, journal: &Path) {
    let journal = Journal::at(journal);
    journal.begin("loads");
    let loaded = match load(file, label) {
        Ok(loaded) => loaded,
        Err(faults) => {
            journal.finding(&unloaded(label, &faults));
            return journal.done();
        }
    };
    if level == 1 {
        let detail = format!("ABI {}.{}", loaded.library.abi.major, loaded.library.abi.required_minor);
        journal.finding(&finding(label, 1, "loads", Outcome::passed(detail)));
    }
    let hosted = Hosted::new(loaded.clone());
    for check in conformance::CHECKS.iter().filter(|check| check.level == level) {
        journal.begin(check.name);
        let finding = conformance::run(check, &hosted);
        journal.finding(&finding);
        if loaded.ready().is_err() {
            // It panicked: it is not called again.
            return journal.done();
        }
    }
    if level == LEVELS {
        twins::check(&loaded, &hosted, registry, &journal);
    }
    journal.done();
}

/// One finding.
pub fn finding(label: &str, level: u8, check: &str, outcome: Outcome) -> Finding {
    Finding { label: label.to_string(), level, check: check.to_string(), outcome }
}

fn unloaded(label: &str, faults: &Faults) -> Finding {
    let troubles = faults.0.iter().map(|fault| hosted::trouble(fault).text);
    finding(label, 1, "loads", Outcome::failed(troubles.collect::<Vec<_>>().join("; ")))
}

fn open(file: &Path) -> Result<Library, Faults> {
    let id = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let library = file.display().to_string();
    Library::open(&PluginEntry { id, place: library.clone(), library }, file, None)
}

/// The label with the plugin's own defaults: what a registry says is not the plugin's doing.
fn load(file: &Path, label: &str) -> Result<Arc<Loaded>, Faults> {
    let library = Arc::new(open(file)?);
    let entry = Entry {
        kind: Kind::Optimizer,
        label: label.to_string(),
        plugin: library.id.clone(),
        aliases: Vec::new(),
        defaults: Default::default(),
        same_rule_as: None,
        companion: None,
        place: file.display().to_string(),
    };
    Loaded::new(&entry, library).map(Arc::new)
}
