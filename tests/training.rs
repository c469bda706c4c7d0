//! Runs as a user sees them: what is kept, what a resume gives, how a run ends.

mod support;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::Workshop;

/// Optimizers of every kind: elementwise, over whole tensors, with a memory, evaluated at other weights.
const LABELS: [&str; 4] = ["adamw", "muon", "prodigy", "schedulefree-adamw"];

#[test]
fn a_run_leaves_what_it_promises() {
    let shop = Workshop::new();
    let finished = shop.train("run", &[]).expect(0).says(&["[entrypoint-trace]", "opt=(adamw", "vector"]);
    let run = shop.path().join("run");
    for name in [
        "run.json",
        "config.toml",
        "config.origin.json",
        "metrics.jsonl",
        "log.jsonl",
        "plots/loss.svg",
        "report.html",
        "checkpoints/latest",
        "checkpoints/best",
    ] {
        assert!(run.join(name).is_file(), "no {name} in {:#?}", shop.listing());
    }
    assert!(fs::read_dir(&run).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().contains("tfevents")));
    let record = shop.record("run");
    assert_eq!(record["status"], "finished");
    assert_eq!(record["exit_code"], 0);
    assert_eq!(shop.optimizer("run", "adamw")["reported"], "adamw");
    let (first, last) = (loss(&shop.metrics("run")[0]), record["result"]["val_loss"].as_f64().unwrap());
    assert!(last < first, "twelve steps of adamw go down from {first}: {last}");
    assert!(finished.stdout.contains("val_bpb"), "the result is data: {}", finished.stdout);
}

#[test]
fn the_resolved_configuration_reproduces_the_run() {
    let shop = Workshop::new();
    let args =
        ["train", "--config", "tiny.toml", "--run-dir", "first", "--seed", "11", "--set", "optimizer.beta2=0.95"];
    shop.run(&args, &[("STEPS", "6")]).expect(0);
    shop.run(&["train", "--config", "first/config.toml", "--run-dir", "second"], &[]).expect(0);
    assert_eq!(shop.hash("first"), shop.hash("second"));
}

#[test]
fn the_same_seed_repeats_and_another_differs() {
    let shop = Workshop::new();
    shop.train("a", &[]).expect(0);
    shop.train("b", &[]).expect(0);
    shop.train("c", &["--seed", "8"]).expect(0);
    assert_eq!(shop.hash("a"), shop.hash("b"));
    assert_ne!(shop.hash("a"), shop.hash("c"));
}

#[test]
fn killed_anywhere_and_resumed_ends_at_the_same_bits() {
    let shop = Workshop::new();
    for label in LABELS {
        let whole = format!("{label}-whole");
        let more = ["--optimizer", label, "--lr", "1e-3"];
        shop.train(&whole, &more).expect(0);
        // between two checkpoints, right after one, and before the first
        for stop_after in [6u64, 8, 2] {
            let run = format!("{label}-{stop_after}");
            kill_after(&shop, &run, &more, stop_after);
            shop.run(&["resume", &run], &[]).expect(0);
            assert_eq!(shop.hash(&run), shop.hash(&whole), "{label}, killed after step {stop_after}");
            let steps: Vec<u64> =
                shop.metrics(&run).iter().filter(|line| line.get("loss").is_some()).map(step).collect();
            assert_eq!(steps, (1..=12).collect::<Vec<_>>(), "{label}: every step is in the metrics once");
            let losses = |run: &str| {
                shop.metrics(run)
                    .iter()
                    .filter_map(|line| line["loss_bits"].as_str().map(String::from))
                    .collect::<Vec<_>>()
            };
            assert_eq!(losses(&run), losses(&whole), "{label}");
        }
    }
}

/// Starts a run and kills it (as `kill -9` does) once the metrics show this step.
fn kill_after(shop: &Workshop, run: &str, more: &[&str], stop_after: u64) {
    // slow enough to be hit: the same numbers, many evaluations
    let mut args = vec!["train", "--config", "tiny.toml", "--run-dir", run];
    args.extend(more);
    let mut child = shop.spawn(&args);
    wait_for_step(&shop.path().join(run), stop_after, &mut child);
    child.kill().ok();
    child.wait().unwrap();
}

fn wait_for_step(run: &Path, wanted: u64, child: &mut std::process::Child) {
    let patience = Instant::now() + Duration::from_secs(120);
    loop {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
        let seen =
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|line| step(&line) >= wanted);
        if seen || child.try_wait().unwrap().is_some() {
            return;
        }
        assert!(Instant::now() < patience, "step {wanted} never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_signal_finishes_the_step_saves_and_exits_75() {
    let shop = Workshop::new();
    shop.tiny_with(
        "long.toml",
        &[
            ("steps = 12", "steps = 100000"),
            ("eval_every = 4", "eval_every = 0"),
            ("checkpoint_every = 4", "checkpoint_every = 0"),
        ],
    );
    for signal in ["INT", "TERM", "USR2"] {
        let run = format!("run-{signal}");
        let mut child = shop.spawn(&["train", "--config", "long.toml", "--run-dir", &run]);
        wait_for_step(&shop.path().join(&run), 3, &mut child);
        let sent =
            std::process::Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(75), "{signal}");
        let record = shop.record(&run);
        assert_eq!(record["status"], "stopped");
        let latest = fs::read_to_string(shop.path().join(&run).join("checkpoints/latest")).unwrap();
        let last = shop.metrics(&run).iter().map(step).max().unwrap();
        assert!(
            latest.trim().ends_with(&format!("{last}")),
            "{signal}: the step was finished and saved: {latest} {last}"
        );
    }
}

#[test]
fn a_run_directory_in_use_or_used_is_refused() {
    let shop = Workshop::new();
    shop.train("run", &[]).expect(0);
    let before = fs::read(shop.path().join("run/run.json")).unwrap();
    shop.train("run", &[]).expect(8).says(&["run", "hint:"]);
    assert_eq!(fs::read(shop.path().join("run/run.json")).unwrap(), before);
}

#[test]
fn resume_refuses_other_settings() {
    let shop = Workshop::new();
    shop.train("run", &["--steps", "12"]).expect(0);
    shop.run(&["resume", "run"], &[("SEED", "99")]).expect(3).says(&["seed", "99", "7"]);
    shop.train("run", &["--resume=auto", "--optimizer", "lion"]).expect(3).says(&["optimizer", "lion", "adamw"]);
}

#[test]
fn resume_refuses_another_text_another_rule_and_another_directory() {
    let shop = Workshop::new();
    let entry = |defaults: &str| {
        let library = support::library("adaptive").display().to_string();
        let text = "[plugins]\nit = {library}\n\n[[optimizer]]\nlabel = \"adamw\"\nplugin = \"it\"\n{defaults}\n";
        text.replace("{library}", &format!("{library:?}")).replace("{defaults}", defaults)
    };
    shop.write("registry.toml", entry(""));
    shop.train("run", &[]).expect(0);
    let before = shop.listing();

    let (was, other) = (support::text(6000), support::text(6000).replace('a', "b"));
    shop.write("text.txt", other);
    shop.run(&["resume", "run"], &[]).expect(8).says(&["error[D121]", "sha256="]);
    shop.write("text.txt", was);

    shop.write("registry.toml", entry("defaults = { amsgrad = true }"));
    shop.run(&["resume", "run"], &[]).expect(4).says(&["error[R031]", "adamw"]);
    shop.write("registry.toml", entry(""));

    let step = "--resume=run/checkpoints/step-00000008";
    let args = ["train", "--config", "tiny.toml", step, "--run-dir", "other"];
    shop.run(&args, &[]).expect(2).says(&["error[U003]", "other"]);
    assert_eq!(shop.listing(), before, "nothing was written, nothing was removed");
    shop.run(&["resume", "run"], &[]).expect(0);
}

#[test]
fn an_older_checkpoint_gives_the_same_end() {
    let shop = Workshop::new();
    shop.train("run", &[]).expect(0);
    let end = shop.hash("run");
    let args = ["train", "--config", "tiny.toml", "--resume=run/checkpoints/step-00000004"];
    shop.run(&args, &[]).expect(0);
    assert_eq!(shop.hash("run"), end);
    let steps: Vec<u64> = shop.metrics("run").iter().filter(|line| line.get("loss").is_some()).map(step).collect();
    assert_eq!(steps, (1..=12).collect::<Vec<_>>());
}

#[test]
fn a_corrupt_checkpoint_is_refused_and_the_previous_one_offered() {
    let shop = Workshop::new();
    shop.train("run", &[]).expect(0);
    let run = shop.path().join("run");
    let latest = fs::read_to_string(run.join("checkpoints/latest")).unwrap();
    let file = run.join("checkpoints").join(latest.trim()).join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    shop.run(&["sample", "run"], &[]).expect(8).says(&["model.safetensors", "hint:", "step-"]);
}

#[test]
fn gradient_accumulation_does_that_many_passes() {
    let shop = Workshop::new();
    shop.train("one", &["--set", "train.grad_accum=1", "--set", "model.dropout=0"]).expect(0);
    shop.train("four", &["--set", "train.grad_accum=4", "--set", "model.dropout=0"]).expect(0);
    let tokens = |run: &str| shop.metrics(run).iter().filter_map(|line| line["tokens"].as_u64()).max().unwrap();
    assert_eq!(tokens("four"), 4 * tokens("one"));
    assert_ne!(shop.hash("one"), shop.hash("four"));
}

#[test]
fn the_schedule_reaches_the_optimizer() {
    let shop = Workshop::new();
    let mut hashes = Vec::new();
    for kind in ["cosine", "linear", "constant", "wsd"] {
        let set = format!("lr_schedule.kind={kind}");
        shop.train(kind, &["--set", &set, "--set", "lr_schedule.warmup_steps=2"]).expect(0);
        hashes.push(shop.hash(kind));
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 4, "four schedules, four results");
    // with a rate of zero nothing moves
    shop.train("still", &["--lr", "0", "--steps", "4"]).expect(0);
    shop.train("still-longer", &["--lr", "0", "--steps", "8"]).expect(0);
    assert_eq!(shop.hash("still"), shop.hash("still-longer"));
}

#[test]
fn best_is_never_the_start() {
    let shop = Workshop::new();
    // a rate that only makes it worse
    shop.train("worse", &["--optimizer", "sgdm", "--lr", "30", "--set", "train.grad_clip=0", "--steps", "8"]);
    let best = shop.path().join("worse/checkpoints/best");
    if let Ok(best) = fs::read_to_string(best) {
        assert!(!best.contains("step-00000000"), "{best}");
    }
    shop.train("none", &["--lr", "0"]).expect(0);
    let record = shop.record("none");
    assert_eq!(record["result"]["best_step"].as_u64().map(|step| step > 0), Some(true), "{record:#}");
}

#[test]
fn divergence_ends_with_7() {
    let shop = Workshop::new();
    let finished =
        shop.train("run", &["--optimizer", "sgdm", "--lr", "100", "--set", "train.grad_clip=0", "--steps", "200"]);
    finished.expect(7).says(&["error[N", "hint:"]);
    assert_eq!(shop.record("run")["status"], "failed");
    assert_eq!(shop.record("run")["exit_code"], 7);
}

#[test]
fn every_format_trains() {
    let shop = Workshop::new();
    let mut hashes = std::collections::BTreeSet::new();
    for label in LABELS {
        for format in ["f32", "bf16", "f64"] {
            let run = format!("{label}-{format}");
            shop.train(&run, &["--optimizer", label, "--format", format, "--lr", "1e-3"]).expect(0);
            assert!(hashes.insert(shop.hash(&run)), "{run} ended where another did");
            assert_eq!(shop.record(&run)["format"], format);
        }
    }
}

#[test]
fn samples_are_repeatable_and_end_on_stdout() {
    let shop = Workshop::new();
    shop.train("run", &[]).expect(0);
    let sample = |seed: &str| {
        shop.run(&["sample", "run", "--tokens", "60", "--prompt", "ab", "--seed", seed], &[]).expect(0).stdout
    };
    assert_eq!(sample("1"), sample("1"));
    assert_ne!(sample("1"), sample("2"));
    assert!(sample("1").starts_with("ab"));
    assert!(sample("1").trim_end().chars().count() >= 50, "{}", sample("1"));
}

fn step(line: &Value) -> u64 {
    line["step"].as_u64().unwrap_or(0)
}

fn loss(line: &Value) -> f64 {
    line["loss"].as_f64().unwrap()
}
