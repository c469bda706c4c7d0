//! Finds labels that are secretly one rule, and declarations of sameness that are not true.
//! Compares fingerprints alone; that equal fingerprints mean equal bits is the sdk's word.

use std::{collections::BTreeMap, sync::Arc};

use super::Loaded;
use crate::fault::{Exit, Fault, Faults};

/// Compares all optimizers among `loaded` with each other.
///
/// # Errors
/// R022 for every pair of labels with one rule that is not declared; R023 for every declaration that is not true.
pub fn check<'a>(loaded: impl Iterator<Item = &'a Arc<Loaded>>) -> Result<(), Faults> {
    let rules = loaded.filter_map(|loaded| {
        Some(Rule {
            label: &loaded.label,
            fingerprint: loaded.fingerprint()?,
            same_as: loaded.entry.same_rule_as.as_deref(),
            place: &loaded.entry.place,
        })
    });
    compare(&rules.collect::<Vec<_>>())
}

/// Labels with one rule, sorted, by its fingerprint; rules that one label alone has are left out. Declared ones are all
/// that a registry without faults has.
pub fn shared<'a>(loaded: impl Iterator<Item = &'a Arc<Loaded>>) -> Vec<(&'a str, Vec<&'a Arc<Loaded>>)> {
    let mut labels: BTreeMap<&str, Vec<&Arc<Loaded>>> = BTreeMap::new();
    for loaded in loaded {
        if let Some(fingerprint) = loaded.fingerprint() {
            labels.entry(fingerprint).or_default().push(loaded);
        }
    }
    labels.into_iter().filter(|(_, labels)| labels.len() > 1).collect()
}

struct Rule<'a> {
    label: &'a str,
    fingerprint: &'a str,
    same_as: Option<&'a str>,
    place: &'a str,
}

fn compare(rules: &[Rule<'_>]) -> Result<(), Faults> {
    let by_label: BTreeMap<&str, &Rule<'_>> = rules.iter().map(|rule| (rule.label, rule)).collect();
    let mut faults = Faults::none();
    for (i, rule) in rules.iter().enumerate() {
        for twin in &rules[..i] {
            if twin.fingerprint == rule.fingerprint && root(twin, &by_label) != root(rule, &by_label) {
                let message = format!("`{}` and `{}` are the same rule", twin.label, rule.label);
                let fault = Fault::new("R022", Exit::Registry, message).at(rule.place);
                let fault = fault.note("twin", twin.place).note("fingerprint", rule.fingerprint);
                faults.push(fault.hint(format!(
                    "take one out, make it an alias, or say `same_rule_as = \"{}\"` at `{}`",
                    twin.label, rule.label
                )));
            }
        }
        let declared = rule.same_as.and_then(|label| by_label.get(label));
        if let Some(other) = declared.filter(|other| other.fingerprint != rule.fingerprint) {
            let message = format!("`{}` is `same_rule_as` `{}`, but it is another rule", rule.label, other.label);
            let fault = Fault::new("R023", Exit::Registry, message).at(rule.place);
            let prints = format!("{} and {}", rule.fingerprint, other.fingerprint);
            faults.push(fault.note("fingerprints", prints).hint("take `same_rule_as` out"));
        }
    }
    faults.check()
}

/// The smallest label that a chain of declarations reaches; chains may be circles.
fn root<'a>(rule: &Rule<'a>, by_label: &BTreeMap<&'a str, &Rule<'a>>) -> &'a str {
    let mut seen = vec![rule.label];
    let mut at = Some(rule);
    while let Some(next) = at.and_then(|rule| rule.same_as) {
        if seen.contains(&next) {
            // Every label of a circle reaches the same circle, so its smallest label stands for it.
            let start = seen.iter().position(|label| *label == next).unwrap_or(0);
            return seen[start..].iter().min().copied().unwrap_or(next);
        }
        seen.push(next);
        at = by_label.get(next).copied();
    }
    seen[seen.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(rules: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let rule = |&(label, fingerprint, same_as)| Rule { label, fingerprint, same_as, place: "registry.toml:1" };
        let rules: Vec<Rule<'_>> = rules.iter().map(rule).collect();
        let faults = compare(&rules).err().unwrap_or_default();
        faults.0.iter().map(|fault| format!("{} {}", fault.code, fault.message)).collect()
    }

    #[test]
    fn twins_are_refused_unless_declared_and_declarations_must_be_true() {
        let none: Vec<String> = Vec::new();
        assert_eq!(codes(&[("a", "1", None), ("b", "2", None)]), none);
        assert_eq!(codes(&[("a", "1", None), ("b", "1", None)]), ["R022 `a` and `b` are the same rule"]);
        assert_eq!(codes(&[("a", "1", None), ("b", "1", Some("a"))]), none);
        assert_eq!(codes(&[("a", "1", Some("b")), ("b", "1", None)]), none);
        assert_eq!(codes(&[("a", "1", Some("b")), ("b", "1", Some("a"))]), none);
        assert_eq!(codes(&[("a", "1", None), ("b", "1", Some("a")), ("c", "1", Some("a"))]), none);
        assert_eq!(codes(&[("a", "1", None), ("b", "1", Some("a")), ("c", "1", Some("b"))]), none);
        assert_eq!(codes(&[("c", "1", Some("b")), ("a", "1", Some("b")), ("b", "1", Some("a"))]), none);
        let three = codes(&[("a", "1", None), ("b", "1", None), ("c", "1", Some("b"))]);
        assert_eq!(three.len(), 2, "a–b and a–c: {three:?}");
        let untrue = codes(&[("a", "1", None), ("b", "2", Some("a"))]);
        assert_eq!(untrue, ["R023 `b` is `same_rule_as` `a`, but it is another rule"]);
    }
}
