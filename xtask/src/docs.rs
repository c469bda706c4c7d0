//! `cargo xtask docs`: writes the reference pages that are made from the code.
//! Writes no prose; pages by hand stay as they are. That a page is current is a test.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{setup, step};

/// Writes `docs/reference/configuration.md` from the table of knobs.
pub fn run(workspace: &Workspace) -> Result<()> {
    setup::run(workspace)?;
    let page = "config::reference::tests::write_reference_page";
    step::run(workspace.cargo().args(["test", "--package", "host", "--lib", page, "--", "--exact", "--ignored"]))
}
