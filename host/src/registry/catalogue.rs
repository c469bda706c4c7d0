//! The one way from labels to loaded plugins, for every verb of the host.
//! Does not decide which labels a run needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Entry, Kind, Library, Loaded, PluginEntry, Registry,
    loaded::unfit_fault,
    lock::{self, Lock, LockedLabel, LockedLibrary, NOT_RUN},
    twins,
};
use crate::fault::{Fault, Faults};

/// A label that a run needs, and where it was written.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What it is wanted as.
    pub kind: Kind,
    /// Label or alias.
    pub label: String,
    /// As a fault shows it: `configs/my.toml:12  optimizer.label = "lion"`.
    pub place: String,
}

/// Loaded labels.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    labels: BTreeMap<(Kind, String), Arc<Loaded>>,
}

impl Catalogue {
    /// A loaded label, by label or alias.
    pub fn get(&self, kind: Kind, label: &str) -> Option<&Arc<Loaded>> {
        let by_alias = || self.iter().find(|loaded| loaded.kind == kind && has_alias(&loaded.entry, label));
        self.labels.get(&(kind, label.to_string())).or_else(by_alias)
    }

    /// All loaded labels, by kind and label.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.labels.values()
    }
}

fn has_alias(entry: &Entry, label: &str) -> bool {
    entry.aliases.iter().any(|alias| alias == label)
}

impl FromIterator<Arc<Loaded>> for Catalogue {
    fn from_iter<I: IntoIterator<Item = Arc<Loaded>>>(all: I) -> Catalogue {
        let keyed = all.into_iter().map(|loaded| ((loaded.kind, loaded.label.clone()), loaded));
        Catalogue { labels: keyed.collect() }
    }
}

/// What became of each entry that was tried; for lists, which show faults beside labels.
pub struct Survey {
    libraries: BTreeMap<String, Result<Arc<Library>, Faults>>,
    labels: Vec<(Entry, Result<Arc<Loaded>, Faults>)>,
}

impl Survey {
    /// Every entry with its loaded label, or with what is wrong.
    pub fn labels(&self) -> &[(Entry, Result<Arc<Loaded>, Faults>)] {
        &self.labels
    }

    /// What could be loaded.
    pub fn catalogue(&self) -> Catalogue {
        self.loaded().cloned().collect()
    }

    /// All faults of all entries, and between them.
    pub fn faults(&self) -> Faults {
        self.faults_of(|_| true)
    }

    /// What could be loaded, as a lock of it.
    ///
    /// # Errors
    /// P002 where a plugin no longer says what it said at load.
    pub fn lock(&self) -> Result<Lock, Fault> {
        let mut libraries = Vec::new();
        for library in self.libraries.values().flatten() {
            let fact = |key| library.fact(key).unwrap_or("unknown").to_string();
            let mut locked = LockedLibrary {
                plugin: library.id.clone(),
                target: lock::target(),
                sha256: library.sha256.clone(),
                abi: format!("{}.{}", library.abi.major, library.abi.required_minor),
                sdk: fact("sdk"),
                rustc: fact("rustc"),
                label: Vec::new(),
            };
            for loaded in self.loaded().filter(|loaded| loaded.entry.plugin == library.id) {
                locked.label.push(as_locked(loaded)?);
            }
            libraries.push(locked);
        }
        Ok(Lock::of(libraries))
    }

    /// Entries that could not be loaded.
    pub fn unloaded(&self) -> impl Iterator<Item = &Entry> {
        self.labels.iter().filter(|(_, result)| result.is_err()).map(|(entry, _)| entry)
    }

    /// Plugins whose library could not be opened.
    pub fn unopened(&self) -> impl Iterator<Item = &str> {
        self.libraries.iter().filter(|(_, library)| library.is_err()).map(|(plugin, _)| plugin.as_str())
    }

    fn loaded(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.labels.iter().filter_map(|(_, result)| result.as_ref().ok())
    }

    /// Faults of the chosen entries, each library's once; and of sameness, whoever is chosen.
    fn faults_of(&self, chosen: impl Fn(&Entry) -> bool) -> Faults {
        let mut faults = Faults::none();
        for (plugin, library) in &self.libraries {
            let Err(found) = library else { continue };
            let of_plugin = |entry: &&(Entry, _)| entry.0.plugin == *plugin && chosen(&entry.0);
            let labels: Vec<&str> =
                self.labels.iter().filter(of_plugin).map(|(entry, _)| entry.label.as_str()).collect();
            if !labels.is_empty() {
                let noted = |fault: &Fault| fault.clone().note("labels", labels.join(", "));
                faults.0.extend(found.0.iter().map(noted));
            }
        }
        for (entry, result) in self.labels.iter().filter(|(entry, _)| chosen(entry)) {
            let opened = self.libraries.get(&entry.plugin).is_some_and(Result::is_ok);
            match result {
                Err(found) if opened => faults.0.extend(found.0.iter().cloned()),
                Err(_) => {}
                Ok(loaded) => {
                    faults.take(self.companion_fits(loaded));
                }
            }
        }
        faults.take(twins::check(self.loaded()));
        faults
    }

    /// Compares a companion's hyper-parameters with the schema of its optimizer, where that is loaded.
    fn companion_fits(&self, loaded: &Loaded) -> Result<(), Faults> {
        let Some(companion) = &loaded.entry.companion else { return Ok(()) };
        let mut optimizers = self.loaded().filter(|other| other.kind == Kind::Optimizer);
        let Some(optimizer) = optimizers.find(|other| other.label == companion.optimizer) else { return Ok(()) };
        let mut faults = Faults::none();
        for (name, value) in &companion.hyper {
            let whose = format!("the companion of `{}`", loaded.label);
            let read = optimizer.hyper(name, value);
            faults.take(read.map_err(|unfit| unfit_fault(unfit, &whose, &companion.place)));
        }
        faults.check()
    }
}

/// A label as a lock holds it.
fn as_locked(loaded: &Loaded) -> Result<LockedLabel, Fault> {
    Ok(LockedLabel {
        kind: loaded.kind.name().to_string(),
        label: loaded.label.clone(),
        fingerprint: loaded.fingerprint().map(str::to_string),
        state_bytes: loaded.state_bytes()?.map(|bytes| bytes.to_string()),
        conformance: NOT_RUN.into(),
    })
}

impl Registry {
    /// Loads what a run needs. See the module for which libraries are opened.
    ///
    /// # Errors
    /// Every fault of the wanted labels and of their libraries, and every pair of optimizers in the registry that are
    /// one rule without saying so.
    pub fn resolve(&self, wanted: &[Wanted]) -> Result<Catalogue, Faults> {
        self.resolve_by(wanted, self.lock(), |plugin| self.open_library(plugin, self.lock()))
    }

    /// Loads every label.
    ///
    /// # Errors
    /// Every fault of every entry.
    pub fn load_all(&self) -> Result<Catalogue, Faults> {
        let survey = self.survey();
        survey.faults().check()?;
        Ok(survey.catalogue())
    }

    /// Tries every label and keeps what is wrong beside it.
    pub fn survey(&self) -> Survey {
        self.survey_where(|_| true)
    }

    /// Tries every label of one kind.
    pub fn survey_kind(&self, kind: Kind) -> Survey {
        self.survey_where(|entry| entry.kind == kind)
    }

    /// Tries the labels of the chosen entries.
    pub fn survey_where(&self, chosen: impl Fn(&Entry) -> bool) -> Survey {
        self.survey_by(chosen, self.lock(), |plugin| self.open_library(plugin, self.lock()))
    }

    /// As [`Registry::survey`], with libraries that differ from the lock: to tell what changed, and to lock anew.
    pub fn survey_unlocked(&self) -> Survey {
        self.survey_by(|_| true, None, |plugin| self.open_library(plugin, None))
    }

    fn open_library(&self, plugin: &PluginEntry, lock: Option<&Lock>) -> Result<Library, Faults> {
        Library::open(plugin, &self.library_path(plugin), lock)
    }

    pub(super) fn resolve_by(
        &self,
        wanted: &[Wanted],
        lock: Option<&Lock>,
        open: impl Fn(&PluginEntry) -> Result<Library, Faults>,
    ) -> Result<Catalogue, Faults> {
        let mut faults = Faults::none();
        let mut chosen = BTreeSet::new();
        for wanted in wanted {
            let known = self.known(wanted.kind, &wanted.label, &wanted.place);
            if let Some(entry) = faults.take(known) {
                chosen.insert((entry.kind, entry.label.as_str()));
            }
        }
        let is_chosen = |entry: &Entry| chosen.contains(&(entry.kind, entry.label.as_str()));
        let survey = self.survey_by(|entry| entry.kind == Kind::Optimizer || is_chosen(entry), lock, open);
        faults.0.extend(survey.faults_of(is_chosen).0);
        faults.check()?;
        for (entry, result) in survey.labels() {
            if let Err(unused) = result {
                let (kind, label) = (entry.kind, &entry.label);
                tracing::debug!("{kind} `{label}`, which this run does not use, cannot be loaded: {unused}");
            }
        }
        Ok(survey.loaded().filter(|loaded| is_chosen(&loaded.entry)).cloned().collect())
    }

    pub(super) fn survey_by(
        &self,
        tried: impl Fn(&Entry) -> bool,
        lock: Option<&Lock>,
        open: impl Fn(&PluginEntry) -> Result<Library, Faults>,
    ) -> Survey {
        let all = Kind::ALL.into_iter().flat_map(|kind| self.entries(kind));
        let entries: Vec<&Entry> = all.filter(|entry| tried(entry)).collect();
        let needed = self.plugins().iter().filter(|plugin| entries.iter().any(|entry| entry.plugin == plugin.id));
        let libraries: BTreeMap<_, _> = needed.map(|plugin| (plugin.id.clone(), open(plugin).map(Arc::new))).collect();
        let load = |entry: &Entry| -> Result<Arc<Loaded>, Faults> {
            match libraries.get(&entry.plugin) {
                Some(Ok(library)) => {
                    let loaded = Loaded::new(entry, library.clone())?;
                    if let Some(lock) = lock {
                        lock.holds(&entry.plugin, &as_locked(&loaded)?, &entry.place)?;
                    }
                    Ok(Arc::new(loaded))
                }
                Some(Err(faults)) => Err(faults.clone()),
                // A registry with such an entry is refused when it is read.
                None => Err(Faults::none()),
            }
        };
        let labels = entries.into_iter().map(|entry| (entry.clone(), load(entry))).collect();
        Survey { libraries, labels }
    }
}
