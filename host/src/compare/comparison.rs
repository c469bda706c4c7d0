//! The whole comparison: arms with their numbers, tests between them, and what has to be said about it.
//! Draws and prints nothing; table, JSON and page are made from this.

use std::collections::BTreeSet;

use super::{
    arms::{Arm, Arms},
    gather::Gathered,
    remarks::{self, Remark},
    run::Run,
    statistics::{Paired, Summary, holm, paired},
    target::{Reaching, reached},
};
use crate::fault::{Exit, Fault};

/// Below this a difference is called significant, after Holm's correction.
pub const SIGNIFICANT: f64 = 0.05;

/// Knobs that decide how much a run may learn from.
pub const BUDGET: [&str; 4] = ["train.steps", "train.batch_size", "train.grad_accum", "model.block_size"];

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The knob that tells arms apart; none is every knob that differs.
    pub by: Option<String>,
    /// Bits per byte to reach.
    pub target: Option<f64>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Every run once, in the order given.
    pub runs: Vec<Run>,
    /// By mean bits per byte, lowest first; arms without a finished run last.
    pub rows: Vec<Row>,
    /// Every pair of arms, by their places in `rows`.
    pub tests: Vec<Test>,
    /// What has to be said, weightiest first.
    pub remarks: Vec<Remark>,
    /// The target, where any run has finished or one was given.
    pub target: Option<Target>,
    /// Keys that pair runs of two arms.
    pub paired_by: Vec<String>,
    /// Keys that differ between runs.
    pub differing: BTreeSet<String>,
}

/// Bits per byte to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Bits per byte.
    pub bpb: f64,
    /// Whether it was given; else it is the highest result of all runs that have finished, which each of them reaches.
    pub given: bool,
}

/// One arm with its numbers. Means are over seeds.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which runs.
    pub arm: Arm,
    /// Bits per byte of the last evaluation; over the seeds that have finished.
    pub bpb: Option<Summary>,
    /// When it reaches the target.
    pub reaching: Option<Reaching>,
    /// Milliseconds per step.
    pub milliseconds: Option<Summary>,
    /// Bytes of optimizer state; the most of any run that has finished.
    pub state_bytes: Option<u64>,
    /// Most memory held; the most of any run that has finished.
    pub peak_bytes: Option<u64>,
    /// Runs that have finished.
    pub finished: Vec<usize>,
    /// Runs that have not.
    pub unfinished: Vec<usize>,
}

/// One pair of arms, `a` minus `b`.
#[derive(Clone, Debug)]
pub struct Test {
    /// Place in [`Comparison::rows`]; the lower mean.
    pub a: usize,
    /// Place in [`Comparison::rows`].
    pub b: usize,
    /// What the test found; none where the two had other budgets and are not tested.
    pub paired: Option<Paired>,
    /// The probability after Holm's correction over all tests that were made.
    pub corrected: Option<f64>,
}

impl Test {
    /// Whether the arms differ.
    pub fn is_significant(&self) -> bool {
        self.corrected.is_some_and(|p| p < SIGNIFICANT)
    }
}

impl Comparison {
    /// Compares.
    ///
    /// # Errors
    /// D323 the runs are of different texts.
    pub fn of(gathered: Gathered, question: &Question) -> Result<Comparison, Fault> {
        let Gathered { runs, twice } = gathered;
        one_text(&runs)?;
        let arms = Arms::of(&runs, question.by.as_deref());
        let worst = runs.iter().filter_map(Run::bpb).max_by(f64::total_cmp);
        let target = match question.target {
            Some(bpb) => Some(Target { bpb, given: true }),
            None => worst.map(|bpb| Target { bpb, given: false }),
        };
        let mut rows: Vec<Row> = arms.arms.iter().map(|arm| Row::of(arm, &runs, target)).collect();
        let mean = |row: &Row| row.bpb.map_or(f64::INFINITY, |bpb| bpb.mean);
        rows.sort_by(|a, b| mean(a).total_cmp(&mean(b)).then_with(|| a.arm.name.cmp(&b.arm.name)));
        let by_budget = question.by.as_deref().is_some_and(|key| BUDGET.contains(&key));
        let tests = tests(&rows, &runs, by_budget);
        let mut comparison = Comparison {
            runs,
            rows,
            tests,
            remarks: Vec::new(),
            target,
            paired_by: arms.paired_by,
            differing: arms.differing,
        };
        comparison.remarks = remarks::of(&comparison, question.by.as_deref(), &twice);
        Ok(comparison)
    }
}

impl Row {
    /// Steps and tokens of its runs that have finished.
    pub(super) fn budgets(&self, runs: &[Run]) -> BTreeSet<(u64, u64)> {
        budgets(self.finished.iter().copied(), runs)
    }

    fn of(arm: &Arm, runs: &[Run], target: Option<Target>) -> Row {
        let (finished, unfinished): (Vec<usize>, Vec<usize>) = arm.runs().partition(|&run| runs[run].bpb().is_some());
        let over_units = |value: &dyn Fn(&Run) -> Option<f64>| {
            let units = arm.units.values().filter_map(|unit| unit_value(unit, runs, value));
            Summary::of(&units.collect::<Vec<_>>())
        };
        let most = |value: &dyn Fn(&Run) -> Option<u64>| finished.iter().filter_map(|&run| value(&runs[run])).max();
        let reaching = target.map(|target| {
            let first = |unit: &Vec<usize>| {
                let run = unit.iter().find(|&&run| runs[run].bpb().is_some())?;
                reached(&runs[*run], target.bpb)
            };
            Reaching::of(&arm.units.values().map(first).collect::<Vec<_>>())
        });
        Row {
            arm: arm.clone(),
            bpb: over_units(&Run::bpb),
            reaching,
            milliseconds: over_units(&|run| run.bpb().and_then(|_| run.milliseconds_per_step())),
            state_bytes: most(&Run::state_bytes),
            peak_bytes: most(&Run::peak_bytes),
            finished,
            unfinished,
        }
    }
}

/// Of the runs of one seed, which count as one: each different value once.
fn unit_value(unit: &[usize], runs: &[Run], value: &dyn Fn(&Run) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = unit.iter().filter_map(|&run| value(&runs[run])).collect();
    values.sort_by(f64::total_cmp);
    values.dedup_by_key(|value| value.to_bits());
    Summary::of(&values).map(|summary| summary.mean)
}

/// Steps and tokens of those of some runs that have finished.
fn budgets(of: impl Iterator<Item = usize>, runs: &[Run]) -> BTreeSet<(u64, u64)> {
    let finished = of.map(|run| &runs[run]).filter(|run| run.bpb().is_some());
    finished.map(|run| (run.record.steps, run.tokens())).collect()
}

/// Whether two arms, and every pair of their runs, were trained for equally long, as far as they have finished.
fn same_budgets(one: &Row, other: &Row, runs: &[Run]) -> bool {
    let same = |a: BTreeSet<_>, b: BTreeSet<_>| a.is_empty() || b.is_empty() || a == b;
    let of_unit = |unit: &Vec<usize>| budgets(unit.iter().copied(), runs);
    let pairs = one.arm.units.iter().filter_map(|(key, unit)| Some((unit, other.arm.units.get(key)?)));
    let mut pairs = pairs.map(|(unit, other)| same(of_unit(unit), of_unit(other)));
    same(one.budgets(runs), other.budgets(runs)) && pairs.all(|same| same)
}

fn tests(rows: &[Row], runs: &[Run], by_budget: bool) -> Vec<Test> {
    let mut tests = Vec::new();
    for (a, one) in rows.iter().enumerate() {
        for (b, other) in rows.iter().enumerate().skip(a + 1) {
            let comparable = by_budget || same_budgets(one, other, runs);
            let paired = comparable.then(|| paired(&differences(&one.arm, &other.arm, runs)));
            tests.push(Test { a, b, paired, corrected: None });
        }
    }
    let tested = |test: &Test| match test.paired {
        Some(Paired::Tested(tested)) => Some(tested.p),
        _ => None,
    };
    let mut corrected = holm(&tests.iter().filter_map(tested).collect::<Vec<_>>()).into_iter();
    for test in &mut tests {
        test.corrected = tested(test).and_then(|_| corrected.next());
    }
    tests
}

/// Differences in bits per byte of the units that both arms have and that have finished in both.
fn differences(one: &Arm, other: &Arm, runs: &[Run]) -> Vec<f64> {
    let bpb = |unit: &Vec<usize>| unit_value(unit, runs, &Run::bpb);
    let pair = |(key, unit): (&Vec<String>, &Vec<usize>)| Some(bpb(unit)? - bpb(other.units.get(key)?)?);
    one.units.iter().filter_map(pair).collect()
}

/// Bits per byte of one text say nothing beside those of another.
fn one_text(runs: &[Run]) -> Result<(), Fault> {
    let mut texts: Vec<(String, Vec<String>)> = Vec::new();
    for run in runs {
        let (text, path) = (run.text(), run.path.display().to_string());
        match texts.iter_mut().find(|(known, _)| *known == text) {
            Some((_, paths)) => paths.push(path),
            None => texts.push((text, vec![path])),
        }
    }
    if texts.len() < 2 {
        return Ok(());
    }
    let fault = Fault::new("D323", Exit::Check, "runs on different texts cannot be compared");
    let fault =
        texts.into_iter().fold(fault, |fault, (text, paths)| fault.note("runs", format!("{}: {text}", few(&paths))));
    Err(fault.hint("bits per byte are of one text; compare the runs of each on their own"))
}

/// The first few of many.
pub(super) fn few(names: &[String]) -> String {
    const SHOWN: usize = 4;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}
