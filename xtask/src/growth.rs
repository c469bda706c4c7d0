//! `cargo xtask bench growth`: what growing while training costs and saves, with state carried and with state dropped.
//! Trains; the operations and what becomes of state are the host's.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::accept::{self, RATES, RECIPE};
use crate::failure::{CHECK, Failure, USAGE};
use crate::peers::{self, number};
use crate::workspace::Workspace;
use crate::{setup, step, train};

const HELP: &str = "\
cargo xtask bench growth --data FILE [options]

Two tables.
1. The preset nanogpt-cpu-grow, which ends as the network of nanogpt-cpu, beside that preset, at equal compute: with the
   optimizer's state carried over each operation, and with all of it dropped.
2. For every optimizer a network half as large, grown once after 200 steps: its loss before, and twenty steps later with
   state carried and with state dropped.

  --data FILE        text, UTF-8; nothing is downloaded
  --seeds N,N        of the first table [default: 1,2,3]
  --optimizer LABEL  only this one in the second table; may be repeated; `none` leaves the table out
  --record           write the tables to benches/RESULTS.md
";

/// Presets of the first table.
const WHOLE: &str = "nanogpt-cpu";
const GROWN: &str = "nanogpt-cpu-grow";

/// Steps before the operation in the second table, and after it.
const BEFORE: u64 = 200;
const AFTER: u64 = 20;

/// What is left as it is, and what becomes of state.
const STATES: [&str; 2] = ["carry", "reset"];

/// Operations of the second table, each of which keeps what the network computes.
const OPERATIONS: [&str; 2] = ["widen-mlp", "stack-layers"];

/// Runs both, prints the tables.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let options = Options::parse(args)?;
    let rates = fs::read_to_string(workspace.root.join(RATES)).with_context(|| format!("cannot read {RATES}"))?;
    options.knows(&accept::rates(&rates)?)?;
    setup::run(workspace)?;
    step::run(&mut train::build(workspace)?)?;
    let compute = at_equal_compute(workspace, &options)?;
    println!("{compute}");
    let labels = twenty_steps_later(workspace, &options)?;
    println!("{labels}");
    if options.record {
        let seeds: Vec<String> = options.seeds.iter().map(u64::to_string).collect();
        let command = format!("cargo xtask bench growth --data tinyshakespeare.txt --seeds {}", seeds.join(","));
        peers::record_section(workspace, "Growing while training", &command, &format!("{compute}\n{labels}"))?;
    }
    Ok(())
}

/// A run's evaluations on the way: steps done, nats per token. After an operation at the same step there is another.
type Evaluations = Vec<(u64, f64)>;

fn at_equal_compute(workspace: &Workspace, options: &Options) -> Result<String> {
    let stages = stages(workspace, GROWN)?;
    let whole = stages.last().map(|stage| stage.1).context("the plan has no stage")?;
    let steps = steps_of(workspace, WHOLE)?;
    let variants = [(WHOLE, "carry"), (GROWN, "carry"), (GROWN, "reset")];
    let mut finals = [const { Vec::new() }; 3];
    let mut curves = [const { Vec::new() }; 3];
    for seed in &options.seeds {
        for (variant, (preset, state)) in variants.iter().enumerate() {
            let state = format!("growth.state={state}");
            let seed = seed.to_string();
            let run = format!("{preset}-{}-{seed}", variant);
            let args = ["--preset", preset, "--seed", &seed, "--set", &state, "--set", "train.eval_steps=100"];
            let metrics = train_one(workspace, options, &run, &args)?;
            let outcome =
                peers::outcome_of_metrics(&metrics).with_context(|| format!("{run} has no last evaluation"))?;
            finals[variant].push(outcome.val_loss);
            curves[variant].push(evaluations(&metrics));
        }
    }
    let spent = |variant: usize, step: u64| match variant {
        0 => step as f64 / steps as f64,
        _ => share(&stages, step) / (whole * steps as f64),
    };
    let mut text =
        String::from("| compute | nanogpt-cpu | grown, state carried | grown, state dropped |\n|---|---|---|---|\n");
    for eighth in 1..8 {
        let part = f64::from(eighth) / 8.0;
        let _ = write!(text, "| {eighth}/8 |");
        for (variant, runs) in curves.iter().enumerate() {
            let latest =
                |run: &Evaluations| run.iter().rfind(|(step, _)| spent(variant, *step) <= part).map(|one| one.1);
            let _ = write!(text, " {} |", mean(&runs.iter().filter_map(latest).collect::<Vec<_>>()));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "| the end | {} | {} | {} |", mean(&finals[0]), mean(&finals[1]), mean(&finals[2]));
    let _ = writeln!(
        text,
        "\nNats per character, mean of {} seeds; at the end over the whole validation text, before it the latest of 100 \
         windows within that share of the compute (FLOPs as `host plan` counts them; the grown runs end at {:.3} of it). \
         The end by seed: {}.",
        options.seeds.len(),
        spent(1, steps_of(workspace, GROWN)?),
        finals
            .iter()
            .map(|all| all.iter().map(|loss| format!("{loss:.4}")).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join("; ")
    );
    Ok(text)
}

fn twenty_steps_later(workspace: &Workspace, options: &Options) -> Result<String> {
    let read =
        |name: &str| fs::read_to_string(workspace.root.join(name)).with_context(|| format!("cannot read {name}"));
    let (rates, recipe) = (accept::rates(&read(RATES)?)?, read(RECIPE)?);
    let small = recipe.replace("n_layer = 4", "n_layer = 2").replace("n_embd = 128", "n_embd = 128\nmlp_width = 256");
    let mut text = String::from(
        "| optimizer | before | widened, carried | widened, dropped | stacked, carried | stacked, dropped |\n\
         |---|---|---|---|---|---|\n",
    );
    let (mut worse, mut rows) = (Vec::new(), 0);
    for (label, values) in rates.iter().filter(|(label, _)| options.takes(label)) {
        let mut cells = Vec::new();
        let mut before = f64::NAN;
        for operation in OPERATIONS {
            for state in STATES {
                let schedule =
                    format!("\n[[schedule]]\nname = \"{operation}\"\nmax_wait_steps = {BEFORE}\nreevaluate = true\n");
                let growth = format!("\n[growth]\nstate = \"{state}\"\n");
                let config = accept::config(&small, label, values) + &growth + &schedule;
                let run = format!("{label}-{operation}-{state}");
                let file = workspace.output_folder()?.join("growth").join(format!("{run}.toml"));
                fs::create_dir_all(file.parent().context("a folder")?)?;
                fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
                let (file, steps) = (file.display().to_string(), (BEFORE + AFTER + 1).to_string());
                let args = [
                    "--config",
                    &file,
                    "--steps",
                    &steps,
                    "--set",
                    "train.eval_every=20",
                    "--set",
                    "train.eval_steps=60",
                ];
                let found = evaluations(&train_one(workspace, options, &run, &args)?);
                let at = |step: u64| found.iter().find(|(at, _)| *at == step).map(|one| one.1);
                before = at(BEFORE).with_context(|| format!("{run} was not evaluated after step {BEFORE}"))?;
                let after = at(BEFORE + AFTER).with_context(|| format!("{run} was not evaluated at its end"))?;
                if state == "carry" && after > 1.01 * before {
                    worse.push(format!("{label} ({operation})"));
                }
                cells.push(format!("{after:.4}"));
            }
        }
        let _ = writeln!(text, "| {label} | {before:.4} | {} |", cells.join(" | "));
        rows += 1;
    }
    if rows == 0 {
        return Ok(String::new());
    }
    let worse = if worse.is_empty() { "none".to_string() } else { worse.join(", ") };
    let _ = writeln!(
        text,
        "\n2 layers and 256 hidden units, grown to 512 or to 4 layers after step {BEFORE}; rates of {RATES}; nats per \
         character on 60 windows, before the operation and {AFTER} steps later. More than 1 % above the loss before, with \
         state carried: {worse}."
    );
    Ok(text)
}

/// Trains one run, without samples and checkpoints, and gives its metrics.
fn train_one(workspace: &Workspace, options: &Options, name: &str, args: &[&str]) -> Result<String> {
    let short = ["--set", "run.sample_tokens=0", "--set", "run.checkpoint_every=0"];
    accept::metrics_of_run(workspace, &format!("growth/{name}"), &options.data, &[args, &short].concat())
}

/// Evaluations on the way.
fn evaluations(metrics: &str) -> Evaluations {
    let lines = metrics.lines().filter(|line| line.contains("\"kind\":\"eval\"") && line.contains("\"whole\":false"));
    lines.filter_map(|line| Some((number(line, "step")? as u64, number(line, "val_loss")?))).collect()
}

/// Stages of a preset's plan: the step each begins after, and FLOPs per token.
fn stages(workspace: &Workspace, preset: &str) -> Result<Vec<(u64, f64)>> {
    let mut host = Command::new(workspace.host()?);
    host.current_dir(&workspace.root).args(["plan", "--preset", preset, "--json"]);
    let printed = step::answer(&mut host)?;
    let stage = |text: &str| {
        let flops = number(text, "flops_per_token")?;
        let fires = text.split_once("\"fires\":")?.1.split('"').nth(1)?;
        let after = fires.rsplit(' ').next().filter(|word| !word.is_empty()).map_or(Ok(0), str::parse);
        Some((after.ok()?, flops))
    };
    let stages: Vec<(u64, f64)> = printed.split("},").filter_map(stage).collect();
    if stages.is_empty() {
        return Err(Failure::new(CHECK, format!("the plan of {preset} is not understood: {printed}")).into());
    }
    Ok(stages)
}

/// FLOPs of the steps up to `step`, for one token of each.
fn share(stages: &[(u64, f64)], step: u64) -> f64 {
    let ends = stages.iter().skip(1).map(|stage| stage.0).chain([u64::MAX]);
    stages.iter().zip(ends).map(|((begin, flops), end)| step.min(end).saturating_sub(*begin) as f64 * flops).sum()
}

fn steps_of(workspace: &Workspace, preset: &str) -> Result<u64> {
    let name = format!("configs/{preset}.toml");
    let text = fs::read_to_string(workspace.root.join(&name)).with_context(|| format!("cannot read {name}"))?;
    let steps = text.lines().find_map(|line| line.strip_prefix("steps = ")?.parse().ok());
    steps.with_context(|| format!("{name} says no steps"))
}

fn mean(values: &[f64]) -> String {
    match values.len() {
        0 => "-".to_string(),
        count => format!("{:.4}", values.iter().sum::<f64>() / count as f64),
    }
}

/// What the command line says.
#[derive(Debug, PartialEq)]
struct Options {
    data: PathBuf,
    seeds: Vec<u64>,
    labels: Vec<String>,
    record: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let usage = |message: String| Failure::new(USAGE, message).hint("`cargo xtask bench growth --help`");
        let mut options = Options { data: PathBuf::new(), seeds: vec![1, 2, 3], labels: Vec::new(), record: false };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| usage(format!("`{flag}` needs a value")));
            match flag.as_str() {
                "--record" => options.record = true,
                "--data" => options.data = std::path::absolute(value()?)?,
                "--optimizer" => options.labels.push(value()?.clone()),
                "--seeds" => {
                    let text = value()?;
                    let seeds: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
                    options.seeds = seeds.map_err(|_| usage(format!("`--seeds {text}` is no list of numbers")))?;
                }
                unknown => return Err(usage(format!("unknown argument `{unknown}`")).into()),
            }
        }
        if !options.data.is_file() {
            return Err(usage(format!("`--data {}` is no file", options.data.display())).into());
        }
        Ok(options)
    }

    /// Whether every label has a rate, or the one word `none` stands for no table.
    fn knows(&self, rates: &[(String, String)]) -> Result<()> {
        if self.labels == ["none"] {
            return Ok(());
        }
        match self.labels.iter().find(|label| rates.iter().all(|(known, _)| known != *label)) {
            Some(label) => Err(Failure::new(USAGE, format!("{RATES} has no line for `{label}`")).into()),
            None => Ok(()),
        }
    }

    fn takes(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|one| one == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compute_adds_up_over_stages() {
        let stages = [(0, 1.0), (10, 2.0), (15, 4.0)];
        for (step, expected) in [(0, 0.0), (4, 4.0), (10, 10.0), (12, 14.0), (15, 20.0), (20, 40.0)] {
            assert_eq!(share(&stages, step), expected, "{step}");
        }
    }

    #[test]
    fn evaluations_on_the_way_are_read() {
        let metrics = "{\"step\":20,\"kind\":\"eval\",\"val_loss\":3.5,\"whole\":false}\n\
                       {\"step\":21,\"kind\":\"train\",\"loss\":3.0}\n{\"step\":21,\"kind\":\"eval\",\"val_loss\":3.1,\"whole\":true}\n";
        assert_eq!(evaluations(metrics), [(20, 3.5)]);
        assert_eq!((mean(&[1.0, 2.0]), mean(&[])), ("1.5000".to_string(), "-".to_string()));
    }

    #[test]
    fn options_are_understood_or_refused() {
        let parse = |line: &str| Options::parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let options = parse("--data Cargo.toml --seeds 4,5 --optimizer lion --record").unwrap();
        assert_eq!((&options.seeds, options.record), (&vec![4, 5], true));
        assert!(options.takes("lion") && !options.takes("adamw"));
        let rates = [("lion".to_string(), String::new())];
        for (labels, is_known) in [("lion", true), ("none", true), ("lino", false), ("none --optimizer lion", false)] {
            let options = parse(&format!("--data Cargo.toml --optimizer {labels}")).unwrap();
            assert_eq!(options.knows(&rates).is_ok(), is_known, "{labels}");
        }
        for line in ["", "--data", "--data Cargo.toml --seeds x", "--dat a"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
