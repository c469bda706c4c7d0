//! Schedules of operations as a user sees them: when each fires, what it changes, what is refused, what a failure leaves.

mod support;

use std::{
    fs,
    process::Child,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{TINY, Workshop, library, registry};

/// No run here takes a tenth of this; one that hangs is killed and told.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a process, and kills it where it hangs.
fn wait(mut child: Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begun.elapsed() > PATIENCE {
            child.kill().ok();
            panic!("the run hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Trains `tiny.toml`, evaluated and saved after every fourth of twelve steps, with this schedule into `run`.
fn train(shop: &Workshop, run: &str, schedule: &str, more: &[&str]) -> Option<i32> {
    shop.write(&format!("{run}.schedule.toml"), schedule);
    let file = format!("{run}.schedule.toml");
    let mut args = vec!["train", "--config", "tiny.toml", "--run-dir", run, "--schedule", &file];
    args.extend(["--set", "lr_schedule.warmup_steps=0", "--set", "lr_schedule.kind=constant"]);
    args.extend(more);
    wait(shop.spawn(&args))
}

fn entry(name: &str, value: &str, rest: &str) -> String {
    let value = if value.is_empty() { String::new() } else { format!("value = {value}\n") };
    format!("[[schedule]]\nname = \"{name}\"\n{value}{rest}\n")
}

/// One number of every step.
fn column(shop: &Workshop, run: &str, name: &str) -> Vec<f64> {
    let lines = shop.metrics(run);
    lines.iter().filter(|line| line["kind"] == "train").map(|line| line[name].as_f64().unwrap()).collect()
}

/// Tokens of every step.
fn tokens(shop: &Workshop, run: &str) -> Vec<f64> {
    let all = column(shop, run, "tokens");
    (0..all.len()).map(|i| all[i] - if i > 0 { all[i - 1] } else { 0.0 }).collect()
}

/// The events of a run: step, what happened, the operation's number.
fn events(shop: &Workshop, run: &str) -> Vec<(u64, String, u64)> {
    let lines = shop.metrics(run);
    let event = |line: &Value| {
        let number = line["operation"].as_u64().unwrap();
        (line["step"].as_u64().unwrap(), line["event"].as_str().unwrap().replace("operation_", ""), number)
    };
    lines.iter().filter(|line| line["kind"] == "event").map(event).collect()
}

#[test]
fn every_hyper_parameter_operation_changes_what_it_says_from_its_step_on() {
    let shop = Workshop::new();
    let wait = |steps: u64| format!("max_wait_steps = {steps}");
    let lr = entry("change_lr", "0.5", &wait(0)) + &entry("set_lr", "0.25", &wait(3));
    train(&shop, "lr", &lr, &[]);
    assert_eq!(column(&shop, "lr", "lr"), [vec![0.005; 3], vec![0.25; 9]].concat());

    let batches = entry("change_grad_accum", "2.5", &wait(2))
        + &entry("set_batch_size", "2", &wait(2))
        + &entry("change_batch_size", "1.5", &wait(2))
        + &entry("set_grad_accum", "1", &wait(2))
        + &entry("change_grad_accum", "0.1", &wait(1));
    train(&shop, "batches", &batches, &["--set", "train.grad_accum=4"]);
    let passes = [vec![4.0; 2], vec![10.0; 6], vec![1.0; 4]].concat();
    assert_eq!(column(&shop, "batches", "passes"), passes, "4 × 2.5 is 10");
    let sequences = [vec![16.0; 2], vec![40.0; 2], vec![20.0; 2], vec![30.0; 2], vec![3.0; 4]].concat();
    let expected: Vec<f64> = sequences.iter().map(|sequences| sequences * 16.0).collect();
    assert_eq!(tokens(&shop, "batches"), expected);

    let evaluations = |run: &str| -> Vec<(u64, u64)> {
        let lines = shop.metrics(run);
        let evaluation = |line: &Value| (line["step"].as_u64().unwrap(), line["tokens"].as_u64().unwrap() / 16);
        lines.iter().filter(|line| line["kind"] == "eval" && line["whole"] == false).map(evaluation).collect()
    };
    let evals = entry("change_eval_every", "0.5", &wait(4))
        + &entry("change_eval_steps", "0.5", &wait(1))
        + &entry("set_eval_every", "5", &wait(3))
        + &entry("set_eval_steps", "3", &wait(1));
    train(&shop, "evals", &evals, &[]);
    assert_eq!(evaluations("evals"), [(4, 4), (6, 2), (8, 2), (10, 3)]);

    let kinds = ["--set", "lr_schedule.kind=linear", "--set", "lr_schedule.min_ratio=0.0"];
    let linear = |run: &str, schedule: &str| {
        shop.write("s.toml", schedule);
        let mut args = vec!["train", "--config", "tiny.toml", "--run-dir", run, "--schedule", "s.toml"];
        args.extend(kinds);
        args.extend(["--set", "lr_schedule.warmup_steps=2", "--set", "lr_schedule.decay_steps=4"]);
        shop.run(&args, &[]).expect(0);
        column(&shop, run, "lr").iter().map(|lr| (lr * 100.0 * 6.0).round() as i64).collect::<Vec<_>>()
    };
    // sixths of the rate: warm-up 1/3, 2/3, then 1, 1/2, then 0
    let once = [2, 4, 6, 3, 0, 0];
    assert_eq!(linear("reset", &entry("reset_lr_schedule", "", &wait(6))), [once, once].concat());
    let longer = linear("longer", &entry("change_warmup_steps", "2", &wait(0)));
    assert_eq!(longer[..], [1, 2, 4, 5, 6, 5, 3, 2, 0, 0, 0, 0], "twice as long: fifths of warm-up, then quarters");
    let none = linear("none", &entry("set_warmup_steps", "0", &wait(0)));
    assert_eq!(none[..5], [6, 5, 3, 2, 0]);
}

#[test]
fn a_changed_alpha_is_trained_saved_and_sampled_with() {
    let shop = Workshop::new();
    let lora = ["--set", "model.lora_rank=2", "--set", "model.lora_alpha=2.0"];
    train(&shop, "plain", &entry("change_lr", "1.0", "max_wait_steps = 1"), &lora);
    train(&shop, "set", &entry("set_lora_alpha", "8.0", "max_wait_steps = 0"), &lora);
    train(&shop, "changed", &entry("change_lora_alpha", "4.0", "max_wait_steps = 0"), &lora);
    let from_start = ["--set", "model.lora_rank=2", "--set", "model.lora_alpha=8.0"];
    train(&shop, "from-start", &entry("change_lr", "1.0", "max_wait_steps = 1"), &from_start);
    assert_ne!(shop.hash("plain"), shop.hash("set"));
    assert_eq!(shop.hash("set"), shop.hash("changed"));
    assert_eq!(shop.hash("set"), shop.hash("from-start"), "given at the start, it takes effect at the start");
    let sample = |run: &str| shop.run(&["sample", run, "--tokens", "40"], &[]).expect(0).stdout;
    assert_eq!(sample("set"), sample("from-start"));
}

#[test]
fn losses_trigger_waits_are_exact_and_operations_are_told() {
    let shop = Workshop::new();
    let schedule =
        entry("change_lr", "0.5", "trigger_loss = 100.0\nmax_wait_steps = 9\nreevaluate = true\nnote = \"n\"")
            + &entry("change_lr", "0.5", "trigger_loss = 100.0")
            + &entry("change_lr", "0.5", "max_wait_steps = 1")
            + &entry("change_lr", "0.5", "trigger_loss = 1e-9");
    train(&shop, "run", &schedule, &[]);
    let expected = [
        (4, "start", 0),
        (4, "success", 0),
        (4, "reevaluation", 0),
        (4, "start", 1),
        (4, "success", 1),
        (5, "start", 2),
        (5, "success", 2),
    ];
    assert_eq!(events(&shop, "run"), expected.map(|(step, what, number)| (step, what.to_string(), number)));
    let log = fs::read_to_string(shop.path().join("run/log.jsonl")).unwrap();
    for part in ["operation_start", "operation_reevaluation", "\"old\":\"0.01\"", "\"new\":\"0.005\"", "did not fire"] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[test]
fn malformed_schedules_are_refused_before_anything_is_written() {
    let shop = Workshop::new();
    let wait = "max_wait_steps = 2";
    let table: [(String, i32, &[&str]); 14] = [
        (entry("chang_lr", "2", wait), 4, &["error[R001]", "did you mean `change_lr`?", "s.toml:2"]),
        (entry("change_lr", "", wait), 3, &["error[C072]: `change_lr` has no value", "a factor above 0"]),
        (entry("change_lr", "0", wait), 3, &["error[C072]", "s.toml:3"]),
        (entry("change_lr", "-1", wait), 3, &["error[C072]"]),
        (entry("set_batch_size", "1.5", wait), 3, &["error[C072]", "a whole number from 1"]),
        (entry("reset_lr_schedule", "2", wait), 3, &["error[C072]", "no value"]),
        (entry("change_batch_size", "1e12", wait), 3, &["error[C072]", "leads from 4"]),
        (entry("change_lora_alpha", "2", wait), 3, &["error[C072]", "no adapters"]),
        (entry("change_lr", "2", "max_wait_step = 2\ntrigger_loss = 1"), 3, &["error[C072]", "`max_wait_steps`?"]),
        (entry("change_lr", "2", ""), 3, &["error[C013]", "has no `trigger_loss` and no `max_wait_steps`"]),
        (entry("change_lr", "2", "max_wait_steps = 12"), 3, &["error[C070]", "after step 12"]),
        (entry("change_lr", "2", "trigger_loss = 0"), 3, &["error[C004]"]),
        (entry("freeze-layer", "7", wait), 5, &["error[P002]", "no block 7"]),
        (
            entry("set_eval_every", "20", wait) + &entry("change_lr", "2", "trigger_loss = 1"),
            3,
            &["error[C070]", "there is none before the last step"],
        ),
    ];
    for (schedule, code, says) in table {
        shop.write("s.toml", &schedule);
        let before = shop.listing();
        let args = ["train", "--config", "tiny.toml", "--run-dir", "run", "--schedule", "s.toml"];
        let finished = shop.run(&args, &[]);
        assert_eq!(finished.code, Some(code), "{schedule}\n{}", finished.stderr);
        finished.says(says);
        assert_eq!(shop.listing(), before, "{schedule}");
    }
}

#[test]
fn a_failing_operation_stops_with_the_state_before_it_or_is_skipped() {
    let shop = Workshop::new();
    let (fixture, adaptive) = (library("fails_late").display().to_string(), library("adaptive").display().to_string());
    shop.write(
        "registry.toml",
        format!(
            "[plugins]\nit = {fixture:?}\nadaptive = {adaptive:?}\n\n[[optimizer]]\nlabel = \"adamw\"\n\
             plugin = \"adaptive\"\n\n[[arch-op]]\nlabel = \"fails-late\"\nplugin = \"it\"\n"
        ),
    );
    let schedule = entry("change_lr", "0.5", "max_wait_steps = 4") + &entry("fails-late", "", "max_wait_steps = 1");
    let stopped = train(&shop, "run", &schedule, &[]);
    assert_eq!(stopped, Some(5));
    let latest = fs::read_to_string(shop.path().join("run/checkpoints/latest")).unwrap();
    assert_eq!(latest.trim(), "step-00000005", "the state before the operation is saved");
    let expected = [(4, "start", 0), (4, "success", 0), (5, "start", 1), (5, "error", 1)];
    assert_eq!(events(&shop, "run"), expected.map(|(step, what, number)| (step, what.to_string(), number)));
    shop.run(&["sample", "run", "--tokens", "5"], &[]).expect(0);
    shop.run(&["resume", "run"], &[]).expect(5).says(&["error[P002]", "the operation gives up"]);
    assert_eq!(events(&shop, "run").len(), 4, "told once for the state it is of");

    fs::remove_dir_all(shop.path().join("run")).unwrap();
    let skipping = schedule.clone() + "on_error = \"skip\"\n" + &entry("change_lr", "0.5", "max_wait_steps = 1");
    let skipped = train(&shop, "run", &skipping, &[]);
    assert_eq!(skipped, Some(0));
    assert_eq!(column(&shop, "run", "lr")[3..8], [0.01, 0.005, 0.005, 0.0025, 0.0025]);

    fs::remove_dir_all(shop.path().join("run")).unwrap();
    let idle = entry("change_lora_alpha", "2.0", "max_wait_steps = 4");
    assert_eq!(train(&shop, "run", &idle, &[]), Some(3), "there are no adapters");
    let skipping = idle + "on_error = \"skip\"\n" + &entry("change_lr", "0.5", "max_wait_steps = 1");
    assert_eq!(train(&shop, "run", &skipping, &[]), Some(0));
    assert_eq!(events(&shop, "run")[1], (4, "error".to_string(), 0));
    assert_eq!(column(&shop, "run", "lr")[3..7], [0.01, 0.01, 0.005, 0.005]);
}

#[test]
fn killed_anywhere_and_resumed_across_operations_ends_at_the_same_bits() {
    let shop = Workshop::new();
    let schedule = entry("change_lr", "0.5", "max_wait_steps = 0")
        + &entry("change_grad_accum", "2.0", "trigger_loss = 100.0\nreevaluate = true")
        + &entry("reset_lr_schedule", "", "trigger_loss = 100.0")
        + &entry("freeze-layer", "1", "max_wait_steps = 2")
        + &entry("set_batch_size", "3", "max_wait_steps = 1")
        + &entry("stack-layers", "2", "max_wait_steps = 0")
        + &entry("widen-mlp", "1.5", "max_wait_steps = 1");
    shop.write("cosine.toml", format!("{TINY}\n[lr_schedule]\nwarmup_steps = 2\n\n{schedule}"));
    shop.run(&["train", "--config", "cosine.toml", "--run-dir", "whole"], &[]).expect(0);
    let lines = |run: &str| -> Vec<Value> {
        let mut lines = shop.metrics(run);
        for line in &mut lines {
            let line = line.as_object_mut().unwrap();
            line.remove("ms");
            line.remove("tokens_per_second");
        }
        lines
    };
    for stop_after in [2, 4, 5, 6, 8] {
        let run = format!("killed-{stop_after}");
        let mut child = shop.spawn(&["train", "--config", "cosine.toml", "--run-dir", &run]);
        let begun = Instant::now();
        let seen = || {
            let text = fs::read_to_string(shop.path().join(&run).join("metrics.jsonl")).unwrap_or_default();
            let steps = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            steps.filter_map(|line| line["step"].as_u64()).max().unwrap_or(0) >= stop_after
        };
        while !seen() && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "step {stop_after} never came");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().ok();
        child.wait().unwrap();
        shop.run(&["resume", &run], &[]).expect(0);
        assert_eq!(shop.hash(&run), shop.hash("whole"), "killed after step {stop_after}");
        assert_eq!(lines(&run), lines("whole"), "killed after step {stop_after}");
    }
}

#[test]
fn a_resumed_run_with_another_schedule_is_refused() {
    let shop = Workshop::new();
    let first = entry("change_lr", "0.5", "max_wait_steps = 2") + &entry("change_lr", "0.5", "max_wait_steps = 2");
    train(&shop, "run", &first, &[]);
    let resume = |schedule: &str| {
        shop.write("other.toml", schedule);
        let args = ["train", "--config", "tiny.toml", "--run-dir", "run", "--resume", "--schedule", "other.toml"];
        shop.run(&args, &[])
    };
    resume(&first).expect(0);
    resume(&first.replace("0.5", "0.25")).expect(3).says(&["error[C015]", "schedule.0.value"]);
    let shorter = &first[..first.rfind("[[").unwrap()];
    resume(shorter).expect(3).says(&["error[C015]", "2 scheduled operations"]);
    let config = shop.path().join("run/config.toml");
    let edited = fs::read_to_string(&config).unwrap().replace("value = 0.5", "value = 0.125");
    fs::write(&config, edited).unwrap();
    shop.run(&["resume", "run", "--registry", registry().to_str().unwrap()], &[]).expect(3).says(&["error[C073]"]);
}

#[test]
fn a_plan_tells_the_network_and_its_cost_after_each_operation_and_the_report_marks_them() {
    let shop = Workshop::new();
    let schedule = entry("freeze-layer", "1", "max_wait_steps = 3")
        + &entry("change_batch_size", "2", "trigger_loss = 100.0\nmax_wait_steps = 4");
    shop.write("s.toml", &schedule);
    let args = ["plan", "--config", "tiny.toml", "--schedule", "s.toml", "--json"];
    let printed = shop.run(&args, &[]).expect(0).stdout;
    let stages: Vec<Value> = serde_json::from_str(&printed).unwrap();
    // width 16, 2 blocks with biases, 256 bytes as vocabulary, tied, 16 of context
    let block = 16 * 48 + 48 + 16 * 16 + 16 + 16 * 64 + 64 + 64 * 16 + 16 + 4 * 16;
    let all = 256 * 16 + 16 * 16 + 2 * block + 2 * 16;
    let matrices = |blocks: u64| blocks * (16 * 48 + 16 * 16 + 2 * 16 * 64);
    let flops = |trained: u64| 4 * (4096 + matrices(2)) + 2 * (4096 + matrices(trained)) + 12 * 2 * 16 * 16;
    for (stage, (operation, fires, trained, blocks, tokens)) in stages.iter().zip([
        (Value::Null, "", all, 2, 64),
        ("freeze-layer layer=1".into(), "after step 3", all - block, 1, 64),
        ("change_batch_size 2".into(), "val_loss < 100, else after step 7", all - block, 1, 128),
    ]) {
        assert_eq!((&stage["operation"], &stage["fires"]), (&operation, &fires.into()), "{stage:#}");
        assert_eq!((stage["parameters"].as_u64(), stage["trained"].as_u64()), (Some(all), Some(trained)));
        assert_eq!(stage["flops_per_token"], flops(blocks), "{stage:#}");
        assert_eq!((stage["tokens_per_step"].as_u64(), stage["layers"].as_u64()), (Some(tokens), Some(2)));
        let bytes = ["parameter_bytes", "gradient_bytes", "state_bytes"].map(|name| stage[name].as_u64().unwrap());
        assert_eq!(bytes, [4 * all, 4 * trained, 8 * all], "adamw has two slots of f32");
    }
    assert_eq!(stages.len(), 3);
    let narrow = shop.run(&[&args[..], &["--set", "state_format=bf16", "--set", "optimizer.beta2=0.95"]].concat(), &[]);
    let narrow: Vec<Value> = serde_json::from_str(&narrow.expect(0).stdout).unwrap();
    assert!(narrow.iter().all(|stage| stage["state_bytes"] == 4 * all), "both slots in bf16: {narrow:#?}");
    assert!(!shop.path().join("run").exists());
    let dry = ["train", "--config", "tiny.toml", "--schedule", "s.toml", "--dry-run"];
    shop.run(&dry, &[]).expect(0).says(&["schedule:", "change_batch_size 2", "FLOPs/token"]);

    train(&shop, "run", &schedule, &[]);
    let report = fs::read_to_string(shop.path().join("run/report.html")).unwrap();
    let plot = fs::read_to_string(shop.path().join("run/plots/loss.svg")).unwrap();
    for part in ["<h2>Operations</h2>", "<td>3</td><td>freeze-layer</td>", "<td>4 → 8</td>"] {
        assert!(report.contains(part), "{part}");
    }
    assert!(plot.contains("change_batch_size") && plot.contains("freeze-layer"));
}

#[test]
fn the_page_lists_every_operation_of_the_host_and_no_other() {
    let page = fs::read_to_string(support::repository().join("docs/schedules.md")).unwrap();
    let rows =
        page.lines().filter(|line| ["| `change_", "| `set_", "| `reset_"].iter().any(|head| line.starts_with(head)));
    let named = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let mut named: Vec<&str> = named.collect();
    let mut known: Vec<&str> = host::growth::HYPER_OPS.iter().map(|op| op.name).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
}
