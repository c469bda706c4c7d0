//! The command line: verbs, flags, help. Flags that are knobs are made from the knob table.
//! Parses; what a verb does stands in the file of its name.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command as Clap, FromArgMatches, Parser, Subcommand, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::{
    compare_args::CompareFlags,
    doctor_args::DoctorFlags,
    export_args::ExportFlags,
    generate_args::GenerateFlags,
    plugin_args::PluginVerbFlags,
    preflight_args::{EvaluateStartFlags, PreflightFlags, preflight_help},
    registry_args::RegistryVerbFlags,
};
use crate::{
    config::{
        Flags, KNOBS, Knob, Value,
        kind::{Kind, Misfit},
        presets::PRESETS,
    },
    rules::cuda::source::Storage,
};

/// Trains networks with optimizers that are plugins: exactly the one that was named, or none.
#[derive(Debug, Parser)]
#[command(
    name = "host",
    version,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    infer_subcommands = false,
    after_help = "Examples:
  host train --optimizer muon --steps 500
  host train --preset nanogpt-cpu --data tinyshakespeare.txt
  host --list-optimizers
  host describe lion"
)]
pub struct Cli {
    /// Lists, which need no verb.
    #[command(flatten)]
    pub lists: Lists,
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train a network
    #[command(after_help = train_help())]
    Train(Box<TrainFlags>),
    /// Continue a stopped run from its last checkpoint, with its own settings
    #[command(after_help = "Examples:
  host resume runs/2026-01-31-muon-1337
  host resume runs/2026-01-31-muon-1337/checkpoints/step-00000500")]
    Resume(ResumeFlags),
    /// Find out before a fleet starts whether every label trains what it names and every knob does something
    #[command(
        after_help = preflight_help(),
        mut_arg("optimizer", |arg| arg.help("Default optimizer, which is tried at four seeds [default: as configured]")),
        mut_arg("seed", |arg| arg.help("First of the four seeds [default: as configured]")),
        mut_arg("steps", |arg| arg.help("Steps of a run of the gate [default: 50, or past the last scheduled operation]")),
        mut_arg("run-dir", |arg| arg.hide(true)),
    )]
    Preflight(Box<PreflightFlags>),
    /// Evaluate a network before its first step: what `preflight` starts
    #[command(hide = true)]
    EvaluateStart(Box<EvaluateStartFlags>),
    /// Print the schedule of operations: the network, its memory and its cost after each
    #[command(after_help = "Examples:
  host plan --config my.toml
  host plan --preset nanogpt-cpu --schedule grow.toml --json")]
    Plan(Box<PlanFlags>),
    /// Print text that a trained network writes
    #[command(after_help = "Examples:
  host sample runs/my-run
  host sample runs/my-run --prompt \"To be\" --tokens 500 --temperature 0.7 --top-k 40
  host sample runs/my-run/checkpoints/best --seed 7")]
    Sample(SampleFlags),
    /// Write a trained network as one safetensors file for other programs, adapters merged
    Export(ExportFlags),
    /// Compare runs: results over seeds, tests between arms, and whether any two are one run in disguise
    Compare(CompareFlags),
    /// Tell all about a label: formula, paper, hyper-parameters, plugin
    #[command(after_help = "Examples:
  host describe lion
  host describe muon --json")]
    Describe(DescribeFlags),
    /// Settings: what they are and where each came from
    Config(ConfigFlags),
    /// The registry: check it, lock it, tell what changed
    Registry(RegistryVerbFlags),
    /// Plugins: begin one, check that it keeps its promises, look into it
    Plugin(PluginVerbFlags),
    /// Tell whether a run could begin here: libtorch, CUDA, threads, registry, plugins, each with the way out
    #[command(
        after_help = "A program that does not even start lacks libtorch itself: `cargo xtask setup`, then build again.

Ends with 0 where runs can begin, with 4 where the registry or a plugin keeps them from it, with 10 where the environment does.

Examples:
  host doctor
  host doctor --device cuda
  host doctor --json --registry bundle/registry.toml"
    )]
    Doctor(DoctorFlags),
    /// Files made from this program: completions, manual pages, reference pages
    Generate(GenerateFlags),
}

/// Lists, which need no verb.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub struct Lists {
    /// List the optimizers of the registry
    #[arg(long, group = "list")]
    pub list_optimizers: bool,
    /// List the gradient projections of the registry
    #[arg(long, group = "list")]
    pub list_projections: bool,
    /// List the architecture operations of the registry
    #[arg(long, group = "list")]
    pub list_arch_ops: bool,
    /// Print JSON for machines
    #[arg(long, requires = "list")]
    pub json: bool,
    /// Registry file [default: registry.toml here, or beside the executable]
    #[arg(long, value_name = "FILE", requires = "list", value_hint = ValueHint::FilePath)]
    pub registry: Option<PathBuf>,
    /// Folder of the plugin libraries [default: as the registry says, or the executable's]
    #[arg(long, value_name = "DIR", requires = "list", value_hint = ValueHint::DirPath)]
    pub plugin_dir: Option<PathBuf>,
}

/// Where labels and plugins come from.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryFlags {
    /// Registry file [default: registry.toml here, or beside the executable]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub registry: Option<PathBuf>,
    /// Folder of the plugin libraries [default: as the registry says, or the executable's]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub plugin_dir: Option<PathBuf>,
}

/// Flags of `host train`.
#[derive(Args, Clone, Debug, Default)]
pub struct TrainFlags {
    /// Knobs.
    #[command(flatten)]
    pub knobs: KnobFlags,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
    /// Continue the run of --run-dir if it has a checkpoint, else start it; or continue a run directory or checkpoint
    #[arg(
        long,
        value_name = "auto|PATH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "auto",
        value_parser = Resume::read
    )]
    pub resume: Option<Resume>,
    /// Check everything, print what would be trained, and stop before anything is trained or written
    #[arg(long)]
    pub dry_run: bool,
}

/// Flags of `host plan`.
#[derive(Args, Clone, Debug, Default)]
pub struct PlanFlags {
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
    /// Knobs.
    #[command(flatten)]
    pub knobs: KnobFlags,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// What `--resume` continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The run directory, if it has a checkpoint.
    Auto,
    /// A run directory or a checkpoint.
    Path(PathBuf),
}

impl Resume {
    fn read(text: &str) -> Result<Resume, String> {
        match text {
            "auto" => Ok(Resume::Auto),
            "" => Err("a path, or `auto`, is needed after `=`".into()),
            path => Ok(Resume::Path(path.into())),
        }
    }
}

/// Flags of `host resume`.
#[derive(Args, Clone, Debug)]
pub struct ResumeFlags {
    /// Run directory, or one of its checkpoints
    #[arg(value_name = "RUN-DIR|CHECKPOINT", value_hint = ValueHint::DirPath)]
    pub run_dir: PathBuf,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Flags of `host sample`.
#[derive(Args, Clone, Debug)]
pub struct SampleFlags {
    /// Run directory (its latest checkpoint is taken) or checkpoint
    #[arg(value_name = "RUN-DIR|CHECKPOINT", value_hint = ValueHint::DirPath)]
    pub from: PathBuf,
    /// Text to continue
    #[arg(long, value_name = "TEXT", default_value = "\n")]
    pub prompt: String,
    /// Tokens to write
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub tokens: usize,
    /// Divides the logits; 0 always takes the likeliest token
    #[arg(long, value_name = "NUMBER", default_value_t = 0.8, allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// Draw among the K likeliest tokens only
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: Option<u32>,
    /// Decides the draws
    #[arg(long, value_name = "N", default_value_t = 1337)]
    pub seed: u64,
}

fn temperature(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("a finite number, at least 0".into()) }
}

/// Flags of `host describe`.
#[derive(Args, Clone, Debug)]
pub struct DescribeFlags {
    /// Label of an optimizer, a projection or an architecture operation
    pub label: String,
    /// Print JSON for machines
    #[arg(long)]
    pub json: bool,
    /// Print the CUDA source of an optimizer's kernel instead, at its default hyper-parameters, for parameters of this type
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    pub cuda_source: Option<Storage>,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Flags of `host config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigFlags {
    /// What to do.
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// Verbs of `host config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the settings that `host train` would use with the same flags, as a configuration file
    #[command(after_help = "Examples:
  host config show --origin
  SEED=7 host config show --origin --preset nanogpt-cpu --steps 100
  host config show --preset nanogpt-cpu > my.toml")]
    Show(Box<ConfigShowFlags>),
}

/// Flags of `host config show`.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigShowFlags {
    /// Say behind every value where it came from
    #[arg(long)]
    pub origin: bool,
    /// Print JSON for machines: values and origins
    #[arg(long)]
    pub json: bool,
    /// Knobs.
    #[command(flatten)]
    pub knobs: KnobFlags,
    /// Registry.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// The flags that are knobs, made from the knob table, and `--set`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnobFlags(pub Flags);

fn parse_error(knob: &Knob, misfit: &Misfit) -> String {
    match misfit {
        Misfit::OutOfRange => format!("out of range: {} is expected", knob.kind.expected()),
        Misfit::Unreadable => format!("{} is expected", knob.kind.expected()),
    }
}

fn knob_arg(knob: &'static Knob, flag: &'static str) -> Arg {
    let (first, rest) = knob.meaning.split_at(1);
    let mut help = first.to_uppercase() + rest;
    if let Some(name) = knob.stems().next() {
        help.push_str(&format!(" [variable: HOST_{name}]"));
    }
    if let Some(default) = knob.default_value() {
        help.push_str(&format!(" [default: {default}]"));
    }
    let arg = Arg::new(flag).long(flag).help(help).value_name(knob.kind.placeholder()).allow_negative_numbers(true);
    let arg = match knob.kind {
        Kind::Path => arg.value_hint(ValueHint::AnyPath),
        _ => arg,
    };
    match knob.kind {
        Kind::Word(words) => {
            let parser = PossibleValuesParser::new(words.iter().copied()).map(Value::Text);
            arg.value_parser(parser)
        }
        kind => arg.value_parser(move |text: &str| kind.read(text).map_err(|misfit| parse_error(knob, &misfit))),
    }
}

impl Args for KnobFlags {
    fn augment_args(command: Clap) -> Clap {
        let flagged = KNOBS.iter().filter_map(|knob| knob.flag.map(|flag| knob_arg(knob, flag)));
        command.args(flagged).arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("Set any key of a configuration file, such as `--set train.batch_size=16`; may be repeated"),
        )
    }

    fn augment_args_for_update(command: Clap) -> Clap {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KnobFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<KnobFlags, clap::Error> {
        let mut flags = KnobFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for knob in KNOBS {
            let value = knob.flag.and_then(|flag| matches.get_one::<Value>(flag));
            self.0.values.extend(value.map(|value| (knob.key, value.clone())));
        }
        self.0.sets.extend(matches.get_many::<String>("set").into_iter().flatten().cloned());
        Ok(())
    }
}

fn train_help() -> String {
    let mut text = String::from(
        "Precedence: flag > --set > HOST_<KNOB> > TRIOS_<KNOB> > <KNOB> > configuration file > preset > registry > plugin >
default. Every run begins with a line that says what each knob is and where it came from.

Presets:
",
    );
    for preset in PRESETS {
        text.push_str(&format!("  {:<18} {}\n", preset.name, preset.summary()));
    }
    text.push_str(
        "
Examples:
  host train --preset default
  host train --preset nanogpt-cpu --data tinyshakespeare.txt --run-dir runs/first
  host train --config my.toml --optimizer lion --lr 3e-4 --set train.batch_size=32
  host train --config my.toml --run-dir runs/first --resume
  SEED=7 OPTIMIZER=muon host train --steps 200",
    );
    text
}

/// Parses a whole command line, program name first. A usage error, or help, comes back as clap's error: it prints
/// itself and knows its exit code (2 for usage, 0 for help).
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(args)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn command_line(text: &str) -> Result<Cli, clap::Error> {
        parse(std::iter::once("host").chain(text.split_whitespace()).map(OsString::from))
    }

    fn train(text: &str) -> TrainFlags {
        match command_line(&format!("train {text}")).unwrap().verb {
            Some(Verb::Train(flags)) => *flags,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clap_is_content_with_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_train_is_a_knob_or_one_of_these() {
        let others = ["set", "registry", "plugin-dir", "resume", "dry-run", "help"];
        let mut command = Cli::command();
        command.build();
        let train = command.find_subcommand("train").unwrap();
        let flags: Vec<&str> = train.get_arguments().filter_map(|arg| arg.get_long()).collect();
        for flag in &flags {
            let knob = KNOBS.iter().any(|knob| knob.flag == Some(flag));
            assert!(knob != others.contains(flag), "--{flag}");
        }
        for flag in KNOBS.iter().filter_map(|knob| knob.flag) {
            assert!(flags.contains(&flag), "--{flag}");
        }
    }

    #[test]
    fn flags_of_the_interface() {
        for flag in [
            "config",
            "optimizer",
            "lr",
            "seed",
            "steps",
            "data",
            "device",
            "run-dir",
            "resume",
            "set",
            "val-data",
            "hidden",
            "attn-layers",
            "format",
            "eval-every",
            "registry",
            "plugin-dir",
            "dry-run",
            "preset",
        ] {
            let mut command = Cli::command();
            command.build();
            let train = command.find_subcommand("train").unwrap();
            assert!(train.get_arguments().any(|arg| arg.get_long() == Some(flag)), "--{flag}");
        }
    }

    #[test]
    fn flags_reach_their_knobs() {
        let flags =
            train("--seed 7 --lr=1e-3 --optimizer lion --set a.b=c --set d=e --device cpu --attn-layers 3").knobs.0;
        assert_eq!(
            flags.values,
            [
                ("seed", Value::Integer(7)),
                ("device", Value::Text("cpu".into())),
                ("model.n_layer", Value::Integer(3)),
                ("optimizer.label", Value::Text("lion".into())),
                ("optimizer.lr", Value::Number(1e-3)),
            ]
        );
        assert_eq!(flags.sets, ["a.b=c", "d=e"]);
    }

    #[test]
    fn resume_takes_a_path_after_an_equals_sign_alone() {
        assert_eq!(train("").resume, None);
        assert_eq!(train("--resume").resume, Some(Resume::Auto));
        assert_eq!(train("--resume --seed 3").resume, Some(Resume::Auto));
        assert_eq!(train("--resume=auto").resume, Some(Resume::Auto));
        assert_eq!(train("--resume=runs/a").resume, Some(Resume::Path("runs/a".into())));
        assert!(command_line("train --resume runs/a").is_err());
        assert!(command_line("train --resume=").is_err());
    }

    #[test]
    fn usage_errors_exit_with_2_and_name_the_nearest() {
        for (text, said) in [
            ("train --stpes 5", "--steps"),
            ("trian", "train"),
            ("train --seed abc", "abc"),
            ("train --seed -1", "out of range"),
            ("train --steps 0", "out of range"),
            ("train --seed 1 --seed 2", "multiple times"),
            ("train --lr nan", "a number"),
            ("train --format f16", "f16"),
            ("train --device cdua", "cuda"),
            ("train --config=", "a path"),
            ("train extra", "extra"),
            ("--json", "list"),
            ("--list-optimizers --list-projections", "cannot be used"),
            ("--list-optimizers train", "train"),
            ("sample", "RUN-DIR"),
            ("sample x --temperature -1", "at least 0"),
            ("sample x --top-k 0", "0"),
            ("export x", "--out"),
            ("config", "show"),
            ("plugin", "new"),
            ("plugin new", "NAME"),
            ("plugin new x --kind optimiser", "optimizer"),
            ("plugin new x --rule matrices", "matrix"),
            ("sweep", "sweep"),
            ("", "Usage"),
        ] {
            let error = command_line(text).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn every_verb_shows_examples() {
        fn check(command: &Clap) {
            // What the program calls by itself needs none.
            if command.is_hide_set() {
                return;
            }
            if command.get_subcommands().next().is_none() || command.get_name() == "host" {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "{}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn lists_need_no_verb() {
        let cli = command_line("--list-optimizers --json --registry a.toml").unwrap();
        assert!(cli.lists.list_optimizers && cli.lists.json && cli.verb.is_none());
        assert_eq!(cli.lists.registry, Some("a.toml".into()));
    }
}
