//! Hyper-parameters: name, default, range, meaning.
//! Their values come from the host, which checks them against this schema; nothing is parsed here.

use core::ops::RangeInclusive;

use crate::abi::HyperDescriptor;
use crate::record::values;
use crate::{Error, Record, Result};

/// One hyper-parameter. Its name is the field's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    kind: Kind,
    default: f64,
    low: f64,
    high: f64,
    meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Number,
    Flag,
    Choice(&'static [&'static str]),
}

/// A number: its default, the range that is accepted, both ends included, and what it does, in one line.
///
/// A knob named `lr` is the learning rate: the host multiplies it by the schedule's factor.
pub const fn knob(default: f64, range: RangeInclusive<f64>, meaning: &'static str) -> Knob {
    Knob { kind: Kind::Number, default, low: *range.start(), high: *range.end(), meaning }
}

/// A switch, read with `is_on()`. The only kind of value, with [`choice`], that a rule may branch on with `if`.
pub const fn flag(default: bool, meaning: &'static str) -> Knob {
    Knob { kind: Kind::Flag, default: default as u8 as f64, low: 0.0, high: 1.0, meaning }
}

/// One of several names, the first of which is the default; read with `is(index)`.
pub const fn choice(choices: &'static [&'static str], meaning: &'static str) -> Knob {
    Knob { kind: Kind::Choice(choices), default: 0.0, low: 0.0, high: choices.len() as f64 - 1.0, meaning }
}

impl Knob {
    /// Value where nobody says otherwise.
    pub fn default(&self) -> f64 {
        self.default
    }

    /// Whether the value decides which rule it is (a flag or a choice), and not only what it computes.
    pub fn is_switch(&self) -> bool {
        self.kind != Kind::Number
    }

    fn describe(&self, name: &str) -> Result<HyperDescriptor> {
        if !(self.low..=self.high).contains(&self.default) {
            let Knob { default, low, high, .. } = self;
            return Err(Error::new(format!("hyper-parameter `{name}`: default {default} is not in {low}..={high}")));
        }
        let (kind, choices): (&str, &[&str]) = match self.kind {
            Kind::Number => ("number", &[]),
            Kind::Flag => ("flag", &[]),
            Kind::Choice(choices) => ("choice", choices),
        };
        Ok(HyperDescriptor {
            name: name.into(),
            kind: kind.into(),
            default: self.default,
            low: self.low,
            high: self.high,
            choices: choices.iter().map(|&choice| choice.into()).collect(),
            meaning: self.meaning.into(),
        })
    }
}

/// The schema of a record of knobs, in order.
///
/// # Errors
/// A default outside its own range.
pub fn schema<H: Record<Knob>>(hyper: &H) -> Result<Vec<HyperDescriptor>> {
    values(hyper).iter().zip(H::NAMES).map(|(knob, name)| knob.describe(name)).collect()
}

/// A record of numbers from values in the schema's order.
///
/// # Errors
/// Another count of values than the record has fields.
pub(crate) fn numbers<H: Record<f64>>(values: &[f64]) -> Result<H> {
    if values.len() != H::NAMES.len() {
        let (got, want) = (values.len(), H::NAMES.len());
        return Err(Error::new(format!("{got} hyper-parameters were handed over, the schema has {want}")));
    }
    Ok(H::build(|index| values[index]))
}

/// Flags and choices where they are plain numbers: in rules over whole tensors, projections, architecture operations.
pub trait Switch {
    /// Whether a [`flag`] is on.
    fn is_on(&self) -> bool;
    /// Whether a [`choice`] is the one with this index.
    fn is(&self, index: usize) -> bool;
}

impl Switch for f64 {
    fn is_on(&self) -> bool {
        *self != 0.0
    }

    fn is(&self, index: usize) -> bool {
        *self == index as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Record)]
    struct Hyper<T> {
        lr: T,
        nesterov: T,
        shape: T,
    }

    fn hyper(default: f64) -> Hyper<Knob> {
        Hyper {
            lr: knob(default, 0.0..=1.0, "step size"),
            nesterov: flag(true, "look ahead"),
            shape: choice(&["round", "square"], "how it looks"),
        }
    }

    #[test]
    fn a_schema_says_all_of_each_knob() {
        let schema = schema(&hyper(0.5)).unwrap();
        let rows: Vec<_> =
            schema.iter().map(|h| (&*h.name, &*h.kind, h.default, h.low, h.high, h.choices.len())).collect();
        assert_eq!(
            rows,
            [
                ("lr", "number", 0.5, 0.0, 1.0, 0),
                ("nesterov", "flag", 1.0, 0.0, 1.0, 0),
                ("shape", "choice", 0.0, 0.0, 1.0, 2),
            ]
        );
    }

    #[test]
    fn a_default_outside_its_range_is_an_error() {
        for default in [-0.1, 1.1, f64::NAN] {
            assert!(schema(&hyper(default)).unwrap_err().to_string().contains("`lr`"), "{default}");
        }
    }

    #[test]
    fn values_are_counted() {
        assert_eq!(numbers::<Hyper<f64>>(&[1.0, 0.0, 1.0]).unwrap().lr, 1.0);
        assert!(numbers::<Hyper<f64>>(&[1.0]).is_err());
    }
}
