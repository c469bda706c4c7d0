//! The command line: one verb per file. Parses, dispatches, and turns errors into text and exit codes.
//! Computes nothing.

pub mod args;

mod compare;
pub mod compare_args;
mod config_show;
mod describe;
mod doctor;
pub mod doctor_args;
mod export;
pub mod export_args;
mod generate;
pub mod generate_args;
mod list;
mod plan;
pub mod plugin_args;
mod plugin_new;
mod plugin_verbs;
mod preflight;
pub mod preflight_args;
pub mod registry_args;
mod registry_verbs;
mod sample;
mod stdout;
mod train;

use std::{ffi::OsString, path::PathBuf};

use clap::Parser;

use self::{
    args::{Cli, ConfigVerb, RegistryFlags, Verb},
    plugin_args::PluginVerb,
    registry_args::RegistryVerb,
};
use crate::{
    config::Variables,
    fault::{Exit, Fault, Faults},
    registry::{Kind, Registry},
};

/// What a verb is told besides its flags.
pub struct Invocation {
    /// The command line as text, program first; for the record.
    pub argv: Vec<String>,
    /// The environment.
    pub variables: Variables,
    /// The working directory; it is never changed.
    pub cwd: PathBuf,
}

/// Runs the command line to its end and says how it went.
pub fn main(args: impl Iterator<Item = OsString>, variables: impl Iterator<Item = (OsString, OsString)>) -> Exit {
    let args: Vec<OsString> = args.collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // help and version are data and end well; clap prints each to its stream
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let argv = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(error) => {
            return report(&Fault::new("E002", Exit::Environment, format!("no working directory: {error}")).into());
        }
    };
    let invocation = Invocation { argv, variables: variables.collect(), cwd };
    dispatch(cli, &invocation).unwrap_or_else(|error| report(&error))
}

fn dispatch(cli: Cli, invocation: &Invocation) -> anyhow::Result<Exit> {
    match cli.verb {
        Some(Verb::Train(flags)) => train::train(&flags, invocation),
        Some(Verb::Resume(flags)) => train::resume(&flags, invocation),
        Some(Verb::Preflight(flags)) => preflight::preflight(&flags, invocation),
        Some(Verb::EvaluateStart(flags)) => preflight::evaluate_start(&flags, invocation),
        Some(Verb::Plan(flags)) => plan::plan(&flags, invocation),
        Some(Verb::Sample(flags)) => sample::sample(&flags, invocation),
        Some(Verb::Export(flags)) => export::export(&flags, invocation),
        Some(Verb::Compare(flags)) => compare::compare(&flags),
        Some(Verb::Describe(flags)) => {
            let registry = find(&flags.registry)?;
            match flags.cuda_source {
                Some(storage) => describe::cuda_source(&registry, &flags.label, storage)?,
                None => describe::describe(&registry, &flags.label, flags.json)?,
            }
            Ok(Exit::Ok)
        }
        Some(Verb::Config(flags)) => match flags.verb {
            ConfigVerb::Show(flags) => config_show::show(&flags, invocation),
        },
        Some(Verb::Registry(flags)) => match &flags.verb {
            RegistryVerb::Check(flags) => registry_verbs::check(&find(&flags.registry)?, flags.json),
            RegistryVerb::Lock(flags) => registry_verbs::lock(&find(&flags.registry)?, flags.conformance),
            RegistryVerb::Diff(flags) => registry_verbs::diff(&find(flags)?),
        }
        .map(|()| Exit::Ok),
        Some(Verb::Plugin(flags)) => match &flags.verb {
            PluginVerb::New(flags) => plugin_new::plugin_new(flags).map(|()| Exit::Ok),
            PluginVerb::Check(flags) => plugin_verbs::check(flags, find(&flags.registry)),
            PluginVerb::Inspect(flags) => plugin_verbs::inspect(&flags.file, flags.json).map(|()| Exit::Ok),
            PluginVerb::CheckOne(flags) => {
                plugin_verbs::check_one(flags, find(&flags.registry).ok().as_ref());
                Ok(Exit::Ok)
            }
        },
        Some(Verb::Doctor(flags)) => doctor::doctor(&flags, find(&flags.registry)),
        Some(Verb::Generate(flags)) => generate::generate(&flags.verb).map(|()| Exit::Ok),
        None => {
            let lists = cli.lists;
            let kind = match (lists.list_optimizers, lists.list_projections) {
                (true, _) => Kind::Optimizer,
                (_, true) => Kind::Projection,
                _ => Kind::ArchOp,
            };
            let flags = RegistryFlags { registry: lists.registry, plugin_dir: lists.plugin_dir };
            list::list(&find(&flags)?, kind, lists.json).map(|()| Exit::Ok)
        }
    }
}

fn find(flags: &RegistryFlags) -> Result<Registry, Faults> {
    let registry = Registry::find(flags.registry.as_deref())?;
    Ok(match &flags.plugin_dir {
        Some(folder) => registry.with_plugin_dir(folder),
        None => registry,
    })
}

/// Prints an error as its faults say, or as what it is; gives the exit code.
fn report(error: &anyhow::Error) -> Exit {
    if let Some(faults) = error.downcast_ref::<Faults>() {
        anstream::eprintln!("{faults}");
        faults.exit()
    } else if let Some(fault) = error.downcast_ref::<Fault>() {
        anstream::eprintln!("{fault}");
        fault.exit
    } else {
        anstream::eprintln!("error: {error:#}");
        Exit::Bug
    }
}
