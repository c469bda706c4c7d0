//! Opens one plugin's library: every check of the file that can be made before it runs, and then abi_stable's.
//! Does not know labels of the registry; libraries stay open for the life of the process.

use std::{
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use abi_stable::library::lib_header_from_path;
use sdk::abi::{AbiVersion, Descriptor, RootRef, Table};
use sha2::{Digest, Sha256};

use super::{PluginEntry, descriptor, elf, elf::Misfit, lock, lock::Lock, module::Module};
use crate::fault::{Exit, Fault, Faults};

/// One opened library, under the id that a registry gives it.
#[derive(Clone)]
pub struct Library {
    /// Id in the registry.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// What it was built for and what it needs.
    pub abi: AbiVersion,
    module: &'static Module,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("id", &self.id).field("path", &self.path).finish_non_exhaustive()
    }
}

/// An opened library, whoever asked for it. Never dropped, as the library is never closed.
struct Opened {
    path: PathBuf,
    device_and_inode: (u64, u64),
    sha256: String,
    module: Module,
}

/// All libraries that this process has opened. The dynamic linker opens a file once, so a plugin is connected once.
static OPENED: Mutex<Vec<&'static Opened>> = Mutex::new(Vec::new());

impl Library {
    /// A plugin that is part of the test itself.
    #[cfg(test)]
    pub(super) fn in_process(id: &str, root: RootRef) -> Result<Library, Faults> {
        let module: &'static Module = Box::leak(Box::new(Module::introduced(id, root)?));
        let (path, sha256) = (PathBuf::from("in-process"), "00".repeat(32));
        Ok(Library { id: id.to_string(), path, sha256, abi: module.abi, module })
    }

    /// Opens the library of `plugin` at `path`. Where a lock is given the file must be the one it names.
    ///
    /// # Errors
    /// R010 to R019 and R024; before the library runs, all that is wrong with the file.
    pub fn open(plugin: &PluginEntry, path: &Path, lock: Option<&Lock>) -> Result<Library, Faults> {
        let opened = open(&plugin.id, path, lock).map_err(|faults| located(faults, plugin, path))?;
        let (path, sha256, module) = (path.to_path_buf(), opened.sha256.clone(), &opened.module);
        Ok(Library { id: plugin.id.clone(), path, sha256, abi: module.abi, module })
    }

    /// What the plugin exports, sorted by label.
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.module.descriptors
    }

    /// A fact about the library as a whole, such as `sdk` or `rustc`: every label declares the same.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.descriptors().first().and_then(|first| descriptor::fact(first, key))
    }

    /// The table of one label.
    ///
    /// # Errors
    /// R024 where the plugin has none, or one that is too short or under another id.
    pub fn table<T: Table>(&self, label: &str) -> Result<&'static T, Fault> {
        self.module.table(label)
    }

    /// The text of the last failure on this thread; empty if there was none.
    pub fn take_fault(&self) -> String {
        self.module.take_fault()
    }
}

fn located(faults: Faults, plugin: &PluginEntry, path: &Path) -> Faults {
    let located = |mut fault: Fault| {
        fault.place.get_or_insert_with(|| plugin.place.clone());
        fault.notes.insert(0, ("library", path.display().to_string()));
        fault
    };
    Faults(faults.0.into_iter().map(located).collect())
}

fn open(id: &str, path: &Path, lock: Option<&Lock>) -> Result<&'static Opened, Faults> {
    let bytes = read(id, path)?;
    let sha256 = lock::hex(&Sha256::digest(&bytes));
    let mut faults = Faults::none();
    if let Some(lock) = lock {
        faults.take(locked(id, &sha256, lock));
    }
    faults.take(elf::inspect(&bytes).map_err(|misfits| {
        let faults = misfits.into_iter().map(|misfit| misfit_fault(id, misfit));
        Faults(faults.collect())
    }));
    faults.check()?;
    drop(bytes);

    let unreadable = |error: std::io::Error| unreadable(id, &error.to_string());
    let metadata = path.metadata().map_err(unreadable)?;
    let path = path.canonicalize().map_err(unreadable)?;
    let device_and_inode = (metadata.dev(), metadata.ino());
    // A thread that panicked while it held the list has at worst not added its library.
    let mut opened = OPENED.lock().unwrap_or_else(|poison| poison.into_inner());
    let same = |known: &&&'static Opened| known.path == path || known.device_and_inode == device_and_inode;
    if let Some(known) = opened.iter().find(same) {
        if known.sha256 == sha256 {
            return Ok(known);
        }
        let fault = Fault::new("R011", Exit::Registry, format!("plugin `{id}` changed on disk after it was opened"));
        return Err(fault.hint("start the program again").into());
    }
    let module = Module::introduced(id, root(id, &path)?)?;
    let library: &'static Opened = Box::leak(Box::new(Opened { path, device_and_inode, sha256, module }));
    opened.push(library);
    Ok(library)
}

fn read(id: &str, path: &Path) -> Result<Vec<u8>, Fault> {
    // A pipe or a device would be read for ever.
    let regular = || std::fs::metadata(path).map(|metadata| metadata.is_file());
    match regular().and_then(|regular| if regular { std::fs::read(path).map(Some) } else { Ok(None) }) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(unreadable(id, "it is not a file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let fault = Fault::new("R010", Exit::Registry, format!("the library of plugin `{id}` is missing"));
            Err(fault.hint("build it, or correct its entry under [plugins] or `plugin-dir`"))
        }
        Err(error) => Err(unreadable(id, &error.to_string())),
    }
}

fn unreadable(id: &str, reason: &str) -> Fault {
    let message = format!("the library of plugin `{id}` cannot be read");
    Fault::new("R010", Exit::Registry, message).note("reason", reason)
}

fn locked(id: &str, sha256: &str, lock: &Lock) -> Result<(), Fault> {
    let fault = |message: String| Fault::new("R013", Exit::Registry, message).note("sha256", sha256);
    let way_out = "`host registry diff` tells what changed; `host registry lock` vouches for what is there";
    match lock.library(id) {
        Some(library) if library.sha256 == sha256 => Ok(()),
        Some(library) => {
            let message = format!("plugin `{id}` is not the library that registry.lock names");
            Err(fault(message).note("locked", &library.sha256).hint(way_out))
        }
        None => Err(fault(format!("plugin `{id}` is not in registry.lock for {}", lock::target())).hint(way_out)),
    }
}

fn misfit_fault(id: &str, misfit: Misfit) -> Fault {
    let unfit = |reason: String| {
        Fault::new("R011", Exit::Registry, format!("the library of plugin `{id}` {reason}")).hint("build it again")
    };
    let forbidden = |message: String, names: Vec<String>| {
        Fault::new("R012", Exit::Registry, message)
            .note("needs", names.join(", "))
            .hint("a plugin depends on `sdk` alone and calls tensors through the host's tables")
    };
    let of = |whose: Option<&str>, what: &str| whose.map_or(what.to_string(), str::to_string);
    match misfit {
        Misfit::NotElf => unfit("is no library: it does not begin as an ELF file".to_string()),
        Misfit::Broken(reason) => unfit(format!("is not whole: {}", reason.to_lowercase())),
        Misfit::OtherMachine(reason) => unfit(reason),
        Misfit::NotAPlugin => {
            let message = format!("the library of plugin `{id}` is no plugin: it exports no root module");
            Fault::new("R011", Exit::Registry, message).hint("say `sdk::plugin!();` in its lib.rs, as a cdylib")
        }
        Misfit::Needs { libraries, whose } => {
            let what = of(whose, "a library that plugins may not use");
            forbidden(format!("plugin `{id}` links {what}"), libraries)
        }
        Misfit::Undefined { symbols, whose } => {
            let what = of(whose, "symbols that no library of it defines");
            forbidden(format!("plugin `{id}` needs {what}"), symbols)
        }
    }
}

/// Opens the library and lets abi_stable compare the layouts.
fn root(id: &str, path: &Path) -> Result<RootRef, Fault> {
    let refused = |reason: String| {
        Fault::new("R015", Exit::Registry, format!("plugin `{id}` has another binary interface than this host"))
            .note("reason", squeezed(&reason))
            .hint("build it again with this host's sdk")
    };
    let header = lib_header_from_path(path).map_err(|error| refused(error.to_string()))?;
    if header.layout().is_none() {
        return Err(refused("it carries no layout to be checked".to_string()));
    }
    header.init_root_module::<RootRef>().map_err(|error| refused(error.to_string()))
}

/// abi_stable writes whole pages; the beginning says what is wrong.
fn squeezed(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path, lock: Option<&Lock>) -> Faults {
        let plugin = PluginEntry { id: "p".into(), library: "p".into(), place: "registry.toml:2  p = \"p\"".into() };
        Library::open(&plugin, path, lock).expect_err("no plugin")
    }

    #[test]
    fn files_that_are_no_plugins_are_faults_with_place_and_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libp.so");
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let linking = elf::linking_torch(program.clone());
        let table: [(Option<&[u8]>, &str, &str); 5] = [
            (None, "R010", "is missing"),
            (Some(b""), "R011", "is no library"),
            (Some(b"#!/bin/sh\nexit 0\n"), "R011", "is no library"),
            (Some(&program[..program.len() / 2]), "R011", "is not whole"),
            (Some(&linking), "R012", "links libtorch"),
        ];
        for (bytes, code, message) in table {
            if let Some(bytes) = bytes {
                std::fs::write(&path, bytes).unwrap();
            }
            let fault = &refused(&path, None).0[0];
            assert_eq!((fault.code, fault.exit), (code, Exit::Registry), "{fault}");
            assert!(fault.message.contains(message), "{fault}");
            assert_eq!(fault.place.as_deref(), Some("registry.toml:2  p = \"p\""));
            assert_eq!(fault.notes[0], ("library", path.display().to_string()));
        }
        assert_eq!(refused(folder.path(), None).0[0].code, "R010", "a folder cannot be read");
    }

    #[test]
    fn a_lock_is_enforced_before_anything_is_opened_and_all_faults_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libp.so");
        std::fs::write(&path, "text").unwrap();
        let codes = |lock: &Lock| refused(&path, Some(lock)).0.iter().map(|fault| fault.code).collect::<Vec<_>>();
        assert_eq!(codes(&Lock::of(Vec::new())), ["R013", "R011"], "no entry");
        let mut library = lock::LockedLibrary {
            plugin: "p".into(),
            target: lock::target(),
            sha256: "00".repeat(32),
            abi: "1.0".into(),
            sdk: "0.1.0".into(),
            rustc: "1.95.0".into(),
            label: Vec::new(),
        };
        assert_eq!(codes(&Lock::of(vec![library.clone()])), ["R013", "R011"], "another hash");
        library.sha256 = lock::hex(&Sha256::digest(b"text"));
        assert_eq!(codes(&Lock::of(vec![library])), ["R011"], "the locked file");
    }
}
