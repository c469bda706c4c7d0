//! `cargo xtask bench`: the criterion benches, or the peers.
//! Measures nothing itself.

use anyhow::Result;

use crate::failure::{Failure, USAGE};
use crate::workspace::Workspace;
use crate::{peers, setup, step, train};

/// Runs all benches, or the one named; what follows the name goes to criterion.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if let [name, rest @ ..] = args
        && name == "peers"
    {
        return peers::run(workspace, rest);
    }
    setup::run(workspace)?;
    // The benches load the plugins as the host does, so these have to be there first.
    step::run(&mut train::build(workspace)?)?;
    let mut cargo = workspace.cargo();
    // The day-to-day profile is optimized, and it is what `train` runs: measure that.
    cargo.args(["bench", "--package", "host", "--profile", "dev"]);
    match args {
        [] => cargo.args(["--benches"]),
        [name, ..] if name.starts_with('-') => {
            let message = format!("the name of a bench comes first, found `{name}`");
            return Err(Failure::new(USAGE, message).into());
        }
        [name, rest @ ..] => cargo.args(["--bench", name, "--"]).args(rest),
    };
    step::run(&mut cargo)
}
