//! `cargo xtask bench`: the criterion benches, or one of the comparisons with peers, or that of growing.
//! Measures nothing itself.

use anyhow::Result;

use crate::failure::{Failure, USAGE};
use crate::workspace::Workspace;
use crate::{growth, peers, pytorch, setup, step, train};

/// Runs all benches, or the one named; what follows the name goes to criterion.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if let [name, rest @ ..] = args {
        match name.as_str() {
            "peers" => return peers::run(workspace, rest),
            "optimizers" => return optimizers(workspace, rest),
            "growth" => return growth::run(workspace, rest),
            _ => {}
        }
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

const OPTIMIZERS_HELP: &str = "\
cargo xtask bench optimizers [options]

Steps of our optimizers and of PyTorch's and pytorch_optimizer's, in turn, on the same parameters and gradients, after
the changes were compared. Prints a Markdown table.

  --device cpu|cuda    [default: cpu]
  --size 10M|124M      nanoGPT's small GPT, or GPT-2 [default: 10M]
  --optimizer LABEL    may be repeated [default: all that have a peer]
  --threads N          threads of both sides [default: all]
  --rounds N           medians are taken over as many [default: 5]
  --seconds S          how long each side runs per round [default: 0.5]
";

fn optimizers(workspace: &Workspace, args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{OPTIMIZERS_HELP}");
        return Ok(());
    }
    setup::run(workspace)?;
    let python = pytorch::python(workspace)?;
    step::run(&mut train::build(workspace)?)?;
    let mut cargo = workspace.cargo();
    cargo.args(["bench", "--package", "host", "--profile", "dev", "--bench", "optimizer_peers", "--"]);
    step::run(cargo.args(args).arg("--python").arg(python))
}
