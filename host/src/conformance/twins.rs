//! Level 7: no label of the registry is secretly the same rule.
//! By fingerprint it is a failure; by the bits of a few steps at the defaults, which other values may tell apart, a
//! warning.

use std::sync::Arc;

use sdk::conformance::{Finding, Outcome, Snapshot, Subject, Trajectory, Trouble, Way};

use super::{Hosted, child::finding, journal::Journal};
use crate::registry::{Entry, Kind, Loaded, Registry};

const SEED: u64 = 61;

/// Compares a label with all that the registry can load.
pub fn check(loaded: &Arc<Loaded>, hosted: &Hosted, registry: Option<&Registry>, journal: &Journal) {
    let label = &loaded.label;
    let tell = |check: &str, outcome| journal.finding(&finding(label, 7, check, outcome));
    let Some(registry) = registry else {
        for check in ["fingerprint", "observed"] {
            tell(check, Outcome::skipped("there is no registry to compare with: `--registry FILE`"));
        }
        return;
    };
    journal.begin("fingerprint");
    let survey = registry.survey_kind(Kind::Optimizer);
    let others: Vec<&Arc<Loaded>> = survey
        .labels()
        .iter()
        .filter_map(|(_, found)| found.as_ref().ok())
        .filter(|other| other.label != *label)
        .collect();
    if others.is_empty() {
        tell("fingerprint", Outcome::failed("no label of the registry could be loaded"));
        return;
    }
    let own = registry.entry(Kind::Optimizer, label);
    let declared = |other: &Entry| {
        let says = |entry: Option<&Entry>, name: &str| entry.is_some_and(|e| e.same_rule_as.as_deref() == Some(name));
        says(own, &other.label) || says(Some(other), label)
    };
    let (known, strangers): (Vec<&Arc<Loaded>>, Vec<_>) = others.into_iter().partition(|other| declared(&other.entry));
    let print = loaded.fingerprint();
    let twin = strangers.iter().find(|other| other.fingerprint() == print);
    let remark = if known.is_empty() { String::new() } else { format!(", {} declared the same", known.len()) };
    tell(
        "fingerprint",
        match twin {
            Some(twin) => Outcome::failed(format!(
                "it is the rule of `{}`, fingerprint {}: make it an alias, or say `same_rule_as` in the registry",
                twin.label,
                print.unwrap_or("none")
            )),
            None => Outcome::passed(format!("{} other labels{remark}", strangers.len())),
        },
    );
    journal.begin("observed");
    let outcome = observed(hosted, &strangers, twin.copied());
    journal.finding(&Finding { label: label.clone(), level: 7, check: "observed".into(), outcome });
}

/// Compares bits after some steps. A twin by fingerprint has been told already.
fn observed(hosted: &Hosted, others: &[&Arc<Loaded>], twin: Option<&Arc<Loaded>>) -> Outcome {
    let end = match steps(hosted) {
        Ok(end) => end,
        Err(trouble) => return sdk::conformance::broken(&trouble),
    };
    for other in others.iter().filter(|other| twin.is_none_or(|twin| twin.label != other.label)) {
        let same = steps(&Hosted::new((*other).clone())).is_ok_and(|other| {
            let bits = |end: &Snapshot| end.parameters.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
            bits(&other) == bits(&end)
        });
        if same {
            let text = format!("at its defaults it makes the bits of `{}` at its defaults", other.label);
            return Outcome::warning(text).seeded(SEED);
        }
    }
    Outcome::passed(format!("{} labels, 12 steps", others.len()))
}

/// Matrices alone, so that every rule takes part.
fn steps(subject: &dyn Subject) -> Result<Snapshot, Trouble> {
    let shapes: [(&[i64], f64); 2] = [(&[4, 3], 1.0), (&[5, 5], 0.125)];
    Trajectory::of(SEED, &shapes, 12).end(subject, &subject.defaults(), Way::default())
}
