//! `cargo xtask docs`: writes the reference pages that are made from the code.
//! Writes no prose; pages by hand stay as they are. That a page is current is a test.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{setup, step, train};

/// Builds the host and the plugins, and lets the host write what it knows of itself and of them.
pub fn run(workspace: &Workspace) -> Result<()> {
    setup::run(workspace)?;
    step::run(&mut train::build(workspace)?)?;
    let mut host = Command::new(workspace.host()?);
    host.args(["generate", "reference", "--dir"]).arg(workspace.root.join("docs/reference"));
    step::run(host.arg("--registry").arg(workspace.root.join("registry.toml")))
}
