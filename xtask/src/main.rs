//! The repository's own commands: `cargo xtask setup | train | test | check | accept | bench | docs`.
//! Does no training and no testing itself; it brings the tools together and starts them.

mod accept;
mod bench;
mod check;
mod docs;
mod error_codes;
mod failure;
mod growth;
mod house_rules;
mod libtorch;
mod machine;
mod peers;
mod pip;
mod pytorch;
mod setup;
mod step;
mod test;
mod train;
mod workspace;

use std::process::ExitCode;

use failure::Failure;
use workspace::Workspace;

const HELP: &str = "\
cargo xtask: the commands of this repository

usage: cargo xtask <command> [arguments]

  setup            install libtorch 2.11.0 into .libtorch/ (nothing to do when it is there)
  train [args]     setup, build host and plugins, then `host train [args]`;
                   without arguments: `--preset default`, a small GPT on the embedded corpus
  test [args]      setup, build, then every test; [args] go to `cargo test --workspace`
  check [part…]    all that a change must pass, or the parts named:
                   format, house-rules, dependencies, error-codes, clippy, docs, tests
  accept [args]    every optimizer trains nanoGPT's CPU recipe and has to learn (`accept --help`)
  bench [name]     criterion benches, or the one named
  bench peers      this trainer and PyTorch on one recipe, side by side (`bench peers --help`)
  bench optimizers our optimizers' steps beside PyTorch's (`bench optimizers --help`)
  bench growth     growing while training, with state carried and dropped (`bench growth --help`)
  docs             write the reference pages that are made from the code

environment:
  LIBTORCH         a libtorch 2.11 of your own; setup then checks it and installs nothing

examples:
  cargo xtask train
  cargo xtask train --optimizer lion --lr 3e-4 --data my.txt
  cargo xtask test -- registry
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next();
    let args: Vec<String> = args.collect();
    match run(verb.as_deref(), &args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failure = error.downcast_ref::<Failure>();
            match failure {
                Some(Failure { message, .. }) if message.is_empty() => {}
                _ => eprintln!("error: {error:#}"),
            }
            ExitCode::from(failure.map_or(1, |failure| failure.exit))
        }
    }
}

fn run(verb: Option<&str>, args: &[String]) -> anyhow::Result<()> {
    let Some(verb) = verb else {
        eprint!("{HELP}");
        return Err(Failure::forwarded(failure::USAGE).into());
    };
    let workspace = Workspace::find()?;
    match verb {
        "setup" => no_arguments(verb, args).and_then(|()| setup::run(&workspace).map(drop)),
        "train" => train::run(&workspace, args),
        "test" => test::run(&workspace, args),
        "check" => check::run(&workspace, args),
        "accept" => accept::run(&workspace, args),
        "bench" => bench::run(&workspace, args),
        "docs" => no_arguments(verb, args).and_then(|()| docs::run(&workspace)),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        unknown => {
            eprintln!("{HELP}");
            Err(Failure::new(failure::USAGE, format!("unknown command `{unknown}`")).into())
        }
    }
}

/// A command that takes none must not swallow any.
fn no_arguments(verb: &str, args: &[String]) -> anyhow::Result<()> {
    match args.first() {
        None => Ok(()),
        Some(first) => {
            Err(Failure::new(failure::USAGE, format!("`{verb}` takes no arguments, found `{first}`")).into())
        }
    }
}
