//! Compares the entries of one `registry.toml` with each other: names that clash, names that lead nowhere.
//! Does not know what the plugins export.

use std::collections::BTreeMap;

use super::{Kind, parse::Document};
use crate::{
    fault::{Exit, Fault, Faults, nearest},
    model::Role,
};

/// Notes every clash and every name that leads nowhere (R004 to R006).
pub fn check(path: &str, document: &Document, faults: &mut Faults) {
    if document.entries.is_empty() && faults.0.is_empty() {
        let fault = Fault::new("R006", Exit::Registry, "the registry has no label").at(path);
        faults.push(fault.hint("add an [[optimizer]] with `label` and `plugin`"));
    }
    for kind in Kind::ALL {
        names_are_unique(document, kind, faults);
    }
    plugins_exist(document, faults);
    labels_exist(document, faults);
}

/// Replaces aliases by labels wherever an entry names another one. Only for documents without faults.
pub fn without_aliases(mut document: Document) -> Document {
    let labels: BTreeMap<String, String> =
        optimizer_names(&document).into_iter().map(|(name, label)| (name.to_string(), label.to_string())).collect();
    let mut replace = |name: &mut String| {
        if let Some(label) = labels.get(name.as_str()) {
            name.clone_from(label);
        }
    };
    document.default_optimizer.as_mut().map(&mut replace);
    for entry in &mut document.entries {
        entry.same_rule_as.as_mut().map(&mut replace);
        if let Some(companion) = entry.companion.as_mut() {
            replace(&mut companion.optimizer);
        }
    }
    document
}

fn names_are_unique(document: &Document, kind: Kind, faults: &mut Faults) {
    let mut taken: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for entry in document.entries.iter().filter(|entry| entry.kind == kind) {
        let names = std::iter::once((&entry.label, "label")).chain(entry.aliases.iter().map(|alias| (alias, "alias")));
        for (name, what) in names {
            let Some((before, place)) = taken.insert(name, (what, &entry.place)) else { continue };
            let message = format!("{kind} {what} `{name}` is defined twice");
            let fault = Fault::new("R004", Exit::Registry, message).at(&entry.place);
            faults.push(fault.note("first", format!("as {before} at {place}")));
        }
    }
}

fn plugins_exist(document: &Document, faults: &mut Faults) {
    let ids = || document.plugins.iter().map(|plugin| plugin.id.as_str());
    for entry in document.entries.iter().filter(|entry| !ids().any(|id| id == entry.plugin)) {
        let message =
            format!("{} `{}` names plugin `{}`, which [plugins] has not", entry.kind, entry.label, entry.plugin);
        faults.push(nowhere(message, &entry.place, &entry.plugin, ids().collect()));
    }
}

fn labels_exist(document: &Document, faults: &mut Faults) {
    let names = optimizer_names(document);
    let known = || names.keys().copied().collect::<Vec<_>>();
    if let Some(label) = document.default_optimizer.as_deref().filter(|label| !names.contains_key(label)) {
        let message = format!("`default-optimizer` names `{label}`, which the registry has not");
        faults.push(nowhere(message, &document.default_place, label, known()));
    }
    for entry in &document.entries {
        if let Some(other) = &entry.same_rule_as {
            if names.get(other.as_str()) == Some(&entry.label.as_str()) {
                let message = format!("`{}` is declared the same rule as itself", entry.label);
                faults.push(Fault::new("R005", Exit::Registry, message).at(&entry.place));
            } else if !names.contains_key(other.as_str()) {
                let message = format!("`{}` is `same_rule_as` `{other}`, which the registry has not", entry.label);
                faults.push(nowhere(message, &entry.place, other, known()));
            }
        }
        let Some(companion) = &entry.companion else { continue };
        if !names.contains_key(companion.optimizer.as_str()) {
            let message =
                format!("the companion of `{}` is `{}`, which the registry has not", entry.label, companion.optimizer);
            faults.push(nowhere(message, &companion.place, &companion.optimizer, known()));
        }
        let roles = Role::ALL.map(Role::name);
        for role in companion.roles.iter().filter(|role| !roles.contains(&role.as_str())) {
            let message = format!("the companion of `{}` takes role `{role}`, which no parameter has", entry.label);
            faults.push(nowhere(message, &companion.place, role, roles.to_vec()));
        }
    }
}

/// Label by every name of every optimizer.
fn optimizer_names(document: &Document) -> BTreeMap<&str, &str> {
    let optimizers = document.entries.iter().filter(|entry| entry.kind == Kind::Optimizer);
    optimizers
        .flat_map(|entry| {
            let names = std::iter::once(&entry.label).chain(&entry.aliases);
            names.map(|name| (name.as_str(), entry.label.as_str()))
        })
        .collect()
}

fn nowhere(message: String, place: &str, given: &str, known: Vec<&str>) -> Fault {
    let fault = Fault::new("R005", Exit::Registry, message).at(place).note("known", known.join(", "));
    match nearest(given, known) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault,
    }
}
