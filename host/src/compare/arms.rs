//! Which runs are one arm: those that differ in the seed alone, or, where a knob is named, those that share its value.
//! Does not look at results.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    run::Run,
    told::{Knobs, LABEL, SEED, differing, short, shown},
};
use crate::{
    config::Knob,
    fault::{Exit, Fault, nearest},
};

/// Runs that are averaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arm {
    /// The label, and what else tells it from the others.
    pub name: String,
    /// Its runs by what pairs them with another arm's: the seed, and what differs within some arm.
    pub units: BTreeMap<Vec<String>, Vec<usize>>,
}

impl Arm {
    /// Its runs, as indices.
    pub fn runs(&self) -> impl Iterator<Item = usize> {
        self.units.values().flatten().copied()
    }
}

/// All arms, in the order in which their first runs were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arms {
    /// At least one.
    pub arms: Vec<Arm>,
    /// Keys by which runs are paired; the seed comes first where arms are not told apart by it.
    pub paired_by: Vec<String>,
    /// Keys that differ between runs, the seed apart.
    pub differing: BTreeSet<String>,
}

impl Arms {
    /// Deals out `runs`; `by` is a key of [`key_named`].
    pub fn of(runs: &[Run], by: Option<&str>) -> Arms {
        let all: Vec<&Knobs> = runs.iter().map(|run| &run.knobs).collect();
        let same = |a: usize, b: usize| match by {
            Some(SEED) => runs[a].seed() == runs[b].seed(),
            Some(key) => all[a].text(key) == all[b].text(key),
            None => differing(&[all[a], all[b]]).is_empty(),
        };
        let mut members: Vec<Vec<usize>> = Vec::new();
        for run in 0..runs.len() {
            match members.iter_mut().find(|arm| same(arm[0], run)) {
                Some(arm) => arm.push(run),
                None => members.push(vec![run]),
            }
        }
        let within = members.iter().flat_map(|arm| differing(&pick(&all, arm)));
        let seed = (by != Some(SEED)).then(|| SEED.to_string());
        let within: BTreeSet<String> = within.filter(|key| Some(key.as_str()) != by).collect();
        let paired_by: Vec<String> = seed.into_iter().chain(within).collect();
        let unit = |run: usize| -> Vec<String> {
            let value = |key: &String| match key.as_str() {
                SEED => runs[run].seed().to_string(),
                key => all[run].text(key).to_string(),
            };
            paired_by.iter().map(value).collect()
        };
        let arm = |members: &Vec<usize>| {
            let name = match by {
                Some(SEED) => format!("seed={}", runs[members[0]].seed()),
                Some(LABEL) => runs[members[0]].label().to_string(),
                Some(key) => said(all[members[0]], key),
                None => name(members[0], &all),
            };
            let mut units: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
            members.iter().for_each(|&run| units.entry(unit(run)).or_default().push(run));
            Arm { name, units }
        };
        Arms { arms: members.iter().map(arm).collect(), paired_by, differing: differing(&all) }
    }
}

/// The key that `--by` means: a key, or what the trace line or the flag calls it.
///
/// # Errors
/// U022 no run has such a knob.
pub fn key_named(name: &str, runs: &[Run]) -> Result<String, Fault> {
    let keys: BTreeSet<&str> = runs.iter().flat_map(|run| run.knobs.keys()).collect();
    let knob = Knob::of(name).or_else(|| {
        let called = |knob: &&Knob| knob.name == name || knob.flag == Some(name);
        crate::config::KNOBS.iter().find(called)
    });
    let named = [name.to_string(), format!("optimizer.{name}")].into_iter().find(|key| keys.contains(key.as_str()));
    if let Some(key) = knob.map(|knob| knob.key.to_string()).or(named).filter(|key| keys.contains(key.as_str())) {
        return Ok(key);
    }
    let all: Vec<&Knobs> = runs.iter().map(|run| &run.knobs).collect();
    let differing: Vec<String> = differing(&all).into_iter().collect();
    let fault = Fault::new("U022", Exit::Usage, format!("no run has a knob `{name}`"))
        .at(format!("--by {name}"))
        .note("differing", if differing.is_empty() { "none".into() } else { differing.join(", ") });
    Err(match nearest(name, keys) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint("`host config show` prints all keys"),
    })
}

fn pick<'a>(all: &[&'a Knobs], which: &[usize]) -> Vec<&'a Knobs> {
    which.iter().map(|&index| all[index]).collect()
}

/// The label, and what tells this run from others of the same label.
fn name(run: usize, all: &[&Knobs]) -> String {
    let label = all[run].text(LABEL);
    let namesakes: Vec<&Knobs> = all.iter().filter(|other| other.text(LABEL) == label).copied().collect();
    // The optimizer's own first.
    let mut others = Vec::from_iter(differing(&namesakes));
    others.sort_by_key(|key| !key.starts_with("optimizer."));
    let others: Vec<String> = others.iter().map(|key| said(all[run], key)).collect();
    if others.is_empty() { label.to_string() } else { format!("{label} {}", others.join(" ")) }
}

fn said(knobs: &Knobs, key: &str) -> String {
    format!("{}={}", short(key), shown(knobs.text(key)))
}
