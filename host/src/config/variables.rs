//! Environment variables: those of the knobs, the tags of existing deployments, and those that are typing mistakes.
//! Does not read the process's environment; the map is handed in.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

use super::{
    faults,
    knobs::{KNOBS, Knob},
    layers::Layers,
    origin::{Said, Source},
    schema::Expect,
    value::Value,
};
use crate::fault::{Faults, nearest};

/// The environment of a process, by name.
pub type Variables = BTreeMap<OsString, OsString>;

/// Variables of existing deployments that are recorded with the run: name and key.
pub const TAGS: [(&str, &str); 3] = [
    ("TRIOS_CANON_NAME", "tags.canon_name"),
    ("TRIOS_LANE", "tags.lane"),
    ("TRIOS_EXPERIMENT_ID", "tags.experiment_id"),
];

/// Variables of cross compilers that happen to be one edit from `HOST_LR`.
pub const COMPILERS: [&str; 2] = ["HOST_AR", "HOST_LD"];

/// A bare variable as short as this is never taken for a typing mistake.
const SHORTEST_TYPO: usize = 6;

/// Adds what the variables say to the layers.
pub fn read(variables: &Variables, cwd: &Path, layers: &mut Layers, faults: &mut Faults) {
    for knob in KNOBS {
        for names in knob.ranked_variables() {
            read_rank(knob, &names, variables, cwd, layers, faults);
        }
    }
    for (name, key) in TAGS {
        let Some(value) = variables.get(OsStr::new(name)) else { continue };
        match value.to_str() {
            Some("") => faults.push(empty(name)),
            Some(text) => {
                layers.say(key, Said { value: Value::Text(text.to_owned()), source: Source::Trios(name.to_owned()) });
            }
            None => faults.push(not_unicode(name, value)),
        }
    }
    unknown(variables, faults);
}

/// Reads the variables of one knob and one rank, which must agree.
fn read_rank(
    knob: &'static Knob,
    names: &[String],
    variables: &Variables,
    cwd: &Path,
    layers: &mut Layers,
    faults: &mut Faults,
) {
    let mut first: Option<(&str, Value)> = None;
    for name in names {
        let Some(raw) = variables.get(OsStr::new(name)) else { continue };
        let Some(text) = raw.to_str() else {
            faults.push(not_unicode(name, raw));
            continue;
        };
        if text.is_empty() {
            faults.push(empty(name));
            continue;
        }
        let value = match knob.kind.read(text) {
            Ok(Value::Path(path)) => Value::Path(super::resolve::absolute(cwd, &path)),
            Ok(value) => value,
            Err(misfit) => {
                let place = format!("{name}={text}");
                let fault = faults::unfit(knob.key, Expect::Knob(knob), &misfit, false, text, place);
                faults.push(match (&fault.hint, knob.variables.contains(&name.as_str())) {
                    (None, true) => fault.hint(foreign(name)),
                    _ => fault,
                });
                continue;
            }
        };
        match &first {
            None => {
                let source = match name {
                    name if name.starts_with("HOST_") => Source::Host(name.clone()),
                    name if name.starts_with("TRIOS_") => Source::Trios(name.clone()),
                    name => Source::Alias(name.clone()),
                };
                layers.say(knob.key, Said { value: value.clone(), source });
                first = Some((name, value));
            }
            Some((other, said)) if *said != value => faults.push(
                faults::fault(
                    faults::VARIABLES_DISAGREE,
                    format!("two variables disagree about `{}`: {other}={said} and {name}={value}", knob.key),
                )
                .at(format!("{name}={text}"))
                .hint(format!("unset one of them, or set {} alone", knob.ranked_variables()[0][0])),
            ),
            Some(_) => {}
        }
    }
}

fn empty(name: &str) -> crate::fault::Fault {
    faults::fault(faults::EMPTY_VARIABLE, format!("variable {name} is set but empty"))
        .at(format!("{name}="))
        .hint(format!("give it a value, or `unset {name}`"))
}

fn not_unicode(name: &str, value: &OsStr) -> crate::fault::Fault {
    faults::fault(faults::UNREADABLE, format!("variable {name} is not UTF-8"))
        .at(format!("{name}={}", value.to_string_lossy()))
}

/// For names that other programs use too.
fn foreign(name: &str) -> String {
    format!("if {name} is meant for another program, `unset {name}` here and use HOST_{name} or the flag")
}

/// Variables that look like a knob's and are none.
fn unknown(variables: &Variables, faults: &mut Faults) {
    let known: Vec<String> = KNOBS
        .iter()
        .flat_map(|knob| knob.ranked_variables().concat())
        .chain(TAGS.map(|(name, _)| name.to_owned()))
        .collect();
    let candidates = || known.iter().map(String::as_str);
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        if known.iter().any(|known| known == name) || COMPILERS.contains(&name) {
            continue;
        }
        let one_edit = candidates().find(|known| strsim::osa_distance(known, name) == 1);
        let foreign = name.starts_with("TRIOS_");
        if !foreign && (one_edit.is_none() || name.chars().count() < SHORTEST_TYPO) {
            continue;
        }
        let message = match foreign {
            true => format!("variable {name} is none that is read here"),
            false => format!("variable {name} is not read, and looks like one that is"),
        };
        let fault = faults::fault(faults::UNKNOWN_VARIABLE, message).at(format!("{name}={}", value.to_string_lossy()));
        faults.push(match one_edit.or_else(|| nearest(name, candidates().filter(|name| name.starts_with("TRIOS_")))) {
            Some(near) => fault.hint(format!("did you mean {near}? otherwise `unset {name}`")),
            None => fault.note("known", known_trios(&known)).hint(format!("`unset {name}`, or use a flag")),
        });
    }
}

fn known_trios(known: &[String]) -> String {
    let mut names: Vec<&str> = known.iter().map(String::as_str).filter(|name| name.starts_with("TRIOS_")).collect();
    names.sort_unstable();
    names.join(", ")
}
