//! The five checks, each a function of what the runs left.
//! Start nothing and read no file.

mod fake_label;
mod knobs;
mod optimizers;
mod repeat;
mod seeds;

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::{
    ask::Change,
    faults,
    outcome::{FakeRow, Measured, RunRow},
    plan::Subject,
};
use crate::fault::{Exit, Fault};

/// What there is to judge by.
pub struct Evidence<'a> {
    /// The default optimizer, one of the subjects.
    pub default: &'a str,
    /// Seeds; check 1 needs all, the others the first.
    pub seeds: &'a [u64],
    /// All labels.
    pub subjects: &'a [Subject],
    /// Validation loss before the first step, at the first seed.
    pub start_loss: f64,
    /// All runs.
    pub runs: &'a [RunRow],
    /// The label that must be refused.
    pub fake: &'a FakeRow,
}

/// What one check came to.
#[derive(Clone, Debug, Serialize)]
pub struct CheckRow {
    /// 1 to 5.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What it saw, in one line.
    pub saw: String,
    /// Why it does not hold.
    pub failures: Vec<Failure>,
    /// What does not count, and why: declared exceptions.
    pub exceptions: Vec<String>,
}

/// One reason why a check does not hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    /// Its code, such as `G002`.
    pub code: &'static str,
    /// What is wrong.
    pub text: String,
    /// What may be the matter.
    pub hint: &'static str,
}

/// All checks, in their order.
pub fn all(evidence: &Evidence<'_>) -> Vec<CheckRow> {
    [seeds::check, optimizers::check, fake_label::check, repeat::check, knobs::check]
        .map(|check| check(evidence))
        .to_vec()
}

impl Evidence<'_> {
    fn run(&self, label: &str, seed: u64, change: Change) -> Option<&RunRow> {
        self.runs.iter().find(|run| run.asked == label && run.seed == seed && run.change == change)
    }

    /// Where a run ended, or why that is not known.
    fn end(&self, label: &str, seed: u64, change: Change) -> Result<&Measured, Failure> {
        match self.run(label, seed, change) {
            Some(RunRow { result: Some(result), .. }) => Ok(result),
            Some(run) => {
                let said = run.said.as_deref().unwrap_or_default();
                let text = format!("run `{}` {}\n{said}", run.name, run.ended);
                Err(Failure::new(faults::RUN, text.trim_end(), "its folder holds all that it said"))
            }
            None => Err(Failure::new(faults::RUN, format!("there is no run of `{label}` at seed {seed}"), "")),
        }
    }

    /// The seed of all checks but the first.
    fn seed(&self) -> u64 {
        self.seeds.first().copied().unwrap_or_default()
    }
}

impl Failure {
    fn new(code: &'static str, text: impl Into<String>, hint: &'static str) -> Failure {
        Failure { code, text: text.into(), hint }
    }

    /// As it is reported.
    pub fn fault(&self, check: &CheckRow) -> Fault {
        // What a run said comes behind the first line.
        let (first, rest) = self.text.split_once('\n').unwrap_or((&self.text, ""));
        let mut fault = Fault::new(self.code, Exit::Check, first);
        if !rest.is_empty() {
            fault = fault.note("it said", rest.replace('\n', "\n    "));
        }
        fault = fault.note("check", format!("{} {}", check.number, check.name));
        if self.hint.is_empty() { fault } else { fault.hint(self.hint) }
    }
}

/// A check under way.
struct Findings {
    failures: Vec<Failure>,
    exceptions: Vec<String>,
}

impl Findings {
    fn none() -> Findings {
        Findings { failures: Vec::new(), exceptions: Vec::new() }
    }

    fn fail(&mut self, code: &'static str, text: impl Into<String>, hint: &'static str) {
        self.failures.push(Failure::new(code, text, hint));
    }

    /// Keeps the value, or notes why there is none.
    fn take<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.failures.push(failure)).ok()
    }

    fn end(self, number: u8, name: &'static str, saw: String) -> CheckRow {
        let Findings { failures, exceptions } = self;
        CheckRow { number, name, holds: failures.is_empty(), saw, failures, exceptions }
    }
}

/// How many different ones there are.
fn distinct<'a>(all: impl IntoIterator<Item = &'a str>) -> usize {
    all.into_iter().collect::<std::collections::BTreeSet<_>>().len()
}
