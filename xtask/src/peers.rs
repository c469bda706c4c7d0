//! `cargo xtask bench peers`: this trainer and PyTorch on one recipe, one after the other, several times.
//! Computes no losses and measures no steps; both sides say their own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::failure::{CHECK, Failure, USAGE};
use crate::workspace::Workspace;
use crate::{pytorch, setup, step, train};

const HELP: &str = "\
cargo xtask bench peers --data FILE [options]

nanoGPT's CPU recipe (4 layers, 4 heads, width 128, context 64, batch 12), here and in PyTorch eager, interleaved.
Prints milliseconds per step (medians) and the loss over the whole validation text (means over the seeds).

  --data FILE        text, UTF-8; nothing is downloaded
  --optimizer LABEL  adamw, lion or muon; may be repeated [default: all three]
  --steps N          optimizer steps per run [default: 2000]
  --seeds N          runs per side, with seeds 1 to N [default: 3]
  --threads N        threads of both sides [default: all]
  --record           append the table to benches/RESULTS.md
";

/// A recipe that both sides know.
struct Recipe {
    label: &'static str,
    preset: &'static str,
    /// What differs from the peer's own defaults, which are those of nanoGPT.
    peer: &'static [&'static str],
}

const RECIPES: [Recipe; 3] = [
    Recipe { label: "adamw", preset: "nanogpt-cpu", peer: &[] },
    Recipe { label: "lion", preset: "nanogpt-cpu-lion", peer: &["--lr", "3e-4", "--weight-decay", "0.3"] },
    Recipe { label: "muon", preset: "nanogpt-cpu-muon", peer: &[] },
];

/// Steps at the start that are not timed: they allocate and choose algorithms. The peer leaves out as many.
const WARM_UP: usize = 20;

/// Runs both sides and prints the table.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let options = Options::parse(args)?;
    setup::run(workspace)?;
    let python = pytorch::python(workspace)?;
    step::run(&mut train::build(workspace)?)?;

    let mut rows = Vec::new();
    for recipe in RECIPES.iter().filter(|recipe| options.takes(recipe.label)) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for seed in 1..=options.seeds {
            theirs.push(run_peer(workspace, &python, recipe, &options, seed)?);
            ours.push(run_host(workspace, recipe, &options, seed)?);
        }
        rows.push(Row::of(recipe.label, &ours, &theirs));
    }
    let table = table(&rows);
    print!("{table}");
    if options.record {
        record(workspace, &options, &table)?;
    }
    Ok(())
}

/// One finished run of one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Median over the steps after the warm-up.
    pub ms_per_step: f64,
    /// Over the whole validation text, in nats per character.
    pub val_loss: f64,
}

fn run_host(workspace: &Workspace, recipe: &Recipe, options: &Options, seed: u64) -> Result<Outcome> {
    let folder = workspace.output_folder()?.join("peers").join(format!("{}-{seed}", recipe.label));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let mut host = Command::new(workspace.host()?);
    host.current_dir(&workspace.root).args(["train", "--preset", recipe.preset, "--device", "cpu"]);
    host.args(["--steps", &options.steps.to_string(), "--seed", &seed.to_string()]);
    host.arg("--data").arg(&options.data).arg("--run-dir").arg(&folder);
    step::run_and_read(options.limit_threads(&mut host))?.1?;
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).context("the run left no metrics")?;
    outcome_of_metrics(&metrics)
        .with_context(|| format!("{} lacks steps or the last evaluation", folder.join("metrics.jsonl").display()))
}

fn run_peer(workspace: &Workspace, python: &Path, recipe: &Recipe, options: &Options, seed: u64) -> Result<Outcome> {
    let mut peer = Command::new(python);
    peer.arg(workspace.root.join("benches/peers/nanogpt_cpu.py")).args(["--optimizer", recipe.label, "--json"]);
    peer.args(["--steps", &options.steps.to_string(), "--seed", &seed.to_string()]).args(recipe.peer);
    if let Some(threads) = options.threads {
        peer.args(["--threads", &threads.to_string()]);
    }
    peer.arg("--data").arg(&options.data);
    let (lines, outcome) = step::run_and_read(options.limit_threads(&mut peer))?;
    outcome?;
    let line = lines.last().context("the peer said nothing")?;
    let ms_per_step = number(line, "ms_per_step").with_context(|| format!("no `ms_per_step` in `{line}`"))?;
    let val_loss = number(line, "val_loss").with_context(|| format!("no `val_loss` in `{line}`"))?;
    Ok(Outcome { ms_per_step, val_loss })
}

/// From the lines of `metrics.jsonl`: the median time of a step, and the evaluation over the whole text.
pub fn outcome_of_metrics(metrics: &str) -> Option<Outcome> {
    let lines = |kind: &str| {
        let mark = format!("\"kind\":\"{kind}\"");
        metrics.lines().filter(move |line| line.contains(&mark))
    };
    let times: Vec<f64> = lines("train").map(|line| number(line, "ms")).collect::<Option<_>>()?;
    let whole = lines("eval").rfind(|line| line.contains("\"whole\":true"))?;
    let left_out = WARM_UP.min(times.len() / 2);
    Some(Outcome { ms_per_step: median(&times[left_out..])?, val_loss: number(whole, "val_loss")? })
}

/// The number under a key of a flat JSON object.
pub fn number(line: &str, key: &str) -> Option<f64> {
    let rest = line.split_once(&format!("\"{key}\":"))?.1;
    rest.split([',', '}']).next()?.trim().parse().ok()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length.is_multiple_of(2) => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => Some(sorted[middle]),
    }
}

/// Both sides under one label.
struct Row {
    label: &'static str,
    ours: Outcome,
    theirs: Outcome,
}

impl Row {
    /// Median of the times, mean of the losses.
    fn of(label: &'static str, ours: &[Outcome], theirs: &[Outcome]) -> Row {
        let one = |all: &[Outcome]| Outcome {
            ms_per_step: median(&all.iter().map(|run| run.ms_per_step).collect::<Vec<_>>()).unwrap_or(f64::NAN),
            val_loss: all.iter().map(|run| run.val_loss).sum::<f64>() / all.len() as f64,
        };
        Row { label, ours: one(ours), theirs: one(theirs) }
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| optimizer | ms/step | PyTorch ms/step | speed ratio | val loss | PyTorch val loss | difference |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for Row { label, ours, theirs } in rows {
        let ratio = theirs.ms_per_step / ours.ms_per_step;
        let _ = writeln!(
            text,
            "| {label} | {:.2} | {:.2} | {ratio:.2} | {:.4} | {:.4} | {:+.4} |",
            ours.ms_per_step,
            theirs.ms_per_step,
            ours.val_loss,
            theirs.val_loss,
            ours.val_loss - theirs.val_loss
        );
    }
    text
}

fn record(workspace: &Workspace, options: &Options, table: &str) -> Result<()> {
    let threads = options.threads.map_or("all".to_string(), |threads| threads.to_string());
    let command =
        format!("cargo xtask bench peers --steps {} --seeds {}, threads: {threads}", options.steps, options.seeds);
    record_section(workspace, "nanoGPT's CPU recipe beside PyTorch", &command, table)
}

/// Writes a table to `benches/RESULTS.md`, in place of the section of that title if there is one.
pub fn record_section(workspace: &Workspace, title: &str, command: &str, table: &str) -> Result<()> {
    let file = workspace.root.join("benches/RESULTS.md");
    let text = fs::read_to_string(&file).unwrap_or_else(|_| "# Results\n".to_string());
    let commit = step::answer(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(&workspace.root))
        .unwrap_or_default();
    let section = format!(
        "## {title}\n\n`{command}` at {}; {}. Only ratios carry over to another machine.\n\n{table}",
        commit.trim(),
        processor()
    );
    fs::write(&file, with_section(&text, title, &section)).with_context(|| format!("cannot write {}", file.display()))
}

fn with_section(text: &str, title: &str, section: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        match parts.last_mut() {
            Some(part) if !line.starts_with("## ") => part.push_str(line),
            _ => parts.push(line.to_string()),
        }
    }
    let mark = format!("## {title}\n");
    match parts.iter_mut().find(|part| part.starts_with(&mark)) {
        Some(part) => *part = format!("{section}\n"),
        None => parts.push(format!("\n{section}")),
    }
    let joined: String = parts.concat();
    format!("{}\n", joined.trim_end())
}

/// The name of this machine's processor, and how many of its threads can be used.
fn processor() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("a CPU", |it| it.1);
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{name}, {threads} threads")
}

/// What the command line says.
#[derive(Debug, PartialEq)]
struct Options {
    data: PathBuf,
    labels: Vec<String>,
    steps: u64,
    seeds: u64,
    threads: Option<u64>,
    record: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Options> {
        let usage = |message: String| Failure::new(USAGE, message).hint("`cargo xtask bench peers --help`");
        let mut options =
            Options { data: PathBuf::new(), labels: Vec::new(), steps: 2000, seeds: 3, threads: None, record: false };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            if flag == "--record" {
                options.record = true;
                continue;
            }
            let mut value = || args.next().ok_or_else(|| usage(format!("`{flag}` needs a value")));
            let count = |text: &String| match text.parse::<u64>() {
                Ok(count) if count > 0 => Ok(count),
                _ => Err(usage(format!("`{flag}` is a number from 1, not `{text}`"))),
            };
            match flag.as_str() {
                "--data" => options.data = std::path::absolute(value()?)?,
                "--steps" => options.steps = count(value()?)?,
                "--seeds" => options.seeds = count(value()?)?,
                "--threads" => options.threads = Some(count(value()?)?),
                "--optimizer" => {
                    let label = value()?;
                    if !RECIPES.iter().any(|recipe| recipe.label == label) {
                        let known = RECIPES.map(|recipe| recipe.label).join(", ");
                        return Err(usage(format!("no recipe for `{label}`; there are {known}")).into());
                    }
                    options.labels.push(label.clone());
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

    fn takes(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|wanted| wanted == label)
    }

    /// libtorch reads this variable, here and there.
    fn limit_threads<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(threads) = self.threads {
            command.env("OMP_NUM_THREADS", threads.to_string());
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_evaluation_and_the_median_step_are_taken() {
        let mut metrics = String::from("{\"step\":0,\"kind\":\"eval\",\"val_loss\":4.0e0,\"whole\":true}\n");
        for step in 1..=61 {
            // slow at first, then one step of 9 ms in two
            let ms = if step <= WARM_UP { 100.0 } else { 8.0 + (step % 2) as f64 };
            metrics += &format!("{{\"step\":{step},\"kind\":\"train\",\"loss\":2.0e0,\"ms\":{ms:e},\"skipped\":[]}}\n");
        }
        metrics += "{\"step\":61,\"kind\":\"eval\",\"val_loss\":1.5e0,\"whole\":true}\n";
        metrics += "{\"step\":61,\"kind\":\"eval\",\"val_loss\":1.0e0,\"whole\":false}\n";
        assert_eq!(outcome_of_metrics(&metrics), Some(Outcome { ms_per_step: 9.0, val_loss: 1.5 }));
        assert_eq!(outcome_of_metrics(""), None);
    }

    #[test]
    fn numbers_are_read_from_both_sides_lines() {
        let line = "{\"peer\": \"pytorch eager\", \"ms_per_step\": 27.25, \"val_loss\": null}";
        assert_eq!(number(line, "ms_per_step"), Some(27.25));
        assert_eq!(number(line, "val_loss"), None);
        assert_eq!(number(line, "step"), None);
    }

    #[test]
    fn a_section_is_written_once() {
        let text = "# Results\n\n## a\n\nold\n\n## b\n\nkept\n";
        let once = with_section(text, "a", "## a\n\nnew\n");
        assert_eq!(once, "# Results\n\n## a\n\nnew\n\n## b\n\nkept\n");
        let more = with_section(&once, "c", "## c\n\nmore\n");
        assert_eq!(more, "# Results\n\n## a\n\nnew\n\n## b\n\nkept\n\n## c\n\nmore\n");
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_faster_host_has_a_ratio_above_one() {
        let [ours, theirs] = [20.0, 30.0].map(|ms_per_step| [Outcome { ms_per_step, val_loss: 1.9 }]);
        let table = table(&[Row::of("adamw", &ours, &theirs)]);
        assert!(table.contains("| adamw | 20.00 | 30.00 | 1.50 | 1.9000 | 1.9000 | +0.0000 |"), "{table}");
    }

    #[test]
    fn options_are_understood_or_refused() {
        let parse = |line: &str| Options::parse(&line.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let options = parse("--data Cargo.toml --optimizer lion --steps 5 --threads 2 --record").unwrap();
        assert_eq!((options.steps, options.seeds, options.threads, options.record), (5, 3, Some(2), true));
        assert!(options.takes("lion") && !options.takes("adamw"));
        for line in ["", "--data", "--data Cargo.toml --steps 0", "--data Cargo.toml --optimizer lionn", "--dat a"] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.downcast_ref::<Failure>().unwrap().exit, USAGE, "{line}");
        }
    }
}
