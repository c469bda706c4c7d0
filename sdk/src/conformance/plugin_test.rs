//! A plugin's own test: the checks on every label that its crate registers.
//! Prints each finding; a test shows them where it fails.

use super::kernels::Kernels;
use super::verdict::{Finding, Outcome, Trouble, Verdict};
use super::{CHECKS, broken, run};
use crate::export::Entry;

/// All findings about one label of this crate. A rule over whole tensors has levels 1 to 6 skipped: it needs a host.
pub fn check(label: &str) -> Vec<Finding> {
    let entries = Entry::all().unwrap_or_default();
    match entries.into_iter().find(|entry| entry.is_optimizer() && entry.label() == label) {
        Some(entry) => findings(entry),
        None => vec![finding(label, broken(&Trouble::error("this crate registers no such optimizer")))],
    }
}

fn findings(entry: &Entry) -> Vec<Finding> {
    match Kernels::of(entry) {
        Ok(Some(kernels)) => CHECKS.iter().map(|check| run(check, &kernels)).collect(),
        Ok(None) => {
            let why = "a rule over whole tensors is checked by `host plugin check`, which has tensors";
            vec![finding(entry.label(), Outcome::skipped(why))]
        }
        Err(trouble) => vec![finding(entry.label(), broken(&trouble))],
    }
}

fn finding(label: &str, outcome: Outcome) -> Finding {
    Finding { label: label.to_string(), level: 1, check: "loads".to_string(), outcome }
}

/// Checks every optimizer of this crate.
///
/// # Panics
/// With every finding that is bad, or where nothing was checked: the crate registers nothing, or rules over whole tensors
/// alone.
pub fn assert_all() {
    let entries = Entry::all().unwrap_or_else(|error| panic!("{error}"));
    assert!(!entries.is_empty(), "this crate registers no label");
    let all: Vec<Finding> = entries.into_iter().filter(|entry| entry.is_optimizer()).flat_map(findings).collect();
    for finding in &all {
        println!("{finding}");
    }
    let bad: Vec<String> =
        all.iter().filter(|finding| finding.outcome.verdict.is_bad()).map(Finding::to_string).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    let passed = all.iter().any(|finding| finding.outcome.verdict == Verdict::Passed);
    assert!(passed, "nothing could be checked here: `host plugin check` checks rules over whole tensors");
}
