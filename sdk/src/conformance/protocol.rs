//! Level 1: what a plugin says about a label.
//! Makes no step.

use std::collections::BTreeSet;

use super::subject::Subject;
use super::verdict::{Outcome, Trouble};
use super::{exception, properties};

/// Every hyper-parameter has one name, a meaning, and a default in its range.
pub fn schema(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let mut names = BTreeSet::new();
    for hyper in subject.schema() {
        let name = hyper.name.as_str();
        let complaint = if name.trim().is_empty() || !names.insert(name) {
            "its name is empty or there twice".to_string()
        } else if hyper.meaning.trim().is_empty() {
            "it has no meaning".to_string()
        } else if !(hyper.low..=hyper.high).contains(&hyper.default) {
            format!("default {} is not in {}..={}", hyper.default, hyper.low, hyper.high)
        } else if hyper.low.is_nan() || hyper.high.is_nan() || hyper.low > hyper.high {
            format!("{}..={} is no range", hyper.low, hyper.high)
        } else {
            continue;
        };
        return Ok(Outcome::failed(complaint).about(name));
    }
    Ok(Outcome::passed(format!("{} hyper-parameters", names.len())))
}

/// One line and a paper.
pub fn words(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let descriptor = subject.descriptor();
    for (what, text) in [("summary", &descriptor.summary), ("paper", &descriptor.paper)] {
        if text.trim().is_empty() || text.contains('\n') {
            return Ok(Outcome::failed(format!("the {what} is not one line: {text:?}")));
        }
    }
    for text in descriptor.facts.iter().filter(|fact| fact.0 == "except").map(|fact| &fact.1) {
        if !exception::is_understood(text) {
            return Ok(Outcome::failed(format!(
                "`except` names no check that has exceptions, or says no reason: {text:?}"
            )));
        }
    }
    if let Some(text) = properties::declared(descriptor).find(|text| !properties::PROPERTIES.contains(text)) {
        let known = properties::PROPERTIES.join("`, `");
        return Ok(Outcome::failed(format!("`declares` names no property: {text:?}; there are `{known}`")));
    }
    Ok(Outcome::passed(descriptor.paper.to_string()))
}

/// Slots have names of their own, for every setting of flags and choices.
pub fn slots(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let shape = shape_of(subject);
    let mut most = 0;
    for hyper in super::settings::switched(subject) {
        let slots = subject.slots(&hyper, shape)?;
        let names: BTreeSet<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        let places: BTreeSet<u32> = slots.iter().map(|slot| slot.index).collect();
        if names.len() < slots.len() || places.len() < slots.len() || names.iter().any(|name| name.contains('/')) {
            let setting = super::settings::text(subject, &hyper);
            return Ok(Outcome::failed(format!("slots {names:?} share a name or a place at {setting}")));
        }
        most = most.max(slots.len());
    }
    Ok(Outcome::passed(format!("at most {most} slots")))
}

/// A shape that the rule takes: a vector, or else a matrix.
pub fn shape_of(subject: &dyn Subject) -> &'static [i64] {
    if subject.accepts(&[7]) { &[7] } else { &[4, 3] }
}
