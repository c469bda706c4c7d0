//! `cargo xtask check`: everything a change must pass, all of it even when a part fails.
//! Changes no file.

use anyhow::Result;

use crate::failure::{CHECK, Failure, USAGE};
use crate::workspace::Workspace;
use crate::{error_codes, house_rules, setup, step, test};

/// One part. Those that only read text need no libtorch, so they run at once in a fresh clone.
struct Part {
    name: &'static str,
    needs_libtorch: bool,
    run: fn(&Workspace) -> Result<()>,
}

const fn reads(name: &'static str, run: fn(&Workspace) -> Result<()>) -> Part {
    Part { name, needs_libtorch: false, run }
}

const fn builds(name: &'static str, run: fn(&Workspace) -> Result<()>) -> Part {
    Part { name, needs_libtorch: true, run }
}

const PARTS: [Part; 7] = [
    reads("format", format),
    reads("house-rules", house_rules::sources),
    reads("dependencies", house_rules::dependencies),
    reads("error-codes", error_codes::check),
    builds("clippy", clippy),
    builds("docs", docs),
    builds("tests", |workspace| test::run_tests(workspace, &[])),
];

/// Runs every part, or those named, and fails if any has failed.
pub fn run(workspace: &Workspace, names: &[String]) -> Result<()> {
    let parts = wanted(names)?;
    if parts.iter().any(|part| part.needs_libtorch) {
        setup::run(workspace)?;
    }
    let mut outcomes = Vec::new();
    for part in parts {
        eprintln!("\n== {}", part.name);
        let outcome = (part.run)(workspace);
        if let Err(error) = &outcome
            && !error.to_string().is_empty()
        {
            eprintln!("error: {error:#}");
        }
        outcomes.push((part.name, outcome.is_ok()));
    }
    eprintln!();
    for (name, passed) in &outcomes {
        println!("{:<12} {}", name, if *passed { "passed" } else { "FAILED" });
    }
    match outcomes.iter().filter(|(_, passed)| !passed).count() {
        0 => Ok(()),
        failed => Err(Failure::new(CHECK, format!("{failed} of {} parts failed", outcomes.len())).into()),
    }
}

/// The parts of these names, all where none is named.
fn wanted(names: &[String]) -> Result<Vec<Part>> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|part| part.name != *name)) {
        let known = PARTS.map(|part| part.name).join(", ");
        return Err(Failure::new(USAGE, format!("no part `{unknown}`; there are {known}")).into());
    }
    Ok(PARTS.into_iter().filter(|part| names.is_empty() || names.iter().any(|name| name == part.name)).collect())
}

fn format(workspace: &Workspace) -> Result<()> {
    step::run(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let lints = ["-D", "warnings", "-D", "clippy::undocumented_unsafe_blocks"];
    step::run(workspace.cargo().args(["clippy", "--workspace", "--all-targets", "--"]).args(lints))
}

fn docs(workspace: &Workspace) -> Result<()> {
    step::run(workspace.cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the tests, so that the README's test command holds the tree to them.
    #[test]
    fn what_only_reads_holds_for_this_tree() {
        let workspace = Workspace::find().unwrap();
        for part in PARTS.iter().filter(|part| !part.needs_libtorch) {
            (part.run)(&workspace).unwrap_or_else(|error| panic!("{}: {error:#}", part.name));
        }
    }

    #[test]
    fn parts_are_chosen_by_name_and_unknown_ones_refused() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(wanted(&[]).unwrap().len(), PARTS.len());
        let chosen = wanted(&names(&["docs", "format"])).unwrap();
        assert_eq!(chosen.iter().map(|part| part.name).collect::<Vec<_>>(), ["format", "docs"]);
        let error = wanted(&names(&["format", "fromat"])).err().unwrap();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, USAGE);
    }
}
