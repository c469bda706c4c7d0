//! Opens one plugin's library: every check that can be made before it runs, then abi_stable's, then the plugin's own word.
//! Does not know labels of the registry; libraries stay open for the life of the process.
#![allow(unsafe_code)]

use std::{
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use abi_stable::{library::lib_header_from_path, std_types::RResult};
use sdk::abi::{
    self, AbiVersion, ArchOpTable, Descriptor, OptimizerTable, PluginCoreTable, ProjectionTable, RootRef, RuleTable,
    TableHeader,
};
use sha2::{Digest, Sha256};

use super::{PluginEntry, descriptor, elf, elf::Misfit, lock, lock::Lock};
use crate::{
    fault::{Exit, Fault, Faults},
    tensor::tables::get_table,
};

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

/// What is known about an opened library, whoever asked for it. Never dropped, as the library is never closed.
struct Module {
    path: PathBuf,
    device_and_inode: (u64, u64),
    sha256: String,
    abi: AbiVersion,
    root: RootRef,
    core: &'static PluginCoreTable,
    descriptors: Vec<Descriptor>,
}

/// All libraries that this process has opened. The dynamic linker opens a file once, so a plugin is connected once.
static OPENED: Mutex<Vec<&'static Module>> = Mutex::new(Vec::new());

/// A table of a plugin: what it is called and that it may be read as this type.
///
/// # Safety
/// `ID` is the id that sdk gives to exactly this `#[repr(C)]` type, which begins with a [`TableHeader`].
pub unsafe trait Table: 'static {
    /// Under which it is asked for.
    const ID: &'static str;
}
// SAFETY: ids and types as documented in sdk::abi::plugin_tables.
unsafe impl Table for PluginCoreTable {
    const ID: &'static str = "plugin.core/1";
}
// SAFETY: as above.
unsafe impl Table for RuleTable {
    const ID: &'static str = "plugin.rule/1";
}
// SAFETY: as above.
unsafe impl Table for OptimizerTable {
    const ID: &'static str = "plugin.optimizer/1";
}
// SAFETY: as above.
unsafe impl Table for ProjectionTable {
    const ID: &'static str = "plugin.projection/1";
}
// SAFETY: as above.
unsafe impl Table for ArchOpTable {
    const ID: &'static str = "plugin.arch_op/1";
}

impl Library {
    /// Opens the library of `plugin` at `path`. Where a lock is given the file must be the one it names.
    ///
    /// # Errors
    /// R010 to R019 and R024; before the library runs, all that is wrong with the file.
    pub fn open(plugin: &PluginEntry, path: &Path, lock: Option<&Lock>) -> Result<Library, Faults> {
        let module = module(&plugin.id, path, lock).map_err(|faults| located(faults, plugin, path))?;
        let (path, sha256) = (path.to_path_buf(), module.sha256.clone());
        Ok(Library { id: plugin.id.clone(), path, sha256, abi: module.abi, module })
    }

    /// What the plugin exports, sorted by label.
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.module.descriptors
    }

    /// The table of one label.
    ///
    /// # Errors
    /// R024 where the plugin has none, or one that is too short or under another id.
    pub fn table<T: Table>(&self, label: &str) -> Result<&'static T, Fault> {
        table(self.module.root, label)
    }

    /// The text of the last failure on this thread; empty if there was none.
    pub fn take_fault(&self) -> String {
        (self.module.core.take_fault)().into_string()
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

fn module(id: &str, path: &Path, lock: Option<&Lock>) -> Result<&'static Module, Faults> {
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
    let same = |module: &&&'static Module| module.path == path || module.device_and_inode == device_and_inode;
    if let Some(module) = opened.iter().find(same) {
        if module.sha256 == sha256 {
            return Ok(module);
        }
        let fault = Fault::new("R011", Exit::Registry, format!("plugin `{id}` changed on disk after it was opened"));
        return Err(fault.hint("start the program again").into());
    }
    let module = load(id, path, device_and_inode, sha256)?;
    opened.push(module);
    Ok(module)
}

fn read(id: &str, path: &Path) -> Result<Vec<u8>, Fault> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
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

/// Opens the library and asks it what it is. The order matters: layout, version, description, and only then a connection.
fn load(
    id: &str,
    path: PathBuf,
    device_and_inode: (u64, u64),
    sha256: String,
) -> Result<&'static Module, Faults> {
    let refused = |reason: String| {
        Fault::new("R015", Exit::Registry, format!("plugin `{id}` has another binary interface than this host"))
            .note("reason", squeezed(&reason))
            .hint("build it again with this host's sdk")
    };
    let header = lib_header_from_path(&path).map_err(|error| refused(error.to_string()))?;
    if header.layout().is_none() {
        return Err(refused("it carries no layout to be checked".to_string()).into());
    }
    let root = header.init_root_module::<RootRef>().map_err(|error| refused(error.to_string()))?;
    let abi = root.abi_version()();
    version_fits(id, abi)?;
    let descriptors = match root.describe()() {
        RResult::ROk(descriptors) => descriptors.into_vec(),
        RResult::RErr(text) => {
            let fault = Fault::new("R017", Exit::Registry, format!("plugin `{id}` failed to describe itself"));
            return Err(fault.note("plugin", text.into_string()).into());
        }
    };
    descriptor::check(id, &descriptors)?;
    let core: &'static PluginCoreTable = table(root, "")?;
    let status = (core.connect)(get_table);
    if status != abi::OK {
        let fault = Fault::new("R017", Exit::Registry, format!("plugin `{id}` failed to connect to the host"));
        return Err(fault.note("plugin", (core.take_fault)().into_string()).into());
    }
    Ok(Box::leak(Box::new(Module { path, device_and_inode, sha256, abi, root, core, descriptors })))
}

/// Same major, and a required minor that this host has.
fn version_fits(id: &str, plugin: AbiVersion) -> Result<(), Fault> {
    if plugin.major == abi::MAJOR && plugin.required_minor <= abi::MINOR {
        return Ok(());
    }
    let (major, minor) = (plugin.major, plugin.required_minor);
    let newer = (major, minor) > (abi::MAJOR, abi::MINOR);
    let way_out = if newer { "update the host, or build the plugin with this host's sdk" } else { "build the plugin with this host's sdk" };
    let message = format!("plugin `{id}` needs ABI {major}.{minor}, this host has {}.{}", abi::MAJOR, abi::MINOR);
    Err(Fault::new("R016", Exit::Registry, message).hint(way_out))
}

fn table<T: Table>(root: RootRef, label: &str) -> Result<&'static T, Fault> {
    let what = if label.is_empty() { format!("table `{}`", T::ID) } else { format!("table `{}` of `{label}`", T::ID) };
    let fault = |reason: String| {
        Fault::new("R024", Exit::Registry, format!("{what} {reason}")).hint("build the plugin with this host's sdk")
    };
    let address = root.get_table()(T::ID.into(), label.into());
    let header = address as *const TableHeader;
    if header.is_null() {
        return Err(fault("is missing".to_string()));
    }
    if !address.is_multiple_of(align_of::<T>()) {
        return Err(fault("is not aligned".to_string()));
    }
    // SAFETY: not null and aligned; every table of the ABI begins with a header and lives as long as the process.
    let header = unsafe { &*header };
    if header.id != T::ID {
        return Err(fault(format!("answers as `{}`", header.id)));
    }
    if header.struct_size < size_of::<T>() {
        return Err(fault(format!("has {} bytes, {} are needed", header.struct_size, size_of::<T>())));
    }
    // SAFETY: the header says that it is this table and has all fields this host knows; `Table` ties the id to the type.
    Ok(unsafe { &*(address as *const T) })
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

    #[test]
    fn versions_fit_or_are_refused_with_both_numbers() {
        let version = |major, required_minor| AbiVersion { major, required_minor };
        assert!(version_fits("p", version(abi::MAJOR, 0)).is_ok());
        assert!(version_fits("p", version(abi::MAJOR, abi::MINOR)).is_ok());
        for (plugin, words) in [
            (version(abi::MAJOR, abi::MINOR + 1), "update the host"),
            (version(abi::MAJOR + 1, 0), "update the host"),
            (version(abi::MAJOR - 1, 9), "build the plugin"),
        ] {
            let fault = version_fits("p", plugin).unwrap_err();
            assert_eq!(fault.code, "R016");
            assert!(fault.message.contains(&format!("{}.{}", plugin.major, plugin.required_minor)), "{fault}");
            assert!(fault.message.contains(&format!("{}.{}", abi::MAJOR, abi::MINOR)), "{fault}");
            assert!(fault.hint.unwrap().starts_with(words));
        }
    }

    fn open(path: &Path, lock: Option<&Lock>) -> Faults {
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
            let fault = &open(&path, None).0[0];
            assert_eq!((fault.code, fault.exit), (code, Exit::Registry), "{fault}");
            assert!(fault.message.contains(message), "{fault}");
            assert_eq!(fault.place.as_deref(), Some("registry.toml:2  p = \"p\""));
            assert_eq!(fault.notes[0], ("library", path.display().to_string()));
        }
        assert_eq!(open(folder.path(), None).0[0].code, "R010", "a folder cannot be read");
    }

    #[test]
    fn a_lock_is_enforced_before_anything_is_opened_and_all_faults_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libp.so");
        std::fs::write(&path, "text").unwrap();
        let codes = |lock: &Lock| open(&path, Some(lock)).0.iter().map(|fault| fault.code).collect::<Vec<_>>();
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
