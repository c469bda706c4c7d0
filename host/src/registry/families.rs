//! Which optimizers are one rule on paper, as they are or with one hyper-parameter at 0, at 1, or switched.
//! Makes remarks; refuses nothing, and sees only rules that are recorded as expressions. Those over whole tensors are
//! compared by what they do, by `conformance`.

use std::{collections::BTreeMap, sync::Arc};

use sdk::{abi::HyperDescriptor, tape};

use super::{Kind, Loaded, hyper};
use crate::{config::settings::HyperValue, fault::Fault};

/// The hyper-parameter that schedules scale.
const LR: &str = "lr";

/// A label, as the registry runs it or with one hyper-parameter otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The label.
    pub label: String,
    /// What is otherwise; none where all is as the registry has it.
    pub setting: Option<(String, HyperValue)>,
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.label)?;
        match &self.setting {
            Some((name, value)) => write!(f, " with {name} = {}", hyper::written(value)),
            None => Ok(()),
        }
    }
}

/// Members of at least two labels whose rules are one on paper: those at the registry's defaults first.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Fingerprint of what they have in common.
    pub fingerprint: String,
    /// The members.
    pub members: Vec<Member>,
}

impl Family {
    /// One sentence for each member but the first.
    pub fn remarks(&self) -> Vec<String> {
        remarks(&self.members, "is of the family of")
    }
}

/// One sentence for each member but the first that is of another label.
pub fn remarks(members: &[Member], relation: &str) -> Vec<String> {
    let Some((first, others)) = members.split_first() else { return Vec::new() };
    let others = others.iter().filter(|other| other.label != first.label);
    others.map(|other| format!("{other} {relation} {first}")).collect()
}

/// What was compared, and what was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Families {
    /// Families of several labels, by their first members.
    pub found: Vec<Family>,
    /// Labels that are compared.
    pub compared: usize,
    /// Optimizers that are none of these: rules over whole tensors, which are no expressions, and those that are evaluated
    /// elsewhere than they train.
    pub left_out: Vec<String>,
    /// Settings within their ranges that a plugin does not record, and why.
    pub unrecorded: Vec<(Member, String)>,
}

/// Compares the optimizers among `loaded`.
pub fn families<'a>(loaded: impl Iterator<Item = &'a Arc<Loaded>>) -> Families {
    let mut families = Families::default();
    let mut members: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for loaded in loaded.filter(|loaded| loaded.kind == Kind::Optimizer) {
        if loaded.rule().is_none() || loaded.evaluation().is_some() {
            families.left_out.push(loaded.label.clone());
            continue;
        }
        families.compared += 1;
        let mut own = None;
        for (setting, values) in settings(loaded.schema(), &loaded.defaults()) {
            let by_default = setting.is_none();
            let member = Member { label: loaded.label.clone(), setting };
            match family(loaded, &values) {
                // What a setting does not change is told once.
                Ok(family) if !by_default && family == own => {}
                Ok(Some(family)) => {
                    if by_default {
                        own = Some(family.clone());
                    }
                    members.entry(family).or_default().push(member);
                }
                Ok(None) => {}
                Err(fault) => families.unrecorded.push((member, fault.to_string())),
            }
        }
    }
    let found = ordered(members).into_iter();
    families.found = found.map(|(fingerprint, members)| Family { fingerprint, members }).collect();
    families
}

fn family(loaded: &Loaded, hyper: &[f64]) -> Result<Option<String>, Fault> {
    let slots = loaded.slots(hyper)?;
    let mut folded_in = hyper.to_vec();
    // A rate that happens to be 1 is a rate.
    if let Some(lr) = loaded.hyper_index(LR) {
        folded_in[lr] = f64::NAN;
    }
    Ok(loaded.record(hyper)?.and_then(|nodes| tape::family(&nodes, &slots, &folded_in)))
}

/// The defaults, and every way to change one hyper-parameter that can switch something off or choose another rule. A
/// learning rate of 0 or 1 says nothing about a rule.
pub fn settings(schema: &[HyperDescriptor], defaults: &[f64]) -> Vec<(Option<(String, HyperValue)>, Vec<f64>)> {
    let mut settings = vec![(None, defaults.to_vec())];
    for (index, hyper) in schema.iter().enumerate().filter(|(_, hyper)| hyper.name != LR) {
        let values = match hyper.kind.as_str() {
            "choice" => (0..hyper.choices.len()).map(|choice| choice as f64).collect(),
            _ => vec![0.0, 1.0],
        };
        for value in values {
            if (hyper.low..=hyper.high).contains(&value) && value != defaults[index] {
                let mut all = defaults.to_vec();
                all[index] = value;
                settings.push((Some((hyper.name.to_string(), hyper::value(hyper, value))), all));
            }
        }
    }
    settings
}

/// Those of several labels, whatever they have in common, in an order that people can follow.
pub fn ordered<Common>(groups: impl IntoIterator<Item = (Common, Vec<Member>)>) -> Vec<(Common, Vec<Member>)> {
    let several = |members: &[Member]| members.iter().any(|member| member.label != members[0].label);
    let mut found: Vec<_> = groups.into_iter().filter(|(_, members)| several(members)).collect();
    let key = |member: &Member| (member.setting.is_some(), member.label.clone(), member.to_string());
    found.iter_mut().for_each(|(_, members)| members.sort_by_key(key));
    found.sort_by_key(|(_, members)| (members[0].setting.is_some(), members[0].to_string()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(label: &str, setting: Option<(&str, f64)>) -> Member {
        let setting = setting.map(|(name, value)| (name.to_string(), HyperValue::Number(value)));
        Member { label: label.to_string(), setting }
    }

    #[test]
    fn families_of_one_label_are_none_and_defaults_come_first() {
        let table = BTreeMap::from([
            ("1".to_string(), vec![member("b", Some(("m", 0.0))), member("c", None), member("a", Some(("n", 1.0)))]),
            ("2".to_string(), vec![member("a", Some(("m", 0.0))), member("a", Some(("n", 0.0)))]),
            ("3".to_string(), vec![member("a", None)]),
            ("4".to_string(), vec![member("b", Some(("m", 1.0))), member("a", Some(("k", 0.0)))]),
        ]);
        let found = ordered(table);
        assert_eq!(found.iter().map(|(common, _)| common.as_str()).collect::<Vec<_>>(), ["1", "4"]);
        let remarks: Vec<String> =
            found.iter().flat_map(|(_, members)| remarks(members, "is of the family of")).collect();
        assert_eq!(
            remarks,
            [
                "`a` with n = 1 is of the family of `c`",
                "`b` with m = 0 is of the family of `c`",
                "`b` with m = 1 is of the family of `a` with k = 0",
            ]
        );
    }

    #[test]
    fn one_thing_is_changed_at_a_time_within_its_range() {
        let hyper = |name: &str, kind: &str, low: f64, high: f64| HyperDescriptor {
            name: name.into(),
            kind: kind.into(),
            default: low,
            low,
            high,
            choices: if kind == "choice" { ["x", "y", "z"].map(Into::into).to_vec().into() } else { Vec::new().into() },
            meaning: "".into(),
        };
        let schema = [
            hyper("lr", "number", 0.0, 1.0),
            hyper("beta", "number", 0.0, 1.0),
            hyper("eps", "number", 1e-12, 0.5),
            hyper("flag", "flag", 0.0, 1.0),
            hyper("choice", "choice", 0.0, 2.0),
        ];
        let settings = settings(&schema, &[0.1, 0.9, 0.1, 0.0, 1.0]);
        let changed: Vec<(String, String)> = settings
            .iter()
            .flat_map(|(setting, _)| setting)
            .map(|(name, value)| (name.clone(), hyper::written(value)))
            .collect();
        let expected = [("beta", "0"), ("beta", "1"), ("flag", "true"), ("choice", "\"x\""), ("choice", "\"z\"")];
        assert_eq!(changed, expected.map(|(name, value)| (name.to_string(), value.to_string())));
        assert_eq!(settings[0], (None, vec![0.1, 0.9, 0.1, 0.0, 1.0]));
        assert_eq!(settings[2].1, [0.1, 1.0, 0.1, 0.0, 1.0]);
    }
}
