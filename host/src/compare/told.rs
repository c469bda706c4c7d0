//! What a run was told and what it ran on, each with its origin: from `config.origin.json` and the run record.
//! Does not decide which runs belong together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{Knob, Source},
    fault::{Exit, Fault},
    run::Record,
};

/// Name of the file in a run directory.
const ORIGINS: &str = "config.origin.json";

/// Origin of what was found out and not told.
const FOUND: &str = "run.json";

/// Knobs that change neither the numbers of a run nor its text: two runs that differ in these alone are one arm. The text
/// itself is compared by its hash, the device by what it turned out to be, the schedule by its operations.
const NO_DIFFERENCE: [&str; 7] = ["seed", "config", "preset", "schedule_file", "device", "data.train", "data.val"];

/// Knobs of the evaluations on the way. They decide what a run does only where an operation waits for a loss.
pub const EVALUATIONS: [&str; 2] = ["train.eval_every", "train.eval_steps"];

/// Beginning of every key of a scheduled operation.
const OPERATIONS: &str = "schedule.";

/// The seed's key.
pub const SEED: &str = "seed";

/// The label's key.
pub const LABEL: &str = "optimizer.label";

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// As text.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

impl Told {
    /// Whether somebody chose it for the run, or it is the optimizer's own or a built-in default.
    pub fn is_chosen(&self) -> bool {
        ![Source::Registry, Source::Plugin, Source::Default].iter().any(|source| source.to_string() == self.origin)
    }
}

/// All values of a run by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knobs {
    /// Knobs and hyper-parameters.
    told: BTreeMap<String, Told>,
    /// What it ran on. A fact that another run does not have is no difference between the two.
    found: BTreeMap<String, Told>,
}

#[derive(Deserialize)]
struct Entry {
    value: Value,
    source: String,
}

impl Knobs {
    /// Of the run in `folder`. A label that was asked for by an alias is the label.
    ///
    /// # Errors
    /// D322 the origins are missing or damaged.
    pub fn read(folder: &Path, record: &Record) -> Result<Knobs, Fault> {
        let path = folder.join(ORIGINS);
        let fault = |name, text: String| {
            Fault::new("D322", Exit::Data, "the origins of a run's settings cannot be read")
                .at(path.display().to_string())
                .note(name, text)
                .hint("a run directory of this program holds the file; leave the run out, or put it back")
        };
        let text = fs::read(&path).map_err(|error| fault("system", error.to_string()))?;
        let entries: BTreeMap<String, Entry> =
            serde_json::from_slice(&text).map_err(|error| fault("reason", error.to_string()))?;
        let told = |entry: Entry| {
            let value = match entry.value {
                Value::Null => return None,
                Value::String(text) => text,
                Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("+"),
                other => other.to_string(),
            };
            Some(Told { value, origin: entry.source })
        };
        let mut told: BTreeMap<String, Told> =
            entries.into_iter().filter_map(|(key, entry)| Some((key, told(entry)?))).collect();
        let optimizers = || record.labels.iter().filter(|label| label.kind == "optimizer");
        if let Some(label) = told.get_mut(LABEL)
            && let Some(main) = optimizers().find(|known| known.asked == label.value)
        {
            label.value.clone_from(&main.reported);
        }
        let mut found: BTreeMap<String, String> = record
            .labels
            .iter()
            .map(|label| {
                let rule = label.fingerprint.as_ref().unwrap_or(&label.sha256);
                (format!("rule of {}", label.reported), rule.clone())
            })
            .collect();
        found.insert("device".into(), record.device.clone());
        found.insert("host".into(), record.versions.host.clone());
        found.insert("libtorch".into(), record.versions.libtorch.clone());
        let found = found.into_iter().map(|(key, value)| (key, Told { value, origin: FOUND.into() }));
        Ok(Knobs { told, found: found.collect() })
    }

    /// A value, if the run has it.
    pub fn get(&self, key: &str) -> Option<&Told> {
        self.found.get(key).or_else(|| self.told.get(key))
    }

    /// A value as text; `none` where the run does not have it.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).map_or("none", |told| &told.value)
    }

    /// Whether one of its operations waits for the loss of an evaluation.
    fn waits_for_a_loss(&self) -> bool {
        self.told.keys().any(|key| key.starts_with(OPERATIONS) && key.ends_with(".trigger_loss"))
    }

    /// All keys, whether they make a difference or not.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.told.keys().chain(self.found.keys()).map(String::as_str)
    }
}

/// Keys whose values make a run another run, the seed apart, and are not the same in all of these.
pub fn differing(all: &[&Knobs]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let told: BTreeSet<&String> = all.iter().flat_map(|knobs| knobs.told.keys()).collect();
    for key in told.into_iter().filter(|key| makes_a_difference(key)) {
        let counts = |knobs: &&&Knobs| !EVALUATIONS.contains(&key.as_str()) || knobs.waits_for_a_loss();
        let mut values = all.iter().filter(counts).map(|knobs| knobs.told.get(key).map(|told| &told.value));
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            keys.insert(key.clone());
        }
    }
    let found: BTreeSet<&String> = all.iter().flat_map(|knobs| knobs.found.keys()).collect();
    for key in found {
        let mut values = all.iter().filter_map(|knobs| knobs.found.get(key)).map(|told| &told.value);
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            keys.insert(key.clone());
        }
    }
    keys
}

fn makes_a_difference(key: &str) -> bool {
    let is_note = key.starts_with(OPERATIONS) && key.ends_with(".note");
    !is_note && !NO_DIFFERENCE.contains(&key) && !key.starts_with("run.") && !key.starts_with("tags.")
}

/// As people call a key: `lr`, `beta2`, `attn_layers`.
pub fn short(key: &str) -> &str {
    let known = Knob::of(key).map(|knob| knob.name);
    known.unwrap_or_else(|| key.strip_prefix("optimizer.").unwrap_or(key))
}

/// A value without the tail of a hash.
pub fn shown(value: &str) -> &str {
    let is_hash = value.len() >= 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { &value[..12] } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a run that was told these.
    fn knobs(told: &[(&str, &str)], found: &[(&str, &str)]) -> Knobs {
        let all = |pairs: &[(&str, &str)]| {
            let told = |value: &str| Told { value: value.into(), origin: "flag".into() };
            pairs.iter().map(|(key, value)| (key.to_string(), told(value))).collect()
        };
        Knobs { told: all(told), found: all(found) }
    }

    #[test]
    fn what_makes_another_run() {
        let one = knobs(&[("optimizer.lr", "0.1"), ("seed", "1"), ("run.dir", "a")], &[("rule of lion", "aa")]);
        for (told, found, expected) in [
            (&[("optimizer.lr", "0.1"), ("seed", "2"), ("run.dir", "b")][..], &[("rule of lion", "aa")][..], &[][..]),
            (&[("optimizer.lr", "0.2")], &[("rule of lion", "aa")], &["optimizer.lr"]),
            (&[("optimizer.lr", "0.1"), ("optimizer.eps", "1")], &[], &["optimizer.eps"]),
            (&[], &[("rule of adamw", "bb")], &["optimizer.lr"]),
            (&[("optimizer.lr", "0.1")], &[("rule of lion", "cc")], &["rule of lion"]),
            (&[("optimizer.lr", "0.1"), ("train.eval_every", "7"), ("tags.lane", "7")], &[], &[]),
        ] {
            let other = knobs(told, found);
            assert_eq!(Vec::from_iter(differing(&[&one, &other])), expected);
            assert_eq!(Vec::from_iter(differing(&[&other, &one])), expected, "either way");
        }
        let scheduled = |trigger: &str, every: &str, file: &str| {
            let told =
                [(trigger, "2"), ("train.eval_every", every), ("schedule_file", file), ("schedule.0.note", file)];
            knobs(&told, &[])
        };
        for (trigger, expected) in
            [("schedule.0.trigger_loss", &["train.eval_every"][..]), ("schedule.0.max_wait_steps", &[])]
        {
            let (one, other) = (scheduled(trigger, "4", "a.toml"), scheduled(trigger, "8", "b.toml"));
            assert_eq!(Vec::from_iter(differing(&[&one, &other])), expected, "{trigger}");
        }
        let without = knobs(&[("optimizer.lr", "0.1")], &[]);
        let other = knobs(&[("optimizer.lr", "0.1")], &[("rule of lion", "cc")]);
        assert_eq!(Vec::from_iter(differing(&[&without, &one, &without, &other])), ["rule of lion"]);
        assert_eq!(differing(&[]).len() + differing(&[&one]).len(), 0);
    }

    #[test]
    fn keys_and_values_for_people() {
        for (key, expected) in [
            ("optimizer.label", "opt"),
            ("optimizer.lr", "lr"),
            ("optimizer.beta2", "beta2"),
            ("model.n_layer", "attn_layers"),
            ("group.0.lr", "group.0.lr"),
            ("device", "device"),
        ] {
            assert_eq!(short(key), expected);
        }
        assert_eq!(shown(&"0a".repeat(32)), "0a0a0a0a0a0a");
        assert_eq!(shown("cosine"), "cosine");
    }
}
