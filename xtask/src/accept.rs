//! `cargo xtask accept`: every optimizer of the registry trains nanoGPT's CPU recipe for 300 steps and has to learn.
//! Chooses no hyper-parameters; they stand in `benches/rates.toml`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::failure::{CHECK, Failure, USAGE};
use crate::workspace::Workspace;
use crate::{peers, setup, step, train};

const HELP: &str = "\
cargo xtask accept --data FILE [options]

Trains nanoGPT's CPU recipe (4 layers, 4 heads, width 128, context 64, batch 12) for 300 steps with every optimizer of
the registry, at its rate in benches/rates.toml. Fails where a loss over the whole validation text is not below the
bound. The bound is the entropy of single characters: whoever is above it has learnt no context.

  --data FILE        text, UTF-8; nothing is downloaded
  --optimizer LABEL  only this one; may be repeated
  --bound NATS       [default: 3.31, tinyshakespeare's]
  --record           write the table to benches/RESULTS.md
";

/// Steps of one run.
const STEPS: u64 = 300;
pub const RATES: &str = "benches/rates.toml";
pub const RECIPE: &str = "configs/nanogpt-cpu.toml";

/// Trains all, prints the table, and fails where one does not learn.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let options = Options::parse(args)?;
    setup::run(workspace)?;
    step::run(&mut train::build(workspace)?)?;
    let read =
        |name: &str| fs::read_to_string(workspace.root.join(name)).with_context(|| format!("cannot read {name}"));
    let rates = rates(&read(RATES)?)?;
    let recipe = read(RECIPE)?;
    let labels = registered(workspace)?;
    if let Some(label) = options.labels.iter().find(|label| !labels.contains(label)) {
        return Err(Failure::new(USAGE, format!("the registry has no optimizer `{label}`")).into());
    }
    let mut rows = Vec::new();
    for label in labels.iter().filter(|label| options.labels.is_empty() || options.labels.contains(label)) {
        let known = rates.iter().find(|(rate, _)| rate == label);
        let (_, values) = known.with_context(|| format!("{RATES} has no line for `{label}`"))?;
        let val_loss = train_one(workspace, label, &config(&recipe, label, values), &options.data)?;
        rows.push((label.clone(), values.clone(), val_loss));
    }
    let table = table(&rows);
    print!("{table}");
    if options.record {
        let command = format!("cargo xtask accept --data tinyshakespeare.txt, {STEPS} steps");
        peers::record_section(workspace, "Every optimizer on nanoGPT's CPU recipe", &command, &table)?;
    }
    let high: Vec<&str> = rows
        .iter()
        .filter(|(.., val_loss)| val_loss.is_nan() || *val_loss >= options.bound)
        .map(|(label, ..)| &**label)
        .collect();
    if high.is_empty() {
        return Ok(());
    }
    let message = format!("not below {} nats after {STEPS} steps: {}", options.bound, high.join(", "));
    Err(Failure::new(CHECK, message).into())
}

fn train_one(workspace: &Workspace, label: &str, config: &str, data: &Path) -> Result<f64> {
    let folder = workspace.output_folder()?.join("accept");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{label}.toml"));
    fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
    let (file, steps) = (file.display().to_string(), STEPS.to_string());
    let short = ["--set", "train.eval_every=0", "--set", "run.sample_tokens=0"];
    let args = [&["--config", &file, "--steps", &steps], &short[..]].concat();
    let metrics = metrics_of_run(workspace, &format!("accept/{label}"), data, &args)?;
    let outcome = peers::outcome_of_metrics(&metrics);
    outcome.map(|outcome| outcome.val_loss).with_context(|| format!("the run of {label} has no last evaluation"))
}

/// Trains on the CPU into this run directory below the output folder, instead of what is there, and gives the metrics.
pub fn metrics_of_run(workspace: &Workspace, run: &str, data: &Path, args: &[&str]) -> Result<String> {
    let run = workspace.output_folder()?.join(run);
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("cannot remove {}", run.display()))?;
    }
    if let Some(folder) = run.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut host = Command::new(workspace.host()?);
    host.current_dir(&workspace.root).args(["train", "--device", "cpu"]).args(args);
    host.arg("--data").arg(data).arg("--run-dir").arg(&run);
    step::run_and_read(&mut host)?.1?;
    fs::read_to_string(run.join("metrics.jsonl")).context("the run left no metrics")
}

/// Labels of all optimizers, as the host lists them.
fn registered(workspace: &Workspace) -> Result<Vec<String>> {
    let mut host = Command::new(workspace.host()?);
    host.current_dir(&workspace.root).args(["--list-optimizers", "--json"]);
    let listed = step::answer(&mut host)?;
    let labels: Vec<String> =
        listed.split("\"label\":").skip(1).filter_map(|rest| rest.split('"').nth(1).map(str::to_string)).collect();
    if labels.is_empty() {
        return Err(Failure::new(CHECK, "the host lists no optimizer").into());
    }
    Ok(labels)
}

/// Label and values of every line `label = { lr = 1e-3, … }`.
pub fn rates(text: &str) -> Result<Vec<(String, String)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rate = |line: &str| {
        let (label, values) = line.split_once('=')?;
        let values = values.trim().strip_prefix('{')?.strip_suffix('}')?;
        Some((label.trim().to_string(), values.trim().to_string()))
    };
    lines.map(|line| rate(line).with_context(|| format!("{RATES}: `{line}` is not `label = {{ … }}`"))).collect()
}

/// The recipe with another optimizer.
pub fn config(recipe: &str, label: &str, values: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in recipe.lines() {
        if line.starts_with('[') {
            inside = line == "[optimizer]";
        }
        if !inside {
            text += line;
            text.push('\n');
        }
    }
    let _ = writeln!(text, "\n[optimizer]\nlabel = \"{label}\"");
    for value in values.split(", ") {
        let _ = writeln!(text, "{value}");
    }
    text
}

fn table(rows: &[(String, String, f64)]) -> String {
    let mut text = String::from("| optimizer | hyper-parameters | val loss |\n|---|---|---|\n");
    for (label, values, val_loss) in rows {
        let _ = writeln!(text, "| {label} | {values} | {val_loss:.4} |");
    }
    text
}

/// What the command line says.
#[derive(Debug, PartialEq)]
struct Options {
    data: PathBuf,
    labels: Vec<String>,
    bound: f64,
    record: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let usage = |message: String| Failure::new(USAGE, message).hint("`cargo xtask accept --help`");
        let mut options = Options { data: PathBuf::new(), labels: Vec::new(), bound: 3.31, record: false };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| usage(format!("`{flag}` needs a value")));
            match flag.as_str() {
                "--record" => options.record = true,
                "--data" => options.data = std::path::absolute(value()?)?,
                "--optimizer" => options.labels.push(value()?.clone()),
                "--bound" => {
                    let text = value()?;
                    options.bound = text.parse().map_err(|_| usage(format!("`--bound {text}` is no number")))?;
                }
                unknown => return Err(usage(format!("unknown argument `{unknown}`")).into()),
            }
        }
        if options.data.as_os_str().is_empty() {
            return Err(usage("`--data` is missing".to_string()).into());
        }
        if !options.data.is_file() {
            return Err(Failure::new(CHECK, format!("there is no file {}", options.data.display())).into());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_becomes_the_recipe_s_optimizer() {
        let rates = rates("# a\n\nlion = { lr = 3e-4, nesterov = true }\n").unwrap();
        assert_eq!(rates, [("lion".to_string(), "lr = 3e-4, nesterov = true".to_string())]);
        let text =
            config("[train]\nsteps = 2\n[optimizer]\nlabel = \"adamw\"\nlr = 1\n[run]\nx = 1\n", "lion", &rates[0].1);
        assert_eq!(
            text,
            "[train]\nsteps = 2\n[run]\nx = 1\n\n[optimizer]\nlabel = \"lion\"\nlr = 3e-4\nnesterov = true\n"
        );
        assert!(super::rates("lion = 3e-4").is_err());
    }

    #[test]
    fn options_are_understood_or_refused() {
        let parse = |line: &str| Options::parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let options = parse("--data Cargo.toml --optimizer lion --bound 2.5 --record").unwrap();
        assert_eq!((options.labels, options.bound, options.record), (vec!["lion".to_string()], 2.5, true));
        for line in ["", "--data", "--data Cargo.toml --bound x", "--dat a"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
