//! What the command line says about knobs: flags and `--set`.
//! Does not parse the command line; `cli/args.rs` does, from the same table.

use std::path::Path;

use super::{
    faults,
    kind::Misfit,
    knobs::{KNOBS, Knob},
    layers::Layers,
    origin::{Said, Source},
    schema,
    value::Value,
};
use crate::fault::Faults;

/// Flags that are knobs, and `--set`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// Key of the knob and value.
    pub values: Vec<(&'static str, Value)>,
    /// `a.b=c`, as given.
    pub sets: Vec<String>,
}

impl Flags {
    /// Adds a flag (without its dashes) with its text, as the command line would.
    pub fn with(mut self, flag: &str, text: &str) -> Result<Flags, Misfit> {
        let knob = KNOBS.iter().find(|knob| knob.flag == Some(flag)).ok_or(Misfit::Unreadable)?;
        self.values.push((knob.key, knob.kind.read(text)?));
        Ok(self)
    }

    /// Adds a `--set`.
    pub fn set(mut self, text: &str) -> Flags {
        self.sets.push(text.to_owned());
        self
    }
}

/// Adds what the command line says to the layers.
pub fn read(flags: &Flags, cwd: &Path, layers: &mut Layers, faults: &mut Faults) {
    let anchored = |value: Value| match value {
        Value::Path(path) => Value::Path(super::resolve::absolute(cwd, &path)),
        value => value,
    };
    for (key, value) in &flags.values {
        layers.say(*key, Said { value: anchored(value.clone()), source: Source::Flag });
    }
    for text in &flags.sets {
        let place = format!("--set {text}");
        let Some((key, written)) = text.split_once('=') else {
            let fault = faults::fault(faults::MALFORMED_SET, format!("`--set {text}` has no `=`"));
            faults.push(fault.at(place).hint("write `--set train.batch_size=16`"));
            continue;
        };
        let Some(expect) = schema::expect(key) else {
            let fault = faults::unknown_key(key, place);
            faults.push(match Knob::of(key).and_then(|knob| knob.flag) {
                Some(flag) => fault.hint(format!("use `--{flag}`")),
                None => fault,
            });
            continue;
        };
        match expect.read(written) {
            Ok(value) => {
                let value = anchored(value);
                let earlier = layers.about(key).iter().find(|said| said.source == Source::Set);
                match earlier {
                    Some(said) if said.value != value => {
                        let message = format!("`--set {key}` is given twice: {} and {value}", said.value);
                        let fault = faults::fault(faults::MALFORMED_SET, message).at(place);
                        faults.push(fault.hint("give it once"));
                    }
                    Some(_) => {}
                    None => layers.say(key, Said { value, source: Source::Set }),
                }
            }
            Err(misfit) => faults.push(faults::unfit(key, expect, &misfit, false, written, place)),
        }
    }
}
