//! `cargo xtask test`: setup, build, and all tests, with one line at the end that counts them.
//! Chooses no tests; that is for the arguments, which go to `cargo test`.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::failure::{CHECK, Failure};
use crate::workspace::Workspace;
use crate::{setup, step};

/// Runs every test of the workspace. No test run is a failure.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    setup::run(workspace)?;
    run_tests(workspace, args)
}

/// Like [`run`], where setup has been done.
pub fn run_tests(workspace: &Workspace, args: &[String]) -> Result<()> {
    step::run(workspace.cargo().args(["build", "--workspace"]))?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]).args(args);
    let (lines, outcome) = step::run_and_read(&mut cargo)?;
    let tally = Tally::of(&lines);
    println!("{tally}");
    for name in &tally.failed_names {
        println!("  failed: {name}");
    }
    outcome?;
    if tally.count("passed") == 0 {
        return Err(Failure::new(CHECK, "no test ran").hint("does the name in the arguments exist?").into());
    }
    Ok(())
}

/// The sum of cargo's `test result:` lines.
#[derive(Debug, Default)]
struct Tally {
    programs: u64,
    counts: BTreeMap<String, u64>,
    failed_names: Vec<String>,
}

impl Tally {
    fn of(lines: &[String]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            if let Some(result) = line.strip_prefix("test result: ") {
                tally.programs += 1;
                // ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s
                for part in result.split(['.', ';']) {
                    let mut words = part.split_whitespace();
                    if let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) {
                        *tally.counts.entry(what.to_string()).or_default() += count;
                    }
                }
            } else if let Some(name) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
                tally.failed_names.push(name.to_string());
            }
        }
        tally
    }

    fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [passed, failed, ignored] = ["passed", "failed", "ignored"].map(|what| self.count(what));
        write!(f, "all tests: {passed} passed; {failed} failed; {ignored} ignored; in {} programs", self.programs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_programs_are_summed() {
        let output = "\
running 3 tests
test a::b ... ok
test a::c ... FAILED
test a::d ... ignored
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s
test result: ok. 40 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.53s";
        let tally = Tally::of(&output.lines().map(str::to_string).collect::<Vec<_>>());
        assert_eq!(tally.to_string(), "all tests: 41 passed; 1 failed; 3 ignored; in 2 programs");
        assert_eq!(tally.count("filtered"), 7);
        assert_eq!(tally.failed_names, ["a::c"]);
    }

    #[test]
    fn no_output_is_no_passed_test() {
        assert_eq!(Tally::of(&[]).count("passed"), 0);
    }
}
