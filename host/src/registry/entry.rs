//! What `registry.toml` says about one plugin and about one label.
//! Does not know whether the plugin exists or agrees.

use std::collections::BTreeMap;

use super::Kind;
use crate::config::settings::HyperValue;

/// `id = "library"` under `[plugins]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginEntry {
    /// The name by which labels refer to it.
    pub id: String,
    /// A library name (`adaptive` is `libadaptive.so` in the plugin folder), or a path relative to the file (with a
    /// `/`).
    pub library: String,
    /// File, line and text, as a fault shows it.
    pub place: String,
}

/// One `[[optimizer]]`, `[[projection]]` or `[[arch-op]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What the label stands for.
    pub kind: Kind,
    /// The name users write.
    pub label: String,
    /// Id of the plugin that exports it.
    pub plugin: String,
    /// Other names users may write.
    pub aliases: Vec<String>,
    /// Hyper-parameters that differ from the plugin's own defaults.
    pub defaults: BTreeMap<String, HyperValue>,
    /// A label whose rule is knowingly the same. Optimizers alone.
    pub same_rule_as: Option<String>,
    /// Who takes the parameters that this one cannot. Optimizers alone.
    pub companion: Option<Companion>,
    /// File, line and text, as a fault shows it.
    pub place: String,
}

/// The optimizer that takes what another one cannot, such as embeddings beside a matrix rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Companion {
    /// Roles of the parameters it takes, as [`crate::model::Role::name`].
    pub roles: Vec<String>,
    /// Its label; an alias has been replaced by the label it stands for.
    pub optimizer: String,
    /// Hyper-parameters it runs with there.
    pub hyper: BTreeMap<String, HyperValue>,
    /// File, line and text, as a fault shows it.
    pub place: String,
}
