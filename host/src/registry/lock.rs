//! `registry.lock`: what the libraries of a registry were when somebody vouched for them.
//! Written by `host registry lock` alone; enforced before a library is opened.

use std::{
    fmt,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    fault::{Exit, Fault},
    text_file,
};

/// Whether the libraries of a registry are vouched for; kept in the run record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// There is no lock beside the registry.
    Unlocked,
    /// Every library that is opened equals the lock's.
    Locked {
        /// The lock.
        path: PathBuf,
        /// SHA-256 of the lock's bytes, in hex.
        sha256: String,
    },
}

impl fmt::Display for LockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockState::Unlocked => f.write_str("unlocked"),
            LockState::Locked { path, .. } => write!(f, "locked by {}", path.display()),
        }
    }
}

/// The contents of a `registry.lock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// Form of the file.
    pub version: u32,
    /// One per plugin and target, sorted.
    #[serde(default)]
    pub library: Vec<LockedLibrary>,
}

/// One plugin's library on one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedLibrary {
    /// Id in the registry.
    pub plugin: String,
    /// Target triple.
    pub target: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// ABI it was built for, as `major.required minor`.
    pub abi: String,
    /// Version of the sdk it was built with.
    pub sdk: String,
    /// Compiler it was built with.
    pub rustc: String,
    /// Labels of the registry that it runs, sorted.
    #[serde(default)]
    pub label: Vec<LockedLabel>,
}

/// One label of one library.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedLabel {
    /// `optimizer`, `projection` or `arch-op`.
    pub kind: String,
    /// The label.
    pub label: String,
    /// Exact fingerprint of the rule with the registry's defaults. Optimizers alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Bytes of state per parameter in f32. Optimizers alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<String>,
    /// Result of the conformance checks.
    pub conformance: String,
}

/// Result of conformance checks that nobody ran.
pub const NOT_RUN: &str = "not run";

/// Form of the file that this host reads and writes.
const VERSION: u32 = 1;

const HEADER: &str = "# Written by `host registry lock`. Enforced before a library is opened.\n\n";

/// The target triple of this host, and so of every library it can open.
pub fn target() -> String {
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let vendor = if cfg!(target_vendor = "apple") { "apple" } else { "unknown" };
    let abi = if cfg!(target_env = "musl") {
        "-musl"
    } else if cfg!(target_env = "gnu") {
        "-gnu"
    } else {
        ""
    };
    format!("{arch}-{vendor}-{os}{abi}")
}

/// Where the lock of a registry lies: beside it, with the extension `lock`.
pub fn path_beside(registry: &Path) -> PathBuf {
    registry.with_extension("lock")
}

/// The lock beside a registry, with its SHA-256, if there is one.
///
/// # Errors
/// R014 where a file is there that cannot be read as a lock.
pub fn read(registry: &Path) -> Result<Option<(Lock, LockState)>, Fault> {
    let path = path_beside(registry);
    let text = match text_file::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&path, &error.to_string())),
    };
    let lock: Lock = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let fault = unreadable(&path, error.message());
        fault.at(format!("{}:{line}", path.display()))
    })?;
    if lock.version != VERSION {
        let reason = format!("it has version {}, this host reads {VERSION}", lock.version);
        return Err(unreadable(&path, &reason));
    }
    let sha256 = hex(&Sha256::digest(text.as_bytes()));
    Ok(Some((lock, LockState::Locked { path, sha256 })))
}

fn unreadable(path: &Path, reason: &str) -> Fault {
    Fault::new("R014", Exit::Registry, "the registry's lock cannot be read")
        .at(path.display().to_string())
        .note("reason", reason.trim())
        .hint("delete it to run unlocked; `host registry lock` then writes another")
}

impl Lock {
    /// A lock of these libraries on this target.
    pub fn of(mut library: Vec<LockedLibrary>) -> Lock {
        library.sort_by(|a, b| (&a.plugin, &a.target).cmp(&(&b.plugin, &b.target)));
        for library in &mut library {
            library.label.sort_by(|a, b| (&a.kind, &a.label).cmp(&(&b.kind, &b.label)));
        }
        Lock { version: VERSION, library }
    }

    /// The library of a plugin on this target.
    pub fn library(&self, plugin: &str) -> Option<&LockedLibrary> {
        let target = target();
        self.library.iter().find(|library| library.plugin == plugin && library.target == target)
    }

    /// Compares a label that its library now runs with what was locked of it. A library that is not in the lock has been
    /// refused before it was opened.
    ///
    /// # Errors
    /// R025 where the lock has no such label, or another rule under it: the registry's entries changed, not the library.
    pub fn holds(&self, plugin: &str, label: &LockedLabel, place: &str) -> Result<(), Fault> {
        let what = format!("{} `{}`", label.kind, label.label);
        let same = |locked: &&LockedLabel| locked.kind == label.kind && locked.label == label.label;
        let message = match self.library(plugin).and_then(|library| library.label.iter().find(same)) {
            Some(locked) if locked.fingerprint == label.fingerprint => return Ok(()),
            Some(_) => format!("{what} is another rule than the one that registry.lock names"),
            None => format!("{what} is not in registry.lock"),
        };
        let fault = Fault::new("R025", Exit::Registry, message).at(place).note("plugin", plugin);
        Err(fault.hint("`host registry diff` tells what changed; `host registry lock` vouches for what is there"))
    }

    /// This lock with the other targets' libraries of an older one.
    pub fn with_other_targets(self, older: Option<&Lock>) -> Lock {
        let target = target();
        let others = older.into_iter().flat_map(|lock| &lock.library).filter(|library| library.target != target);
        Lock::of(self.library.into_iter().chain(others.cloned()).collect())
    }

    /// This lock with what an older one says of conformance, where library and rule are still the same.
    pub fn with_conformance_of(mut self, older: Option<&Lock>) -> Lock {
        for library in &mut self.library {
            let same = |old: &&LockedLibrary| {
                old.plugin == library.plugin && old.target == library.target && old.sha256 == library.sha256
            };
            let Some(old) = older.and_then(|older| older.library.iter().find(same)) else { continue };
            for label in &mut library.label {
                let same = |old: &&LockedLabel| old.kind == label.kind && old.label == label.label;
                if let Some(old) = old.label.iter().find(same).filter(|old| old.fingerprint == label.fingerprint) {
                    label.conformance.clone_from(&old.conformance);
                }
            }
        }
        self
    }

    /// Writes it beside the registry: whole or not at all.
    ///
    /// # Errors
    /// R014 where the folder cannot be written.
    pub fn write(&self, registry: &Path) -> Result<PathBuf, Fault> {
        let path = path_beside(registry);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let unwritable = |reason: String| {
            Fault::new("R014", Exit::Registry, "the registry's lock cannot be written")
                .at(path.display().to_string())
                .note("reason", reason)
        };
        let text = toml::to_string(self).map_err(|error| unwritable(error.to_string()))?;
        let mut file = tempfile::Builder::new()
            .prefix(".registry-lock-")
            .permissions(permissions())
            .tempfile_in(folder)
            .map_err(|error| unwritable(error.to_string()))?;
        file.write_all(format!("{HEADER}{text}").as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .map_err(|error| unwritable(error.to_string()))?;
        file.persist(&path).map_err(|error| unwritable(error.to_string()))?;
        Ok(path)
    }

    /// What is different in `now`, one sentence each; empty where nothing is. Other targets are left out.
    pub fn differences(&self, now: &Lock) -> Vec<String> {
        let target = target();
        let here = |lock: &Lock| -> Vec<LockedLibrary> {
            lock.library.iter().filter(|library| library.target == target).cloned().collect()
        };
        let (before, now) = (here(self), here(now));
        let mut words = Vec::new();
        for old in &before {
            match now.iter().find(|new| new.plugin == old.plugin) {
                Some(new) => words.extend(changes(old, new)),
                None => words.push(format!("plugin `{}` is gone", old.plugin)),
            }
        }
        for new in now.iter().filter(|new| !before.iter().any(|old| old.plugin == new.plugin)) {
            words.push(format!("plugin `{}` is new: {}", new.plugin, names(&new.label)));
        }
        words
    }
}

fn permissions() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o644)
}

fn names(labels: &[LockedLabel]) -> String {
    let names: Vec<String> = labels.iter().map(|label| format!("{} `{}`", label.kind, label.label)).collect();
    if names.is_empty() { "no labels".to_string() } else { names.join(", ") }
}

fn changes(old: &LockedLibrary, new: &LockedLibrary) -> Vec<String> {
    let mut words = Vec::new();
    let short = |sha256: &str| sha256.chars().take(12).collect::<String>();
    let of = &old.plugin;
    if old.sha256 != new.sha256 {
        words.push(format!("plugin `{of}` is another file: sha256 {}… → {}…", short(&old.sha256), short(&new.sha256)));
    }
    for (what, old, new) in
        [("ABI", &old.abi, &new.abi), ("sdk", &old.sdk, &new.sdk), ("compiler", &old.rustc, &new.rustc)]
    {
        if old != new {
            words.push(format!("plugin `{of}` has another {what}: {old} → {new}"));
        }
    }
    let same = |a: &LockedLabel, b: &LockedLabel| a.kind == b.kind && a.label == b.label;
    for label in &old.label {
        let Some(now) = new.label.iter().find(|now| same(label, now)) else {
            words.push(format!("{} `{}` no longer comes from plugin `{of}`", label.kind, label.label));
            continue;
        };
        let none = || "none".to_string();
        let what = format!("{} `{}`", label.kind, label.label);
        if label.fingerprint != now.fingerprint {
            let (old, new) = (label.fingerprint.clone(), now.fingerprint.clone());
            words.push(format!("{what} is another rule: {} → {}", old.unwrap_or_else(none), new.unwrap_or_else(none)));
        }
        if label.state_bytes != now.state_bytes {
            let (old, new) = (label.state_bytes.clone(), now.state_bytes.clone());
            let (old, new) = (old.unwrap_or_else(none), new.unwrap_or_else(none));
            words.push(format!("{what} keeps another amount of state per parameter: {old} → {new} bytes"));
        }
        if label.conformance != now.conformance {
            words.push(format!("{what} conformance: {} → {}", label.conformance, now.conformance));
        }
    }
    for label in new.label.iter().filter(|label| !old.label.iter().any(|before| same(before, label))) {
        words.push(format!("{} `{}` is new in plugin `{of}`", label.kind, label.label));
    }
    words
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(kind: &str, label: &str) -> LockedLabel {
        let optimizer = kind == "optimizer";
        LockedLabel {
            kind: kind.into(),
            label: label.into(),
            fingerprint: optimizer.then(|| "f00d".into()),
            state_bytes: optimizer.then(|| "8".into()),
            conformance: NOT_RUN.into(),
        }
    }

    fn library(plugin: &str) -> LockedLibrary {
        LockedLibrary {
            plugin: plugin.into(),
            target: target(),
            sha256: "ab".repeat(32),
            abi: "1.0".into(),
            sdk: "0.1.0".into(),
            rustc: "1.95.0".into(),
            label: vec![label("optimizer", "adamw")],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let registry = folder.path().join("registry.toml");
        assert_eq!(read(&registry).unwrap(), None);
        let lock = Lock::of(vec![library("b"), library("a")]);
        lock.write(&registry).unwrap();
        let (back, state) = read(&registry).unwrap().unwrap();
        assert_eq!(back, lock);
        assert_eq!(back.library[0].plugin, "a", "sorted");
        assert!(matches!(state, LockState::Locked { sha256, .. } if sha256.len() == 64));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_lock_that_is_not_understood_is_a_fault_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let registry = folder.path().join("registry.toml");
        for (text, line, reason) in [
            ("version = 1\ncolour = 2\n", ":2", "colour"),
            ("version = 7\n", "", "it has version 7, this host reads 1"),
            ("", ":1", "version"),
            ("version = \n", ":1", ""),
        ] {
            std::fs::write(path_beside(&registry), text).unwrap();
            let fault = read(&registry).unwrap_err();
            assert_eq!((fault.code, fault.exit), ("R014", Exit::Registry));
            assert!(fault.place.as_ref().unwrap().ends_with(line), "{fault}");
            assert!(fault.notes[0].1.contains(reason), "{fault}");
        }
    }

    #[test]
    fn other_targets_stay_in_the_lock() {
        let other = LockedLibrary { target: "vax-dec-ultrix".into(), ..library("a") };
        let older = Lock::of(vec![other.clone(), library("gone")]);
        let now = Lock::of(vec![library("a")]).with_other_targets(Some(&older));
        assert_eq!(now.library.len(), 2);
        assert!(now.library.contains(&other));
        assert_eq!(now.library("a").map(|library| &library.target), Some(&target()));
    }

    #[test]
    fn differences_are_told_in_words() {
        type Change = fn(&mut LockedLibrary);
        let table: [(Change, &str); 8] = [
            (|l| l.sha256 = "cd".repeat(32), "plugin `a` is another file: sha256 abababababab… → cdcdcdcdcdcd…"),
            (|l| l.abi = "1.1".into(), "plugin `a` has another ABI: 1.0 → 1.1"),
            (|l| l.rustc = "1.96.0".into(), "plugin `a` has another compiler: 1.95.0 → 1.96.0"),
            (|l| l.plugin = "b".into(), "plugin `a` is gone|plugin `b` is new: optimizer `adamw`"),
            (|l| l.label.clear(), "optimizer `adamw` no longer comes from plugin `a`"),
            (|l| l.label[0].fingerprint = None, "optimizer `adamw` is another rule: f00d → none"),
            (
                |l| l.label[0].state_bytes = Some("4".into()),
                "optimizer `adamw` keeps another amount of state per parameter: 8 → 4 bytes",
            ),
            (|l| l.label.push(label("arch-op", "freeze")), "arch-op `freeze` is new in plugin `a`"),
        ];
        let before = Lock::of(vec![library("a")]);
        assert!(before.differences(&before).is_empty());
        for (change, words) in table {
            let mut now = library("a");
            change(&mut now);
            assert_eq!(before.differences(&Lock::of(vec![now])).join("|"), words);
        }
    }
}
