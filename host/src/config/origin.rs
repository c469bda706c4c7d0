//! Where each value of a run came from, and what it outranked.
//! Does not decide which source wins; that is `layers.rs`.

use std::{collections::BTreeMap, fmt};

use super::{knobs::Knob, value::Value};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag,
    /// `--set`.
    Set,
    /// A variable `HOST_…`, by its whole name.
    Host(String),
    /// A variable `TRIOS_…`, by its whole name.
    Trios(String),
    /// A bare variable.
    Alias(String),
    /// A configuration file, as it was named, and a line in it from 1.
    File {
        /// As it was named.
        path: String,
        /// From 1.
        line: usize,
    },
    /// An embedded preset, by name.
    Preset(String),
    /// The registry entry of the optimizer.
    Registry,
    /// The default its plugin declares.
    Plugin,
    /// A built-in default, or the registry's default optimizer.
    Default,
}

impl Source {
    /// Precedence: the lower number wins.
    pub fn rank(&self) -> u8 {
        match self {
            Source::Flag => 0,
            Source::Set => 1,
            Source::Host(_) => 2,
            Source::Trios(_) => 3,
            Source::Alias(_) => 4,
            Source::File { .. } => 5,
            Source::Preset(_) => 6,
            Source::Registry => 7,
            Source::Plugin => 8,
            Source::Default => 9,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("flag"),
            Source::Set => f.write_str("set"),
            Source::Host(name) => write!(f, "HOST_*:{name}"),
            Source::Trios(name) => write!(f, "TRIOS_*:{name}"),
            Source::Alias(name) => write!(f, "alias:{name}"),
            Source::File { path, line } => write!(f, "file:{path}:{line}"),
            Source::Preset(name) => write!(f, "preset:{name}"),
            Source::Registry => f.write_str("registry"),
            Source::Plugin => f.write_str("plugin"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// A value as one source said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What.
    pub value: Value,
    /// By whom.
    pub source: Source,
}

/// The value in force for one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// What is in force; none is "not set".
    pub value: Option<Value>,
    /// Who said so.
    pub source: Source,
    /// What lower sources said instead, highest first. Sources that agree are not listed.
    pub overrides: Vec<Said>,
}

/// The origin of every value of a run, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origins {
    by_key: BTreeMap<String, Origin>,
    /// Remarks for the trace line.
    pub(super) remarks: Vec<String>,
}

impl Origins {
    /// Who set a key, such as `train.steps`, `optimizer.beta2` or `group.0.lr`. None for a hyper-parameter nobody set.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.by_key.get(key).map(|origin| &origin.source)
    }

    /// The whole origin of a key.
    pub fn get(&self, key: &str) -> Option<&Origin> {
        self.by_key.get(key)
    }

    /// All keys in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.by_key.iter().map(|(key, origin)| (key.as_str(), origin))
    }

    /// The place of a key for an error message: `configs/my.toml:12  optimizer.label = "lionn"`, `OPTIMIZER=lionn`,
    /// `--optimizer lionn`.
    pub fn place(&self, key: &str) -> Option<String> {
        let origin = self.by_key.get(key)?;
        Some(place(key, origin.value.as_ref()?, &origin.source))
    }

    /// Records what was settled later than the configuration, such as a plugin's default.
    pub fn record(&mut self, key: &str, value: Option<Value>, source: Source) {
        self.by_key.insert(key.to_owned(), Origin { value, source, overrides: Vec::new() });
    }

    pub(super) fn insert(&mut self, key: String, origin: Origin) {
        self.by_key.insert(key, origin);
    }

    /// `config.origin.json`: key → value, source, and what it overrides.
    pub fn to_json(&self) -> serde_json::Value {
        let said = |value: Option<&Value>, source: &Source| {
            let value = value.map_or(serde_json::Value::Null, Value::to_json);
            serde_json::json!({ "value": value, "source": source.to_string() })
        };
        let entry = |origin: &Origin| {
            let mut json = said(origin.value.as_ref(), &origin.source);
            if !origin.overrides.is_empty() {
                let lower = origin.overrides.iter().map(|other| said(Some(&other.value), &other.source)).collect();
                json["overrides"] = serde_json::Value::Array(lower);
            }
            json
        };
        self.by_key.iter().map(|(key, origin)| (key.clone(), entry(origin))).collect::<serde_json::Map<_, _>>().into()
    }
}

/// How a source wrote a value, as the place of an error message.
pub fn place(key: &str, value: &Value, source: &Source) -> String {
    let flag = || Knob::of(key).and_then(|knob| knob.flag).unwrap_or(key);
    match source {
        Source::Flag => format!("--{} {value}", flag()),
        Source::Set => format!("--set {key}={value}"),
        Source::Host(name) | Source::Trios(name) | Source::Alias(name) => format!("{name}={value}"),
        Source::File { path, line } => format!("{path}:{line}  {key} = {}", value.to_toml()),
        Source::Preset(name) => format!("preset {name}  {key} = {}", value.to_toml()),
        Source::Registry => format!("registry  {key} = {}", value.to_toml()),
        Source::Plugin => format!("plugin  {key} = {}", value.to_toml()),
        Source::Default => format!("default  {key} = {}", value.to_toml()),
    }
}
