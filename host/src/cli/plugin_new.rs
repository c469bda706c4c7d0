//! `host plugin new NAME`: makes a crate and tells what to do with it.
//! The entry for a registry goes to stdout, as TOML; everything else is talk.

use std::path::Path;

use super::{
    plugin_args::{NewKind, PluginNewFlags},
    stdout,
};
use crate::{
    fault::Faults,
    registry::{LockState, Registry},
    scaffold::{NewCrate, Plan, RegistryEntry, sdk_folder},
};

/// Makes the crate, and writes its entry where that is asked for.
///
/// # Errors
/// U010 to U012 and every fault of the registry, before anything is written; R040 and D110.
pub fn plugin_new(flags: &PluginNewFlags) -> anyhow::Result<()> {
    // One kind so far; another is another set of templates.
    let NewKind::Optimizer = flags.kind;
    let registry = registry(flags)?;
    let plan = Plan { label: &flags.name, rule: flags.rule, folder: flags.path.as_deref(), sdk: flags.sdk.as_deref() };
    let new = NewCrate::plan(&plan, registry.as_ref())?;
    let to_write = registry.as_ref().filter(|_| flags.register);
    if flags.register && to_write.is_none() {
        return Err(RegistryEntry::nowhere().into());
    }
    if let Some(registry) = to_write {
        new.entry.check(registry)?;
    }
    new.write()?;
    if let Some(registry) = to_write {
        new.entry.add_to(registry)?;
    }
    stdout::print(&new.entry.text())?;
    anstream::eprintln!("{}", next_steps(&new, registry.as_ref(), flags.register));
    Ok(())
}

/// The registry whose labels are taken: the given one, or one that is found, last that of the checkout whose sdk is
/// built on; none is no fault.
fn registry(flags: &PluginNewFlags) -> Result<Option<Registry>, Faults> {
    if let Some(path) = &flags.registry {
        return Registry::open(path).map(Some);
    }
    let sdk = sdk_folder::find(flags.sdk.as_deref()).unwrap_or_default();
    Registry::find_if_any(sdk.parent().unwrap_or(Path::new("")))
}

fn next_steps(new: &NewCrate, registry: Option<&Registry>, registered: bool) -> String {
    let (label, folder) = (&new.names.label, new.folder.display());
    let mut text = format!("made {folder}, with the rule of `{label}` in src/{}.rs\n", new.names.module);
    match registry {
        Some(registry) if registered => text += &format!("`{label}` is in {} now\n", registry.path.display()),
        Some(registry) => text += &format!("add the entry above to {}\n", registry.path.display()),
        None => text += "no registry was found, so whether the label is taken is not known; the entry above is one\n",
    }
    if registry.is_some_and(|registry| *registry.lock_state() != LockState::Unlocked) {
        text += "the registry is locked: `host registry lock` vouches for the library once it is built\n";
    }
    text + &format!("next: cd {folder} && cargo test && cargo build; README.md tells the rest")
}
