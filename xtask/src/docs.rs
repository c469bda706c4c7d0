//! `cargo xtask docs`: writes the reference pages that are made from the code.
//! Writes no prose; pages by hand stay as they are. That a page is current is a test.

use anyhow::Result;

use crate::failure::{BUG, Failure};
use crate::workspace::Workspace;
use crate::{setup, step};

/// Writes `docs/reference/configuration.md` from the table of knobs.
pub fn run(workspace: &Workspace) -> Result<()> {
    setup::run(workspace)?;
    let page = "config::reference::tests::write_reference_page";
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--package", "host", "--lib", page, "--", "--exact", "--ignored"]);
    let (lines, outcome) = step::run_and_read(&mut cargo)?;
    outcome?;
    match lines.iter().any(|line| line.starts_with("test result: ok. 1 passed")) {
        true => Ok(()),
        false => Err(Failure::new(BUG, format!("nothing was written: there is no `{page}`")).into()),
    }
}
