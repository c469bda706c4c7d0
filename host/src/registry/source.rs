//! The registry of a run: where its file was found, what it lists, and where its libraries lie.
//! Opens no library; that is `catalogue.rs`.

use std::{
    env,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    Entry, Kind, LockState, PluginEntry,
    lock::{self, Lock},
    parse::{self, Document},
};
use crate::{
    fault::{Exit, Fault, Faults, nearest},
    text_file,
};

/// File name of a registry.
const FILE: &str = "registry.toml";

/// A `registry.toml` and its lock, read and consistent.
#[derive(Clone, Debug)]
pub struct Registry {
    /// The file, as it was found.
    pub path: PathBuf,
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    document: Document,
    plugin_dir: PathBuf,
    lock: Option<Lock>,
    lock_state: LockState,
}

impl Registry {
    /// Finds the registry: the given path alone, or else `registry.toml` in the working directory, or beside the
    /// executable.
    ///
    /// # Errors
    /// R002 where there is none, saying where it looked; every fault of the file and of its lock.
    pub fn find(explicit: Option<&Path>) -> Result<Registry, Faults> {
        if let Some(path) = explicit {
            return Registry::open(path);
        }
        let places = places();
        match places.iter().find(|place| place.exists()) {
            Some(path) => Registry::open(path),
            None => {
                let here = env::current_dir().unwrap_or_default().join(FILE);
                let looked = places[1..]
                    .iter()
                    .fold(here.display().to_string(), |text, place| format!("{text}, {}", place.display()));
                let fault = Fault::new("R002", Exit::Registry, format!("there is no {FILE}")).note("looked", looked);
                Err(fault.hint("name one with `--registry FILE`").into())
            }
        }
    }

    /// As [`Registry::find`] without a path, and then in `more`, where there may be none.
    ///
    /// # Errors
    /// Every fault of the file that is found and of its lock.
    pub fn find_if_any(more: &Path) -> Result<Option<Registry>, Faults> {
        let mut places = places();
        places.push(more.join(FILE));
        places.iter().find(|place| place.exists()).map(|path| Registry::open(path)).transpose()
    }

    /// Reads the registry at `path` and the lock beside it.
    ///
    /// # Errors
    /// R002 where it cannot be read; every fault of the file and of its lock.
    pub fn open(path: &Path) -> Result<Registry, Faults> {
        let shown = path.display().to_string();
        let text = text_file::read(path).map_err(|error| {
            Fault::new("R002", Exit::Registry, "the registry cannot be read")
                .at(&shown)
                .note("reason", error.to_string())
        })?;
        let mut faults = Faults::none();
        let document = faults.take(parse::parse(&shown, &text));
        let lock = faults.take(lock::read(path));
        let (Some(document), Some(lock)) = (document, lock) else { return Err(faults) };
        let (lock, lock_state) = match lock {
            Some((lock, state)) => (Some(lock), state),
            None => (None, LockState::Unlocked),
        };
        let plugin_dir = match &document.plugin_dir {
            Some(folder) => relative_to(path, folder),
            None => executable_folder().unwrap_or_default(),
        };
        let sha256 = lock::hex(&Sha256::digest(text.as_bytes()));
        Ok(Registry { path: path.to_path_buf(), sha256, document, plugin_dir, lock, lock_state })
    }

    /// Whether `text` would be a registry at `path` that has this label; for what is about to be written.
    ///
    /// # Errors
    /// Every fault of the text; R001 where it has no such label.
    pub fn understands(path: &Path, text: &str, kind: Kind, label: &str) -> Result<(), Faults> {
        let shown = path.display().to_string();
        let document = parse::parse(&shown, text)?;
        match document.entries.iter().any(|entry| entry.kind == kind && entry.label == label) {
            true => Ok(()),
            false => Err(Fault::new("R001", Exit::Registry, format!("{kind} `{label}` is not in it")).at(shown).into()),
        }
    }

    /// Takes the libraries from another folder than the file's `plugin-dir` or the executable's.
    pub fn with_plugin_dir(mut self, folder: impl Into<PathBuf>) -> Registry {
        self.plugin_dir = folder.into();
        self
    }

    /// All labels of a kind, sorted.
    pub fn labels(&self, kind: Kind) -> Vec<&str> {
        let mut labels: Vec<&str> = self.entries(kind).map(|entry| entry.label.as_str()).collect();
        labels.sort_unstable();
        labels
    }

    /// All entries of a kind, in the order of the file.
    pub fn entries(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        self.document.entries.iter().filter(move |entry| entry.kind == kind)
    }

    /// The entry of a label or of an alias.
    pub fn entry(&self, kind: Kind, label: &str) -> Option<&Entry> {
        self.entries(kind).find(|entry| entry.label == label || entry.aliases.iter().any(|alias| alias == label))
    }

    /// The entry of a label or of an alias, or the refusal.
    ///
    /// # Errors
    /// R001 with the label, where it was written, all known labels and the nearest one.
    pub fn known(&self, kind: Kind, label: &str, place: &str) -> Result<&Entry, Fault> {
        self.entry(kind, label).ok_or_else(|| self.unknown(&[kind], label, place))
    }

    /// The entries of a label or of an alias in every kind, or the refusal.
    ///
    /// # Errors
    /// R001 where no kind has it.
    pub fn known_as_any(&self, label: &str, place: &str) -> Result<Vec<&Entry>, Fault> {
        let entries: Vec<&Entry> = Kind::ALL.into_iter().filter_map(|kind| self.entry(kind, label)).collect();
        if entries.is_empty() { Err(self.unknown(&Kind::ALL, label, place)) } else { Ok(entries) }
    }

    fn unknown(&self, kinds: &[Kind], label: &str, place: &str) -> Fault {
        let labels = |kind: &Kind| self.labels(*kind);
        let counts: Vec<String> = kinds.iter().map(|kind| format!("{} {kind}", labels(kind).len())).collect();
        let mut known: Vec<&str> = kinds.iter().flat_map(labels).collect();
        known.sort_unstable();
        let plural = if known.len() == 1 { "" } else { "s" };
        let lists: Vec<String> = kinds.iter().map(|kind| format!("`host {}`", kind.list_flag())).collect();
        let lists = match kinds {
            [_] => format!("{} lists all", lists[0]),
            _ => format!("{} list all", lists.join(", ")),
        };
        let names = kinds.iter().flat_map(|kind| self.entries(*kind));
        let names = names.flat_map(|entry| std::iter::once(&entry.label).chain(&entry.aliases));
        let hint = match nearest(label, names.map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? {lists}"),
            None => lists,
        };
        let what = if let [kind] = kinds { format!("{kind} label") } else { "label".to_string() };
        let all = if known.is_empty() { "none".to_string() } else { known.join(", ") };
        Fault::new("R001", Exit::Registry, format!("{what} `{label}` is not in the registry"))
            .at(place)
            .note("registry", format!("{} ({} label{plural})", self.path.display(), counts.join(", ")))
            .note("known", all)
            .hint(hint)
    }

    /// The optimizer that runs where nobody names one.
    pub fn default_optimizer(&self) -> Option<&str> {
        self.document.default_optimizer.as_deref()
    }

    /// All plugins, sorted by id.
    pub fn plugins(&self) -> &[PluginEntry] {
        &self.document.plugins
    }

    /// Folder of the libraries that are given by name.
    pub fn plugin_dir(&self) -> &Path {
        &self.plugin_dir
    }

    /// Where a plugin's library must lie.
    pub fn library_path(&self, plugin: &PluginEntry) -> PathBuf {
        if plugin.library.contains('/') {
            relative_to(&self.path, &plugin.library)
        } else {
            let (before, after) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
            self.plugin_dir.join(format!("{before}{}{after}", plugin.library))
        }
    }

    /// Whether its libraries are vouched for.
    pub fn lock_state(&self) -> &LockState {
        &self.lock_state
    }

    /// The lock beside it.
    pub fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }
}

/// Where a registry is looked for.
fn places() -> Vec<PathBuf> {
    let beside = executable_folder().map(|folder| folder.join(FILE));
    std::iter::once(PathBuf::from(FILE)).chain(beside).collect()
}

fn relative_to(file: &Path, path: &str) -> PathBuf {
    // Collecting the components takes a `./` out of the middle.
    file.parent().unwrap_or(Path::new("")).join(path).components().collect()
}

fn executable_folder() -> Option<PathBuf> {
    env::current_exe().ok()?.parent().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "plugin-dir = \"lib\"\n[plugins]\np = \"p\"\nq = \"./q.so\"\n\
        [[optimizer]]\nlabel = \"lion\"\nplugin = \"p\"\naliases = [\"evolved\"]\n\
        [[optimizer]]\nlabel = \"adamw\"\nplugin = \"p\"\n";

    fn registry() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        std::fs::write(&path, TEXT).unwrap();
        let registry = Registry::open(&path).unwrap();
        (folder, registry)
    }

    #[test]
    fn an_unknown_label_is_refused_in_the_agreed_form() {
        let (folder, registry) = registry();
        let place = "configs/my.toml:12  optimizer.label = \"lionn\"";
        let fault = registry.known(Kind::Optimizer, "lionn", place).unwrap_err();
        assert_eq!(fault.exit, Exit::Registry);
        let expected = format!(
            "error[R001]: optimizer label `lionn` is not in the registry\n\
             \u{20} --> configs/my.toml:12  optimizer.label = \"lionn\"\n\
             \u{20} registry: {}/registry.toml (2 optimizer labels)\n\
             \u{20} known: adamw, lion\n\
             \u{20} hint: did you mean `lion`? `host --list-optimizers` lists all",
            folder.path().display()
        );
        assert_eq!(fault.to_string(), expected);
        let fault = registry.known(Kind::ArchOp, "lion", "--set").unwrap_err();
        assert_eq!(fault.notes[1], ("known", "none".to_string()));
        assert_eq!(fault.hint.as_deref(), Some("`host --list-arch-ops` lists all"));
        let fault = registry.known_as_any("lionn", "describe").unwrap_err();
        assert_eq!(fault.message, "label `lionn` is not in the registry");
        assert!(fault.notes[0].1.ends_with("(2 optimizer, 0 projection, 0 arch-op labels)"), "{fault}");
    }

    #[test]
    fn an_alias_leads_to_its_label_and_case_matters() {
        let (_folder, registry) = registry();
        assert_eq!(registry.entry(Kind::Optimizer, "evolved").unwrap().label, "lion");
        assert!(registry.entry(Kind::Optimizer, "Lion").is_none());
        assert_eq!(registry.labels(Kind::Optimizer), ["adamw", "lion"]);
    }

    #[test]
    fn libraries_lie_in_the_plugin_folder_or_relative_to_the_file() {
        let (folder, registry) = registry();
        let paths: Vec<_> = registry.plugins().iter().map(|plugin| registry.library_path(plugin)).collect();
        assert_eq!(paths, [folder.path().join("lib/libp.so"), folder.path().join("q.so")]);
        let registry = registry.with_plugin_dir("/elsewhere");
        assert_eq!(registry.library_path(&registry.plugins()[0]), Path::new("/elsewhere/libp.so"));
    }

    #[test]
    fn a_missing_registry_says_where_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let fault = &Registry::find(Some(&folder.path().join("none.toml"))).unwrap_err().0[0];
        assert_eq!(fault.code, "R002");
        assert!(fault.place.as_ref().unwrap().ends_with("none.toml"));
    }

    #[test]
    fn faults_of_the_file_and_of_its_lock_come_together() {
        let (folder, registry) = registry();
        std::fs::write(&registry.path, "colour = 1\n").unwrap();
        std::fs::write(folder.path().join("registry.lock"), "x").unwrap();
        let codes: Vec<_> = Registry::open(&registry.path).unwrap_err().0.iter().map(|fault| fault.code).collect();
        assert_eq!(codes, ["R003", "R014"]);
    }

    #[test]
    fn the_state_of_the_lock_is_known() {
        let (_folder, registry) = registry();
        assert_eq!(registry.lock_state().to_string(), "unlocked");
        Lock::of(Vec::new()).write(&registry.path).unwrap();
        let locked = Registry::open(&registry.path).unwrap();
        assert!(locked.lock_state().to_string().starts_with("locked by "));
    }
}
