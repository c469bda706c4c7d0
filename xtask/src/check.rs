//! `cargo xtask check`: everything a change must pass, all of it even when a part fails.
//! Changes no file.

use anyhow::Result;

use crate::failure::{CHECK, Failure, USAGE};
use crate::workspace::Workspace;
use crate::{error_codes, house_rules, setup, step, test};

type Part = (&'static str, fn(&Workspace) -> Result<()>);

const PARTS: [Part; 7] = [
    ("format", format),
    ("house-rules", house_rules::sources),
    ("dependencies", house_rules::dependencies),
    ("error-codes", error_codes::check),
    ("clippy", clippy),
    ("docs", docs),
    ("tests", |workspace| test::run_tests(workspace, &[])),
];

/// Runs every part, or those named, and fails if any has failed.
pub fn run(workspace: &Workspace, names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        let known = PARTS.map(|(part, _)| part).join(", ");
        return Err(Failure::new(USAGE, format!("no part `{unknown}`; there are {known}")).into());
    }
    setup::run(workspace)?;
    let mut outcomes = Vec::new();
    for (name, part) in PARTS.into_iter().filter(|(part, _)| names.is_empty() || names.iter().any(|name| name == part))
    {
        eprintln!("\n== {name}");
        let outcome = part(workspace);
        if let Err(error) = &outcome
            && !error.to_string().is_empty()
        {
            eprintln!("error: {error:#}");
        }
        outcomes.push((name, outcome.is_ok()));
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
