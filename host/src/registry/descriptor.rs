//! Checks what a plugin says about itself, before anyone believes it.
//! Does not know the registry; whether a label was asked for is `catalogue.rs`.

use std::collections::BTreeSet;

use sdk::abi::{Descriptor, HyperDescriptor};

use super::Kind;
use crate::fault::{Exit, Fault, Faults};

/// Looks for everything that is wrong in what plugin `id` exports.
///
/// # Errors
/// R018 where it was built to abort on a panic; R019 for every contradiction.
pub fn check(id: &str, descriptors: &[Descriptor]) -> Result<(), Faults> {
    if descriptors.iter().any(|descriptor| fact(descriptor, "panic") == Some("abort")) {
        let message = format!("plugin `{id}` is built with `panic = \"abort\"`, so its panics cannot be contained");
        return Err(Fault::new("R018", Exit::Registry, message).hint("build it with `panic = \"unwind\"`").into());
    }
    let mut faults = Faults::none();
    let mut fault = |message: String| {
        let message = format!("plugin `{id}` describes itself wrongly: {message}");
        faults.push(Fault::new("R019", Exit::Registry, message));
    };
    if descriptors.is_empty() {
        fault("it exports no label".to_string());
    }
    let mut labels = BTreeSet::new();
    for descriptor in descriptors {
        let label = &descriptor.label;
        if !labels.insert((&descriptor.kind, label)) {
            fault(format!("it exports {} `{label}` twice", descriptor.kind));
        }
        if Kind::of(&descriptor.kind).is_none() {
            fault(format!("`{label}` is of kind `{}`, which this host does not know", descriptor.kind));
        }
        for (text, what) in [(label, "label"), (&descriptor.summary, "summary"), (&descriptor.paper, "paper")] {
            if text.trim().is_empty() {
                fault(format!("`{label}` has no {what}"));
            }
        }
        if descriptor.summary.contains('\n') {
            fault(format!("the summary of `{label}` is longer than one line"));
        }
        let mut names = BTreeSet::new();
        for hyper in &descriptor.hyper {
            if !names.insert(&hyper.name) {
                fault(format!("`{label}` has hyper-parameter `{}` twice", hyper.name));
            }
            if let Some(reason) = contradiction(hyper) {
                fault(format!("hyper-parameter `{}` of `{label}` {reason}", hyper.name));
            }
        }
    }
    faults.check()
}

/// A fact that a descriptor declares.
pub fn fact<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a str> {
    descriptor.facts.iter().find(|fact| fact.0 == key).map(|fact| fact.1.as_str())
}

fn contradiction(hyper: &HyperDescriptor) -> Option<String> {
    if hyper.name.trim().is_empty() {
        return Some("has no name".to_string());
    }
    let default = hyper.default;
    let fits = match hyper.kind.as_str() {
        "number" => hyper.low <= default && default <= hyper.high,
        "flag" => default == 0.0 || default == 1.0,
        "choice" => default.fract() == 0.0 && (0.0..hyper.choices.len() as f64).contains(&default),
        other => return Some(format!("is of kind `{other}`, which this host does not know")),
    };
    let range = format!("{} to {}", hyper.low, hyper.high);
    (!fits).then(|| format!("has default {default}, which is no value of it ({range})"))
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::Tuple2;

    use super::*;

    fn good() -> Descriptor {
        let hyper = HyperDescriptor {
            name: "lr".into(),
            kind: "number".into(),
            default: 0.1,
            low: 0.0,
            high: 1.0,
            choices: Vec::new().into(),
            meaning: "length of a step".into(),
        };
        Descriptor {
            label: "a".into(),
            kind: "optimizer".into(),
            summary: "one line".into(),
            paper: "somewhere".into(),
            hyper: vec![hyper].into(),
            table: "plugin.rule/1".into(),
            facts: Vec::new().into(),
        }
    }

    #[test]
    fn every_contradiction_is_found() {
        type Change = fn(&mut Descriptor);
        let table: [(Change, &str); 12] = [
            (|d| d.kind = "optimiser".into(), "of kind `optimiser`"),
            (|d| d.label = "".into(), "has no label"),
            (|d| d.summary = " ".into(), "has no summary"),
            (|d| d.summary = "two\nlines".into(), "longer than one line"),
            (|d| d.paper = "".into(), "has no paper"),
            (|d| d.hyper.push(d.hyper[0].clone()), "`lr` twice"),
            (|d| d.hyper[0].name = "".into(), "has no name"),
            (|d| d.hyper[0].default = 2.0, "has default 2"),
            (|d| d.hyper[0].default = f64::NAN, "has default NaN"),
            (|d| d.hyper[0].kind = "flag".into(), "has default 0.1"),
            (|d| d.hyper[0].kind = "choice".into(), "has default 0.1"),
            (|d| d.hyper[0].kind = "vector".into(), "of kind `vector`"),
        ];
        assert!(check("p", &[good()]).is_ok());
        for (change, part) in table {
            let mut descriptor = good();
            change(&mut descriptor);
            let faults = check("p", &[descriptor]).expect_err(part);
            assert!(faults.0.iter().any(|fault| fault.code == "R019" && fault.message.contains(part)), "{faults}");
        }
    }

    #[test]
    fn labels_are_unique_per_kind_and_there_is_at_least_one() {
        let other = Descriptor { kind: "projection".into(), ..good() };
        assert!(check("p", &[good(), other]).is_ok());
        assert!(check("p", &[good(), good()]).unwrap_err().to_string().contains("exports optimizer `a` twice"));
        assert!(check("p", &[]).unwrap_err().to_string().contains("exports no label"));
    }

    #[test]
    fn a_plugin_that_aborts_is_refused() {
        let abort = Descriptor { facts: vec![Tuple2("panic".into(), "abort".into())].into(), ..good() };
        assert_eq!(check("p", &[abort]).unwrap_err().0[0].code, "R018");
        let unwind = Descriptor { facts: vec![Tuple2("panic".into(), "unwind".into())].into(), ..good() };
        assert!(check("p", &[unwind]).is_ok());
    }
}
