//! How seed and label are sent to a run, and whether they would arrive.
//! Starts no run.

use std::ffi::{OsStr, OsString};

use super::{Via, faults::OUTRANKED};
use crate::{
    config::{Flags, KNOBS, Knob, Resolved, Value, Variables},
    fault::{Exit, Fault, Faults},
};

/// Key of the label.
pub const LABEL: &str = "optimizer.label";
/// Key of the seed.
pub const SEED: &str = "seed";

/// What a run is given besides its run directory: flags and environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Knobs.
    pub flags: Flags,
    /// The whole environment.
    pub variables: Variables,
}

impl Told {
    /// With seed and label as `via` sends them. A configuration file is written later; until then its two keys are
    /// told by flags, so that all else can be looked at.
    pub fn sending(mut self, via: Via, label: &str, seed: u64) -> Told {
        match via {
            Via::Env => {
                self.variables.insert(variable(LABEL).into(), label.into());
                self.variables.insert(variable(SEED).into(), seed.to_string().into());
            }
            Via::Flag | Via::Config => {
                self.flags = with(self.flags, LABEL, Value::Text(label.to_string()));
                self.flags = with(self.flags, SEED, Value::Integer(seed));
            }
        }
        self
    }
}

/// Flags with one more, in place of an earlier one of the same knob.
pub fn with(flags: Flags, key: &'static str, value: Value) -> Flags {
    let mut flags = without(flags, &[key]);
    flags.values.push((key, value));
    flags
}

/// Flags without those of some knobs.
pub fn without(mut flags: Flags, keys: &[&str]) -> Flags {
    flags.values.retain(|(key, _)| !keys.contains(key));
    flags
}

/// The bare variable of a knob, such as `SEED`.
fn variable(key: &str) -> &'static str {
    Knob::of(key).and_then(|knob| knob.variables.first()).expect("seed and label have a variable")
}

/// How a run is told a value, for people: `OPTIMIZER=lion`.
pub fn shown(via: Via, key: &str, value: &str) -> String {
    match via {
        Via::Env => format!("{}={value}", variable(key)),
        Via::Flag => format!("--{} {value}", Knob::of(key).and_then(|knob| knob.flag).unwrap_or(key)),
        Via::Config => format!("{key} = {value} in a file"),
    }
}

/// Looks whether anything that is passed on to every run outranks the way in which seed and label are sent. `passed` is
/// what the configuration says without them.
///
/// # Errors
/// G009 for each of the two that would not arrive.
pub fn arrives(via: Via, passed: &Resolved) -> Result<(), Faults> {
    let mut faults = Faults::none();
    let rank = match via {
        Via::Env => crate::config::Source::Alias(String::new()).rank(),
        Via::Flag => crate::config::Source::Flag.rank(),
        Via::Config => crate::config::Source::File { path: String::new(), line: 1 }.rank(),
    };
    for key in [LABEL, SEED] {
        if passed.origins.source(key).is_none_or(|source| source.rank() >= rank) {
            continue;
        }
        let message = format!("every run would have the same `{key}`: this outranks {}", shown(via, key, "…"));
        let fault = Fault::new(OUTRANKED, Exit::Config, message).at(passed.origins.place(key).unwrap_or_default());
        faults.push(fault.hint("take it away, here and where the fleet is launched; or send by another way: `--via`"));
    }
    faults.check()
}

/// The environment without what the gate is going to send.
pub fn unsent(via: Via, mut variables: Variables) -> Variables {
    if via == Via::Env {
        for key in [LABEL, SEED] {
            variables.remove(OsStr::new(variable(key)));
        }
    }
    variables
}

/// Flags as a command line.
pub fn arguments(flags: &Flags) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for (key, value) in &flags.values {
        let Some(flag) = KNOBS.iter().find(|knob| knob.key == *key).and_then(|knob| knob.flag) else { continue };
        // One argument, so that a value that begins with a dash is a value.
        let mut argument = OsString::from(format!("--{flag}="));
        match value {
            Value::Path(path) => argument.push(path),
            Value::Text(text) => argument.push(text),
            other => argument.push(other.to_string()),
        }
        arguments.push(argument);
    }
    for set in &flags.sets {
        arguments.push("--set".into());
        arguments.push(set.into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::examine;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    #[test]
    fn arguments_give_the_flags_back() {
        let flags = Flags::default().with("lr", "1e-3").unwrap().with("data", "a b.txt").unwrap().set("train.steps=7");
        let flags = with(flags, LABEL, Value::Text("lion".into()));
        let arguments = arguments(&with(flags, "optimizer.lr", Value::Number(2e-3)));
        assert_eq!(arguments, ["--data=a b.txt", "--optimizer=lion", "--lr=0.002", "--set", "train.steps=7"]);
    }

    #[test]
    fn what_outranks_the_way_in_is_found() {
        // way, flags, variables, keys that would not arrive
        let cases: &[(Via, &[&str], &[(&str, &str)], &[&str])] = &[
            (Via::Env, &[], &[("SEED", "3"), ("OPTIMIZER", "lion")], &[]),
            (Via::Env, &[], &[("HOST_SEED", "3")], &["seed"]),
            (Via::Env, &[], &[("TRIOS_OPTIMIZER", "lion")], &["optimizer.label"]),
            (Via::Env, &["seed=3", "optimizer.label=lion"], &[], &["optimizer.label", "seed"]),
            (Via::Flag, &["seed=3"], &[("HOST_OPTIMIZER", "lion")], &[]),
            (Via::Config, &[], &[("SEED", "3"), ("OPTIMIZER", "lion")], &["optimizer.label", "seed"]),
            (Via::Config, &[], &[], &[]),
        ];
        for (via, sets, pairs, expected) in cases {
            let flags = sets.iter().fold(Flags::default(), |flags, set| flags.set(set));
            let (passed, faults) = examine(&flags, &unsent(*via, variables(pairs)), Path::new("/"));
            faults.check().unwrap();
            let found = arrives(*via, &passed).err().unwrap_or_default();
            assert_eq!(found.0.len(), expected.len(), "{via:?} {sets:?} {pairs:?}: {found}");
            for (fault, key) in found.0.iter().zip(*expected) {
                assert_eq!(fault.code, OUTRANKED);
                assert!(fault.message.contains(&format!("`{key}`")), "{fault}");
            }
        }
    }

    #[test]
    fn what_is_sent_is_what_a_run_resolves() {
        for via in [Via::Env, Via::Flag] {
            let base = Told { flags: Flags::default(), variables: variables(&[("SEED", "1"), ("OPTIMIZER", "muon")]) };
            let told = base.sending(via, "lion", 42);
            let (resolved, faults) = examine(&told.flags, &told.variables, Path::new("/"));
            faults.check().unwrap();
            assert_eq!((resolved.label(), resolved.settings.seed), (Some("lion"), 42), "{via:?}");
        }
    }
}
