//! The tables of a comparison, cell by cell: the same for terminal and page.
//! Aligns and colours nothing.

use std::collections::BTreeSet;

use super::{
    comparison::{Comparison, Row, Test},
    run::Run,
    statistics::{Paired, Summary, Tested},
    target::Reaching,
    told::{SEED, shown},
};
use crate::run::groups;

/// Pairs of arms that are read at a glance. Where there are more, those with the best arm are shown.
const PAIRS: usize = 15;

/// Rows under named columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows as long as the columns.
    pub rows: Vec<Vec<String>>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Stands above.
    pub name: String,
    /// Whether its cells are numbers, which people compare digit by digit.
    pub numbers: bool,
}

impl Table {
    fn new(columns: &[(&str, bool)], rows: Vec<Vec<String>>) -> Table {
        let column = |&(name, numbers): &(&str, bool)| Column { name: name.into(), numbers };
        Table { columns: columns.iter().map(column).collect(), rows }
    }
}

/// Every arm with its numbers.
pub fn arms(comparison: &Comparison) -> Table {
    let target = comparison.target.map_or_else(String::new, |target| format!(" to {:.4}", target.bpb));
    let row = |row: &Row| {
        let (units, done) = (row.arm.units.len(), row.bpb.map_or(0, |bpb| bpb.n));
        let reaching = row.reaching.as_ref();
        let number =
            |value: Option<f64>, decimals: usize| value.map_or_else(none, |value| format!("{value:.decimals$}"));
        vec![
            row.arm.name.clone(),
            if done == units { done.to_string() } else { format!("{done} of {units}") },
            number(row.bpb.map(|bpb| bpb.mean), 4),
            number(row.bpb.and_then(|bpb| bpb.std), 4),
            reached(reaching, |reaching| reaching.steps, |steps| format!("{steps:.0}")),
            reached(reaching, |reaching| reaching.seconds, seconds),
            row.milliseconds.map_or_else(none, |time| significant(time.mean)),
            row.state_bytes.map_or_else(none, bytes),
            row.peak_bytes.map_or_else(none, bytes),
        ]
    };
    let (steps, time) = (format!("steps{target}"), format!("time{target}"));
    let columns = [
        ("arm", false),
        ("n", true),
        ("final BPB", true),
        ("std", true),
        (&steps, true),
        (&time, true),
        ("ms per step", true),
        ("state", true),
        ("peak memory", true),
    ];
    Table::new(&columns, comparison.rows.iter().map(row).collect())
}

/// Tests that are shown, and how many are not.
pub fn shown_tests(comparison: &Comparison) -> (Vec<&Test>, usize) {
    let all = comparison.tests.len();
    let shown: Vec<&Test> = comparison.tests.iter().filter(|test| all <= PAIRS || test.a == 0).collect();
    let hidden = all - shown.len();
    (shown, hidden)
}

/// Tests between arms: differences are of the first minus the second.
pub fn tests(comparison: &Comparison, tests: &[&Test]) -> Table {
    let name = |row: usize| comparison.rows[row].arm.name.clone();
    let row = |test: &&Test| {
        let [pairs, difference, interval, p] = match test.paired {
            None => [none(), none(), none(), none()],
            Some(Paired::TooFew { pairs }) => [pairs.to_string(), none(), none(), none()],
            Some(Paired::Constant { pairs, difference }) => {
                [pairs.to_string(), format!("{difference:+.4}"), none(), none()]
            }
            Some(Paired::Tested(Tested { pairs, difference, interval: (low, high), p, .. })) => {
                [pairs.to_string(), format!("{difference:+.4}"), format!("{low:+.4} to {high:+.4}"), probability(p)]
            }
        };
        let corrected = test.corrected.map_or_else(none, probability);
        vec![name(test.a), name(test.b), pairs, difference, interval, p, corrected, verdict(comparison, test)]
    };
    let columns = [
        ("arm", false),
        ("other arm", false),
        ("pairs", true),
        ("difference", true),
        ("95 % interval", true),
        ("p", true),
        ("p (Holm)", true),
        ("verdict", false),
    ];
    Table::new(&columns, tests.iter().map(row).collect())
}

/// What a test says, in words.
pub fn verdict(comparison: &Comparison, test: &Test) -> String {
    let name = |row: usize| &comparison.rows[row].arm.name;
    match test.paired {
        None => "not tested: other budgets".into(),
        Some(Paired::TooFew { .. }) => "not enough seeds".into(),
        Some(Paired::Constant { difference: 0.0, .. }) => "equal in every pair".into(),
        Some(Paired::Constant { .. }) => "not tested: the same difference in every pair".into(),
        Some(Paired::Tested(tested)) if test.is_significant() => {
            format!("{} is lower", name(if tested.difference < 0.0 { test.a } else { test.b }))
        }
        Some(Paired::Tested(_)) => "not significant".into(),
    }
}

/// Every knob that differs: its value in each arm that has it, and where that came from.
pub fn knobs(comparison: &Comparison) -> Table {
    let mut rows = Vec::new();
    for key in &comparison.differing {
        let mut head = key.as_str();
        for row in &comparison.rows {
            let told = || row.arm.runs().filter_map(|run| comparison.runs[run].knobs.get(key));
            let values: BTreeSet<&str> = told().map(|told| shown(&told.value)).collect();
            let origins: BTreeSet<&str> = told().map(|told| told.origin.as_str()).collect();
            if !values.is_empty() {
                let joined = |all: BTreeSet<&str>| Vec::from_iter(all).join(", ");
                rows.push(vec![head.to_string(), row.arm.name.clone(), joined(values), joined(origins)]);
                head = "";
            }
        }
    }
    Table::new(&[("knob", false), ("arm", false), ("value", false), ("origin", false)], rows)
}

/// Every run, with what identifies it.
pub fn runs(comparison: &Comparison) -> Table {
    let row = |name: &str, run: &Run| {
        let hash = |hash: &Option<String>| hash.as_deref().map_or_else(none, |hash| shown(hash).to_string());
        let result = run.record.result.as_ref().filter(|_| run.bpb().is_some());
        vec![
            name.to_string(),
            run.seed().to_string(),
            run.bpb().map_or_else(none, |bpb| format!("{bpb:.4}")),
            result.map_or_else(none, |result| result.val_bpb_bits.clone()),
            hash(&run.record.parameter_hash),
            hash(&run.record.trajectory_hash),
            run.state(),
            run.path.display().to_string(),
        ]
    };
    let rows = comparison.rows.iter().flat_map(|arm| {
        let name = &arm.arm.name;
        arm.arm.runs().map(move |run| row(name, &comparison.runs[run]))
    });
    let columns = [
        ("arm", false),
        (SEED, true),
        ("final BPB", true),
        ("its bits", false),
        ("parameter hash", false),
        ("trajectory hash", false),
        ("state", false),
        ("directory", false),
    ];
    Table::new(&columns, rows.collect())
}

/// The parameter groups of every arm, as its first run dealt them out.
pub fn groups(comparison: &Comparison) -> Table {
    let rows = comparison.rows.iter().flat_map(|arm| {
        let groups = arm.arm.runs().next().map_or(&[][..], |run| &comparison.runs[run].record.groups);
        groups.iter().map(|group| [vec![arm.arm.name.clone()], group.cells()].concat())
    });
    let numbers = ["tensors", "parameters", "state bytes"];
    let columns = groups::HEAD.iter().map(|name| (*name, numbers.contains(name)));
    Table::new(&[("arm", false)].into_iter().chain(columns).collect::<Vec<_>>(), rows.collect())
}

fn none() -> String {
    "-".into()
}

/// A mean where all arrived, else how many did.
fn reached(
    reaching: Option<&Reaching>,
    value: fn(&Reaching) -> Option<Summary>,
    text: impl Fn(f64) -> String,
) -> String {
    match reaching {
        None => none(),
        Some(Reaching { reached: 0, .. }) => "never".into(),
        Some(all) => value(all).map_or_else(|| format!("{} of {}", all.reached, all.of), |summary| text(summary.mean)),
    }
}

/// `0.35 s`, `12.3 s`, `7m05s`.
fn seconds(seconds: f64) -> String {
    if seconds < 99.95 {
        return format!("{} s", significant(seconds));
    }
    crate::metrics::progress::duration(std::time::Duration::from_secs_f64(seconds))
}

/// Three significant digits.
fn significant(value: f64) -> String {
    let decimals = match value.abs() {
        value if value < 0.9995 => 3,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// `0.0078`; `<0.0001` where four decimals would be zeros.
fn probability(p: f64) -> String {
    if p < 1e-4 { "<0.0001".into() } else { format!("{p:.4}") }
}

/// `640 B`, `12.3 KiB`, `1.50 GiB`.
fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{} {}", significant(value), UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (value, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (12_600, "12.3 KiB"), (3 << 30, "3.00 GiB")]
        {
            assert_eq!(bytes(value), text);
        }
        for (value, text) in [(0.35, "0.350 s"), (12.34, "12.3 s"), (425.0, "7m05s")] {
            assert_eq!(seconds(value), text);
        }
        for (value, text) in [(0.5, "0.5000"), (0.00776, "0.0078"), (3e-9, "<0.0001")] {
            assert_eq!(probability(value), text);
        }
    }

    #[test]
    fn not_all_arrived_is_no_mean() {
        let steps = |reaching: &Reaching| reached(Some(reaching), |all| all.steps, |steps| format!("{steps:.0}"));
        let mean = Summary { n: 2, mean: 15.0, std: Some(5.0) };
        for (reached, steps_mean, text) in [(0, None, "never"), (1, None, "1 of 2"), (2, Some(mean), "15")] {
            assert_eq!(steps(&Reaching { reached, of: 2, steps: steps_mean, seconds: None }), text);
        }
        assert_eq!(reached(None, |all| all.steps, |_| String::new()), "-");
    }
}
