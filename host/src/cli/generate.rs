//! `host generate completions|man|reference`: files that are made from the definition of the command line.
//! Describes nothing itself: flags, knobs and plugins say what they are.

use std::{fs, io, path::Path};

use clap::{Command, CommandFactory, builder::PossibleValuesParser};
use clap_complete::Shell;

use super::{
    args::Cli,
    generate_args::{CompletionsFlags, GenerateVerb, ManFlags, ReferenceFlags},
    stdout,
};
use crate::{
    config::presets::PRESETS,
    fault::{Exit, Fault, Faults},
    reference,
    registry::{Kind, Registry},
};

/// `host generate`.
///
/// # Errors
/// Faults of the registry that was named or is needed; D133 where a page cannot be written.
pub fn generate(verb: &GenerateVerb) -> anyhow::Result<()> {
    match verb {
        GenerateVerb::Completions(flags) => completions(flags),
        GenerateVerb::Man(flags) => man(flags),
        GenerateVerb::Reference(flags) => write_reference(flags),
    }
}

fn completions(flags: &CompletionsFlags) -> anyhow::Result<()> {
    let registry = match Registry::find(flags.registry.as_deref()) {
        Ok(registry) => Some(registry),
        Err(faults) if flags.registry.is_some() => return Err(faults.into()),
        Err(faults) => {
            anstream::eprintln!("{faults}\nlabels are not completed; all else is");
            None
        }
    };
    stdout::print(&script(flags.shell, registry.as_ref()))
}

/// The completion script, with the labels that the registry has now.
fn script(shell: Shell, registry: Option<&Registry>) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut completed(&Cli::command(), registry), "host", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// What is completed: the visible verbs and flags, and the values of those whose values are known.
fn completed(command: &Command, registry: Option<&Registry>) -> Command {
    let labels = |kind| registry.map_or(Vec::new(), |registry| registry.labels(kind));
    let name = command.get_name().to_string();
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned().map(|arg| {
        let words: Vec<&str> = match arg.get_id().as_str() {
            "optimizer" => labels(Kind::Optimizer),
            "label" if name == "describe" => Kind::ALL.into_iter().flat_map(labels).collect(),
            "preset" => PRESETS.iter().map(|preset| preset.name).collect(),
            _ => Vec::new(),
        };
        match words.is_empty() {
            true => arg,
            false => arg.value_parser(PossibleValuesParser::new(words.into_iter().map(str::to_string))),
        }
    });
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(|verb| completed(verb, registry));
    let mut copy = Command::new(name.clone()).disable_help_subcommand(true).args(arguments).subcommands(verbs);
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    match command.get_version() {
        Some(version) => copy.version(version.to_string()),
        None => copy,
    }
}

fn man(flags: &ManFlags) -> anyhow::Result<()> {
    match &flags.dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            stdout::print(&String::from_utf8_lossy(&page))
        }
        Some(folder) => {
            let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
            Ok(written.map_err(|error| unwritable(folder, &error))?)
        }
    }
}

fn write_reference(flags: &ReferenceFlags) -> anyhow::Result<()> {
    let registry = super::find(&flags.registry)?;
    let pages = reference::pages(&registry)?;
    let written = fs::create_dir_all(&flags.dir).and_then(|()| {
        pages.iter().try_for_each(|(name, text)| crate::run::atomic::write_file(&flags.dir.join(name), text.as_bytes()))
    });
    written.map_err(|error| Faults::from(unwritable(&flags.dir, &error)))?;
    Ok(())
}

fn unwritable(folder: &Path, error: &io::Error) -> Fault {
    Fault::new("D133", Exit::Data, "a page cannot be written")
        .at(folder.display().to_string())
        .note("system", error.to_string())
        .hint("give another `--dir`")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::config::KNOBS;

    const REGISTRY: &str = "[plugins]\np = \"p\"\n[[optimizer]]\nlabel = \"tiger\"\nplugin = \"p\"\n\
        [[projection]]\nlabel = \"sideways\"\nplugin = \"p\"\n";

    fn registry() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        fs::write(&path, REGISTRY).unwrap();
        let registry = Registry::open(&path).unwrap();
        (folder, registry)
    }

    #[test]
    fn every_shell_completes_knobs_and_labels_and_nothing_hidden() {
        let (_folder, registry) = registry();
        for shell in Shell::value_variants() {
            let script = script(*shell, Some(&registry));
            for flag in KNOBS.iter().filter_map(|knob| knob.flag) {
                assert!(script.contains(flag), "{shell}: --{flag}");
            }
            // The generators of these two shells complete no values.
            if !matches!(shell, Shell::Elvish | Shell::PowerShell) {
                assert!(script.contains("tiger"), "{shell}");
                assert!(script.contains("nanogpt-cpu"), "{shell}");
            }
            assert!(!script.contains("check-one"), "{shell}");
        }
        assert!(!script(Shell::Bash, None).contains("tiger"));
    }

    #[test]
    fn any_label_is_completed_where_it_is_described() {
        let (_folder, registry) = registry();
        let script = script(Shell::Zsh, Some(&registry));
        assert!(script.contains("sideways"), "a projection can be described, and is nothing to train with");
    }
}
