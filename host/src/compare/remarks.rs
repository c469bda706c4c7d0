//! What has to be said about a comparison before its numbers are believed.
//! Changes no number.

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    comparison::{BUDGET, Comparison, Row, few},
    identity::{Parting, Shared},
    run::Run,
    told::{EVALUATIONS, LABEL, SEED, Told, short, shown},
};

/// How weighty a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The comparison may not say what it seems to say.
    Warning,
    /// Good to know.
    Note,
}

impl Weight {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Weight::Warning => "warning",
            Weight::Note => "note",
        }
    }
}

/// One remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How weighty.
    pub weight: Weight,
    /// What it is about, for machines: `identity`, `seed`, `repeat`, `budget`, `confounded`, `unfinished`, `mixed`,
    /// `evaluations`, `cost`, `twice`, `one arm`.
    pub about: &'static str,
    /// For people.
    pub text: String,
    /// The first step with other bits, of remarks about bits.
    pub parting: Option<Parting>,
    /// Runs that it is about, as indices.
    pub runs: Vec<usize>,
}

impl Remark {
    fn new(weight: Weight, about: &'static str, text: String) -> Remark {
        Remark { weight, about, text, parting: None, runs: Vec::new() }
    }

    fn of_runs(mut self, runs: Vec<usize>) -> Remark {
        self.runs = runs;
        self
    }
}

/// All remarks, weightiest first.
pub fn of(comparison: &Comparison, by: Option<&str>, twice: &[PathBuf]) -> Vec<Remark> {
    let mut remarks = bits(comparison);
    remarks.extend(budgets(comparison, by));
    remarks.extend(by.and_then(|by| confounded(comparison, by)));
    remarks.extend(unfinished(comparison));
    remarks.extend(mixed(comparison));
    remarks.extend(evaluations(comparison));
    remarks.extend(costs(comparison));
    for path in twice {
        let text = format!("{} is given twice and counted once", path.display());
        remarks.push(Remark::new(Weight::Note, "twice", text));
    }
    if comparison.rows.len() == 1 {
        let text = match by {
            Some(key) => format!(
                "all runs have {}={}: one arm, nothing to compare it with",
                short(key),
                shown(comparison.runs[0].knobs.text(key))
            ),
            None => "the runs differ in nothing but the seed: one arm, nothing to compare it with".into(),
        };
        remarks.push(Remark::new(Weight::Note, "one arm", text));
    }
    remarks.sort_by_key(|remark| remark.weight);
    remarks
}

/// Runs that should differ in their bits and do not, or not for long.
fn bits(comparison: &Comparison) -> Vec<Remark> {
    let rows = &comparison.rows;
    let place: Vec<(usize, &Vec<String>, usize)> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, of)| {
            of.arm.units.iter().flat_map(move |(unit, runs)| runs.iter().map(move |&run| (row, unit, run)))
        })
        .collect();
    // The same finding about the same arms is one remark, however many seeds show it.
    let mut found: Vec<(Finding, Vec<(usize, usize)>)> = Vec::new();
    for (at, &(row, unit, run)) in place.iter().enumerate() {
        for &(other_row, other_unit, other) in &place[at + 1..] {
            let shared = Shared::between(&comparison.runs[run], &comparison.runs[other]);
            let relation = match (row == other_row, unit == other_unit) {
                (false, _) => Relation::Arms(row, other_row),
                (true, false) => Relation::Seeds(row),
                (true, true) => Relation::Repeat(row),
            };
            let worth_saying = match relation {
                Relation::Repeat(_) => true,
                _ => shared.is_one_run() || shared.begins_alike(),
            };
            if worth_saying {
                let finding = Finding { relation, shared };
                match found.iter_mut().find(|(known, _)| *known == finding) {
                    Some((_, pairs)) => pairs.push((run, other)),
                    None => found.push((finding, vec![(run, other)])),
                }
            }
        }
    }
    found.iter().map(|(finding, pairs)| finding.remark(comparison, pairs)).collect()
}

/// What two runs are to each other.
#[derive(Clone, Copy, PartialEq)]
enum Relation {
    Arms(usize, usize),
    Seeds(usize),
    Repeat(usize),
}

#[derive(PartialEq)]
struct Finding {
    relation: Relation,
    shared: Shared,
}

impl Finding {
    fn remark(&self, comparison: &Comparison, pairs: &[(usize, usize)]) -> Remark {
        let name = |row: usize| &comparison.rows[row].arm.name;
        let seed = |run: usize| comparison.runs[run].seed();
        let pair = |&(a, b): &(usize, usize)| match seed(a) == seed(b) {
            true => format!("seed {}", seed(a)),
            false => format!("seeds {} and {}", seed(a), seed(b)),
        };
        let seeds: BTreeSet<String> = pairs.iter().map(pair).collect();
        let seeds = few(&Vec::from_iter(seeds));
        let words = self.shared.words();
        let same = self.shared.is_one_run();
        let weight = if same { Weight::Warning } else { Weight::Note };
        let (weight, about, text) = match self.relation {
            Relation::Arms(a, b) => (weight, "identity", format!("`{}` and `{}` {words} ({seeds})", name(a), name(b))),
            Relation::Seeds(row) => (weight, "seed", format!("{seeds} of `{}` {words}", name(row))),
            Relation::Repeat(row) if same => {
                let text =
                    format!("{seeds} of `{}` is there more than once, with the same bits: it counts once", name(row));
                (Weight::Note, "repeat", text)
            }
            Relation::Repeat(row) => {
                let text = format!("runs of {seeds} of `{}` {words}; their mean counts as one", name(row));
                (Weight::Warning, "repeat", text)
            }
        };
        let runs: BTreeSet<usize> = pairs.iter().flat_map(|&(a, b)| [a, b]).collect();
        let remark = Remark::new(weight, about, text).of_runs(runs.into_iter().collect());
        Remark { parting: Some(self.shared.parting), ..remark }
    }
}

/// Arms that were trained for longer, or on more, than others.
fn budgets(comparison: &Comparison, by: Option<&str>) -> Option<Remark> {
    let all: BTreeSet<_> = comparison.rows.iter().flat_map(|row| row.budgets(&comparison.runs)).collect();
    if all.len() < 2 || by.is_some_and(|key| BUDGET.contains(&key)) {
        return None;
    }
    let said = |row: &Row| {
        let budgets = row.budgets(&comparison.runs);
        let said = |(steps, tokens): &(u64, u64)| format!("{steps} steps, {tokens} tokens");
        format!("`{}` {}", row.arm.name, budgets.iter().map(said).collect::<Vec<_>>().join(" or "))
    };
    let rows: Vec<String> = comparison.rows.iter().filter(|row| !row.finished.is_empty()).map(said).collect();
    let text = format!(
        "the runs did not train for equally long: {}; a result is of its budget too, and arms with different budgets are not tested \
         (`--by train.steps` compares budgets)",
        few(&rows)
    );
    Some(Remark::new(Weight::Warning, "budget", text))
}

/// Runs without a result.
fn unfinished(comparison: &Comparison) -> Vec<Remark> {
    let remark = |row: &Row| {
        let state = |&run: &usize| {
            let run: &Run = &comparison.runs[run];
            format!("{} {}", run.path.display(), run.state())
        };
        let states: Vec<String> = row.unfinished.iter().map(state).collect();
        let (open, all) = (row.unfinished.len(), row.arm.runs().count());
        let states = few(&states);
        let text = format!("`{}`: {open} of {all} runs have no result and are in no number: {states}", row.arm.name);
        Remark::new(Weight::Warning, "unfinished", text).of_runs(row.unfinished.clone())
    };
    comparison.rows.iter().filter(|row| !row.unfinished.is_empty()).map(remark).collect()
}

/// Arms whose runs differ in more than the seed.
fn mixed(comparison: &Comparison) -> Vec<Remark> {
    let keys: Vec<&String> = comparison.paired_by.iter().filter(|key| *key != SEED).collect();
    let remark = |row: &Row| {
        let differs = |key: &str| {
            let values: BTreeSet<&str> = row.arm.runs().map(|run| comparison.runs[run].knobs.text(key)).collect();
            let shown: Vec<&str> = values.iter().map(|value| shown(value)).collect();
            (values.len() > 1).then(|| format!("{}={}", short(key), shown.join("|")))
        };
        let differing: Vec<String> = keys.iter().filter_map(|key| differs(key)).collect();
        (!differing.is_empty()).then(|| {
            let text = format!("`{}` is a mean over {}; runs are paired by them", row.arm.name, few(&differing));
            Remark::new(Weight::Note, "mixed", text)
        })
    };
    comparison.rows.iter().filter_map(remark).collect()
}

/// Arms by one knob that differ in others too: whatever is the same throughout each arm goes with the knob.
fn confounded(comparison: &Comparison, by: &str) -> Option<Remark> {
    let values = |key: &str| -> Option<BTreeSet<&str>> {
        let runs = &comparison.runs;
        // what an optimizer does not have, or what nobody told it, comes with its label
        let is_hyper = by == LABEL && key.starts_with("optimizer.");
        if is_hyper && !runs.iter().any(|run| run.knobs.get(key).is_some_and(Told::is_chosen)) {
            return None;
        }
        let comes_with = |run: usize| is_hyper && runs[run].knobs.get(key).is_none();
        let mut between = BTreeSet::new();
        for row in &comparison.rows {
            let within: BTreeSet<&str> = row.arm.runs().map(|run| runs[run].knobs.text(key)).collect();
            if within.len() > 1 || row.arm.runs().any(comes_with) {
                return None;
            }
            between.extend(within);
        }
        (between.len() > 1).then_some(between)
    };
    let others = comparison.differing.iter().filter(|key| *key != by);
    let said = |key: &String| {
        let values: Vec<&str> = values(key)?.into_iter().map(shown).collect();
        Some(format!("{} ({})", short(key), values.join("|")))
    };
    let others: Vec<String> = others.filter_map(said).collect();
    (!others.is_empty()).then(|| {
        let text = format!(
            "arms by {} differ in more than that, and what one does better may be due to the other: {}",
            short(by),
            others.join(", ")
        );
        Remark::new(Weight::Warning, "confounded", text)
    })
}

/// Runs of one arm or another that were looked at on their way at other steps, or on more of the text.
fn evaluations(comparison: &Comparison) -> Option<Remark> {
    let said = |key: &&str| {
        let values: BTreeSet<&str> = comparison.runs.iter().map(|run| run.knobs.text(key)).collect();
        let values: Vec<&str> = values.into_iter().collect();
        (values.len() > 1 && !comparison.differing.contains(*key)).then(|| format!("{key}={}", values.join("|")))
    };
    let differing: Vec<String> = EVALUATIONS.iter().filter_map(said).collect();
    (!differing.is_empty()).then(|| {
        let text = format!(
            "the runs were evaluated differently on their way ({}): steps and time to a target are as fine as that",
            differing.join(", ")
        );
        Remark::new(Weight::Note, "evaluations", text)
    })
}

/// Whether milliseconds can be compared.
fn costs(comparison: &Comparison) -> Option<Remark> {
    let threads = |run: &Run| run.record.cost.as_ref().map(|cost| cost.threads);
    let threads: BTreeSet<u64> = comparison.runs.iter().filter_map(threads).collect();
    (threads.len() > 1).then(|| {
        let threads: Vec<String> = threads.iter().map(u64::to_string).collect();
        let text = format!(
            "the runs had different numbers of threads ({}): times and last bits are not comparable",
            threads.join(", ")
        );
        Remark::new(Weight::Note, "cost", text)
    })
}
