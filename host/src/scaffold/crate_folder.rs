//! A new crate: everything about it settled first, then the folder written whole or not at all.
//! Does not build it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    entry::{self, RegistryEntry},
    names::Names,
    sdk_folder,
    template::{self, Facts, Rule},
    workspace::{self, Belongs},
};
use crate::{
    fault::{Exit, Fault, Faults},
    registry::{Kind, Registry},
};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The label, as it was given.
    pub label: &'a str,
    /// What its rule is made of.
    pub rule: Rule,
    /// The crate's folder; one named after the label, in the working directory, where none is given.
    pub folder: Option<&'a Path>,
    /// The sdk's folder, where it is given.
    pub sdk: Option<&'a Path>,
}

/// A crate that can be written.
#[derive(Debug)]
pub struct NewCrate {
    /// The names that follow from its label.
    pub names: Names,
    /// Its folder, as it was given.
    pub folder: PathBuf,
    /// Its library, once it is built.
    pub library: PathBuf,
    /// Its entry in a registry.
    pub entry: RegistryEntry,
    files: Vec<(String, String)>,
}

/// Optimizer that takes what a rule over matrices cannot, where the registry has it.
const COMPANION: &str = "adamw";

impl NewCrate {
    /// Settles names, place and files. A label that the registry has is refused; `registry` is none where there is no
    /// registry to ask.
    ///
    /// # Errors
    /// U010 to U012, all that are found.
    pub fn plan(plan: &Plan<'_>, registry: Option<&Registry>) -> Result<NewCrate, Faults> {
        let mut faults = Faults::none();
        let names = faults.take(Names::of(plan.label));
        if let Some(entry) = registry.and_then(|registry| registry.entry(Kind::Optimizer, plan.label)) {
            let message = format!("`{}` is a label already", plan.label);
            let fault = Fault::new("U010", Exit::Usage, message).at(&entry.place);
            faults.push(fault.hint(format!("take another name; `host describe {}` tells what it is", plan.label)));
        }
        let folder = plan
            .folder
            .map_or_else(|| names.as_ref().map(|names| PathBuf::from(&names.package)), |given| Some(given.into()));
        let absolute = folder.as_ref().and_then(|folder| faults.take(free(folder)));
        let sdk = faults.take(sdk_folder::find(plan.sdk));
        let (Some(names), Some(folder), Some(absolute), Some(sdk)) = (names, folder, absolute, sdk) else {
            return Err(faults);
        };
        faults.check()?;

        let belongs = workspace::belongs(&absolute);
        let sdk = written_sdk(&absolute, &sdk)?;
        let above = if belongs == Belongs::ToItself { None } else { workspace::root(&absolute) };
        let library = above.unwrap_or(&absolute).join("target/debug").join(names.library_file());
        let entry = RegistryEntry {
            label: names.label.clone(),
            plugin: free_id(&names.package, registry),
            library: match registry.filter(|registry| above.is_some() && folder_of(registry).as_deref() == above) {
                // Built beside the program, as its other plugins are.
                Some(_) => names.library(),
                None => entry::library_from(registry.and_then(folder_of).as_deref(), &library),
            },
            companion: companion(plan.rule, registry),
        };
        let host = std::env::current_exe().map_or("host".to_string(), |path| path.display().to_string());
        let facts = Facts { sdk: &sdk, belongs, entry: &entry.text(), library: &library, host: &host };
        let files = template::files(plan.rule, &names, &facts);
        Ok(NewCrate { names, folder, library, entry, files })
    }

    /// Writes the folder: whole, or not at all.
    ///
    /// # Errors
    /// D110 where it cannot be written.
    pub fn write(&self) -> Result<(), Fault> {
        self.try_write().map_err(|error| {
            let fault = Fault::new("D110", Exit::Data, "the crate cannot be written");
            fault.at(self.folder.display().to_string()).note("reason", error.to_string())
        })
    }

    fn try_write(&self) -> io::Result<()> {
        let parent = parent(&self.folder);
        // As a folder made by mkdir: what the user's mask leaves of everything.
        let unfinished = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(fs::Permissions::from_mode(0o777))
            .tempdir_in(parent)?;
        for (name, text) in &self.files {
            let path = unfinished.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(parent))?;
            fs::write(path, text)?;
        }
        // A rename replaces an empty folder that has come in between, and nothing else.
        fs::rename(unfinished.path(), &self.folder)?;
        let _ = unfinished.keep();
        Ok(())
    }
}

/// The folder as an absolute path, where a new one can be made.
fn free(folder: &Path) -> Result<PathBuf, Fault> {
    let fault = |message: &str| Fault::new("U011", Exit::Usage, message).at(folder.display().to_string());
    // A link that leads nowhere is there too.
    if folder.symlink_metadata().is_ok() {
        return Err(fault("the folder of the new crate exists already").hint("`--path FOLDER` names another one"));
    }
    let Some(name) = folder.file_name() else {
        return Err(fault("the folder of the new crate has no name").hint("`--path FOLDER` names a new folder"));
    };
    match parent(folder).canonicalize() {
        Ok(parent) if parent.is_dir() => Ok(parent.join(name)),
        _ => {
            let above = parent(folder).display().to_string();
            Err(fault("the folder of the new crate has no folder to lie in").hint(format!("make `{above}` first")))
        }
    }
}

fn parent(folder: &Path) -> &Path {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The sdk's folder for the manifest: relative inside the sdk's own checkout, so that both can move together.
fn written_sdk(folder: &Path, sdk: &Path) -> Result<String, Fault> {
    let checkout = parent(sdk);
    let inside = folder.strip_prefix(checkout).ok();
    let relative = inside.map(|inside| {
        let up: PathBuf = inside.components().map(|_| "..").collect();
        up.join(sdk.strip_prefix(checkout).unwrap_or(sdk))
    });
    let path = relative.as_deref().unwrap_or(sdk);
    path.to_str().map(str::to_string).ok_or_else(|| {
        Fault::new("U012", Exit::Usage, "the sdk's folder has a name that no manifest can hold")
            .at(sdk.display().to_string())
    })
}

/// The folder that a registry lies in, as an absolute path.
fn folder_of(registry: &Registry) -> Option<PathBuf> {
    registry.path.canonicalize().ok()?.parent().map(Path::to_path_buf)
}

/// An id that the registry's plugins do not have.
fn free_id(package: &str, registry: Option<&Registry>) -> String {
    let taken = |id: &str| registry.is_some_and(|registry| registry.plugins().iter().any(|plugin| plugin.id == id));
    let mut id = package.to_string();
    while taken(&id) {
        id += "-plugin";
    }
    id
}

fn companion(rule: Rule, registry: Option<&Registry>) -> Option<String> {
    let there = registry.is_none_or(|registry| registry.entry(Kind::Optimizer, COMPANION).is_some());
    (rule == Rule::Matrix && there).then(|| COMPANION.to_string())
}
