//! The gate before a fleet, through the binary: what it lets through, what it refuses before it starts anything, and what
//! it keeps.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Finished, Workshop, registry};

/// The smallest gate: the default optimizer of `fleet.toml`, and another label.
const SMALL: [&str; 5] = ["preflight", "--optimizers", "adamw,lion", "--config", "fleet.toml"];

fn shop() -> Workshop {
    let shop = Workshop::new();
    shop.tiny_with("fleet.toml", &[("steps = 12", "steps = 400")]);
    shop
}

fn gate(shop: &Workshop, more: &[&str], env: &[(&str, &str)]) -> Finished {
    let args: Vec<&str> = SMALL.iter().chain(&["--steps", "12"]).chain(more).copied().collect();
    shop.run(&args, env)
}

fn results(shop: &Workshop, folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(shop.path().join(folder)) else { return Vec::new() };
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn hashes(record: &Value) -> Vec<(String, String)> {
    let runs = record["runs"].as_array().unwrap();
    let text = |run: &Value, key: &str| run[key].as_str().unwrap().to_string();
    runs.iter().map(|run| (text(run, "name"), text(&run["result"], "parameter_hash"))).collect()
}

#[test]
fn a_sound_trainer_passes_and_the_result_is_kept() {
    let shop = shop();
    let finished = gate(&shop, &["--json"], &[]).expect(0).says(&["result: runs/preflight-"]);
    let files = results(&shop, "runs");
    assert_eq!(files.len(), 1, "the result, and no runs: {files:?}");
    let text = fs::read_to_string(&files[0]).unwrap();
    assert_eq!(text, finished.stdout, "what is printed is what is kept");
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["passed"], true);
    assert_eq!(record["via"], "env");
    assert_eq!((&record["steps"], &record["fleet_steps"]), (&Value::from(12), &Value::from(400)));
    assert_eq!(record["default_optimizer"], "adamw");
    assert_eq!(record["registry"]["lock"], "unlocked");
    for key in ["path", "sha256"] {
        assert!(!record["registry"][key].as_str().unwrap().is_empty());
    }
    assert!(record["config"]["file"].as_str().unwrap().ends_with("fleet.toml"));
    assert_eq!(record["config"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(record["argv"][1], "preflight");
    assert_eq!(record["versions"]["host"], env!("CARGO_PKG_VERSION"));
    let checks = record["checks"].as_array().unwrap();
    assert_eq!(checks.iter().map(|check| check["number"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(checks.iter().all(|check| check["holds"] == true), "{checks:#?}");
    assert_eq!(record["fake"]["exit_code"], 4);

    let runs = record["runs"].as_array().unwrap();
    // per label: itself, again, another rate, another schedule; and three more seeds of the default
    assert_eq!(runs.len(), 2 * 4 + 3);
    for run in runs {
        assert_eq!(run["reported"], run["asked"]);
        assert_eq!(run["source"], "alias:OPTIMIZER", "it came as the fleet sends it");
        assert_eq!(run["recorded_seed"], run["seed"]);
        let result = &run["result"];
        let bpb = result["val_bpb"].as_f64().unwrap();
        assert_eq!(result["val_bpb_bits"], format!("{:016x}", bpb.to_bits()), "17 digits name the same number");
        assert_eq!(result["val_loss_bits"].as_str().unwrap().len(), 16);
        for hash in ["parameter_hash", "trajectory_hash"] {
            assert_eq!(result[hash].as_str().unwrap().len(), 64);
        }
        assert!(run["seconds"].as_f64().unwrap() > 0.0);
    }
    let changed = |change: &str| -> Vec<&str> {
        let of_change = runs.iter().filter(|run| run["change"] == change);
        of_change.map(|run| run["changed"].as_str().unwrap()).collect()
    };
    assert_eq!(changed("lr"), ["lr 0.01 → 0.02"; 2]);
    assert_eq!(changed("schedule"), ["lr_schedule.kind cosine → linear"; 2]);
}

#[test]
fn every_way_to_send_ends_at_the_same_bits() {
    let shop = shop();
    let mut ends = Vec::new();
    for via in ["env", "flag", "config"] {
        let finished = gate(&shop, &["--json", "--via", via, "--jobs", "1"], &[("STEPS", "300")]).expect(0);
        let record: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(record["via"], via);
        assert_eq!((&record["steps"], &record["fleet_steps"]), (&Value::from(12), &Value::from(300)));
        let source = record["runs"][0]["source"].as_str().unwrap();
        assert!(source.starts_with(["alias:", "flag", "file:"][ends.len()]), "{source}");
        ends.push(hashes(&record));
    }
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0], ends[2]);
}

#[test]
fn what_can_be_refused_is_refused_before_anything_runs() {
    let shop = shop();
    shop.tiny_with("typo.toml", &[("batch_size", "batch_sise")]);
    // name, arguments, environment, exit code, what it says
    type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a [&'a str]);
    let rows: &[Row] = &[
        ("no list", &["--config", "fleet.toml"], &[], 2, &["--optimizers"]),
        ("an empty list", &["--optimizers", "", "--config", "fleet.toml"], &[], 2, &["error[U030]", "no label"]),
        ("an empty label", &["--optimizers", "adamw,,lion"], &[], 2, &["error[U030]", "empty"]),
        ("a label twice", &["--optimizers", "lion,adamw,lion"], &[], 2, &["error[U030]", "`lion`"]),
        ("the default alone", &["--optimizers", "adamw"], &[], 2, &["error[U030]", "only label"]),
        ("a run directory", &["--optimizers", "adamw,lion", "--run-dir", "x"], &[], 2, &["error[U031]", "--keep"]),
        (
            "unknown labels",
            &["--optimizers", "lionn,adamw,mouon"],
            &[],
            4,
            &["`lionn`", "did you mean `lion`?", "--optimizers mouon", "did you mean `muon`?"],
        ),
        ("an unknown default", &["--optimizers", "adamw,lion"], &[("OPTIMIZER", "adamm")], 4, &["OPTIMIZER=adamm"]),
        (
            "a hyper-parameter that one label lacks",
            &["--optimizers", "adamw,lion", "--set", "optimizer.eps=1e-9"],
            &[],
            4,
            &["`lion` has no hyper-parameter `eps`"],
        ),
        ("an unknown key", &["--optimizers", "adamw,lion", "--config", "typo.toml"], &[], 3, &["batch_sise"]),
        ("a misspelt variable", &["--optimizers", "adamw,lion"], &[("OPTIMISER", "lion")], 3, &["OPTIMISER"]),
        (
            "a variable above those of the fleet",
            &["--optimizers", "adamw,lion"],
            &[("HOST_SEED", "3"), ("TRIOS_OPTIMIZER", "lion")],
            3,
            &["error[G009]", "HOST_SEED=3", "TRIOS_OPTIMIZER=lion"],
        ),
        ("a setting above them", &["--optimizers", "adamw,lion", "--set", "seed=3"], &[], 3, &["error[G009]", "seed"]),
        (
            "variables above a file",
            &["--optimizers", "adamw,lion", "--via", "config"],
            &[("SEED", "3")],
            3,
            &["error[G009]", "SEED=3"],
        ),
        ("no time", &["--optimizers", "adamw,lion", "--time-limit", "0.001"], &[], 6, &["error[G011]", "0.001 s"]),
        (
            "a folder that cannot be one",
            &["--optimizers", "adamw,lion", "--runs-dir", "text.txt/runs"],
            &[],
            8,
            &["error[D140]", "text.txt/runs", "--runs-dir"],
        ),
        ("data that is not there", &["--optimizers", "adamw,lion", "--data", "nowhere.txt"], &[], 8, &["nowhere.txt"]),
    ];
    let before = shop.listing();
    for (name, args, env, code, says) in rows {
        let mut args: Vec<&str> = ["preflight"].iter().chain(*args).copied().collect();
        if !args.contains(&"--config") {
            args.extend(["--config", "fleet.toml"]);
        }
        let finished = shop.run(&args, env);
        assert_eq!(finished.code, Some(*code), "{name}:\n{}", finished.stderr);
        for text in *says {
            assert!(finished.stderr.contains(text), "{name}: stderr lacks `{text}`:\n{}", finished.stderr);
        }
        let faults: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with("error")).collect();
        let different: BTreeSet<&str> = faults.iter().copied().collect();
        assert_eq!(faults.len(), different.len(), "{name}: a fault is told more than once:\n{}", finished.stderr);
        assert!(!finished.stderr.contains("at a time:"), "{name}: runs were started:\n{}", finished.stderr);
        assert_eq!(finished.stdout, "", "{name}");
        assert_eq!(shop.listing(), before, "{name}: something was written");
    }
}

#[test]
fn a_label_that_does_not_learn_is_no_progress() {
    let shop = shop();
    // far too large for either
    let finished = gate(&shop, &["--lr", "1", "--set", "train.grad_clip=0", "--keep=gate"], &[]);
    let finished = finished.expect(6).says(&["error[G006]: no progress", "2 optimizers", "runs:"]);
    assert!(!finished.stderr.contains("error[G002]"), "not as identical:\n{}", finished.stderr);
    assert!(finished.stdout.contains("NOT PASSED"), "{}", finished.stdout);
    let files = results(&shop, "runs");
    let record: Value = serde_json::from_str(&fs::read_to_string(&files[0]).unwrap()).unwrap();
    assert_eq!(record["passed"], false);
    assert!(shop.path().join("gate/lion-s7/checkpoints/latest").is_file(), "runs are kept whole where that is asked");
}

#[test]
fn a_knob_that_a_group_overrides_is_dead() {
    let shop = shop();
    shop.write("fleet.toml", format!("{}\n[[group]]\npattern = \"*\"\nlr = 1e-2\n", support::TINY));
    let finished = gate(&shop, &[], &[]).expect(6).says(&["error[G005]: lr 0.01 → 0.02 changes nothing: `lion`"]);
    assert!(!finished.stderr.contains("error[G002]"), "{}", finished.stderr);
    let kept = finished.stderr.lines().find_map(|line| line.strip_prefix("runs:")).expect("where the runs are").trim();
    assert!(fs::read_to_string(PathBuf::from(kept).join("lion-s7-lr.log")).unwrap().contains("[entrypoint-trace]"));
    fs::remove_dir_all(kept).unwrap();
}

#[test]
fn declared_twins_and_exceptions_are_not_counted() {
    let shop = shop();
    let labels = "tiger,signsgd,adafactor-fairseq,rprop";
    let args = ["preflight", "--optimizers", labels, "--config", "rates.toml", "--steps", "12", "--json"];
    // without a rate of its own, every label has its plugin's
    let warmup = "[lr_schedule]\nwarmup_steps = 2\n\n[optimizer]";
    shop.tiny_with("rates.toml", &[("lr = 1e-2", ""), ("[optimizer]", warmup)]);
    let finished = shop.run(&args, &[]).expect(0);
    let record: Value = serde_json::from_str(&finished.stdout).unwrap();
    let exceptions = |check: usize| record["checks"][check]["exceptions"].to_string();
    assert!(exceptions(1).contains("`tiger` and `signsgd`"), "{}", exceptions(1));
    assert!(exceptions(4).contains("relative_step takes the rate from t alone"), "{}", exceptions(4));
    assert!(exceptions(4).contains("`rprop`, lr_schedule.kind"), "{}", exceptions(4));
    assert_eq!(record["checks"][4]["exceptions"].as_array().unwrap().len(), 3, "{}", exceptions(4));
}

#[test]
fn a_lock_is_vouched_for_in_the_result() {
    let shop = shop();
    shop.write("registry.toml", fs::read(registry()).unwrap());
    shop.run(&["registry", "lock"], &[]).expect(0);
    let finished = gate(&shop, &["--json"], &[]).expect(0);
    let record: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(record["registry"]["lock"].as_str().unwrap().starts_with("locked by "), "{record:#}");
}

/// The result is worth more than the file.
#[test]
fn a_result_that_cannot_be_kept_is_shown() {
    let shop = shop();
    let args = ["--steps", "12", "--keep=gate", "--runs-dir", "late", "--json"];
    let args: Vec<&str> = SMALL.into_iter().chain(args).collect();
    let mut gate = shop.command(&args, &[]).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(120);
    while !shop.path().join("gate/adamw-s7").exists() {
        assert!(gate.try_wait().unwrap().is_none() && Instant::now() < patience, "no run was started");
        std::thread::sleep(Duration::from_millis(20));
    }
    shop.write("late", "in the way");
    let output = gate.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(8), "{stderr}");
    let record: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(record["passed"], true);
    for text in ["error[D140]", "runs:   "] {
        assert!(stderr.contains(text), "no `{text}` in {stderr}");
    }
    assert!(!stderr.contains("result:"), "{stderr}");
}

#[test]
fn gates_of_the_same_second_have_a_result_each() {
    let shop = shop();
    let gate = |more: &[&str]| {
        let args: Vec<&str> = SMALL.iter().chain(&["--steps", "12", "--jobs", "1"]).chain(more).copied().collect();
        shop.spawn(&args)
    };
    let gates = [gate(&[]), gate(&["--keep"]), gate(&["--keep"]), gate(&[])];
    for mut gate in gates {
        assert_eq!(gate.wait().unwrap().code(), Some(0));
    }
    let (files, folders): (Vec<PathBuf>, Vec<PathBuf>) =
        results(&shop, "runs").into_iter().partition(|path| path.is_file());
    assert_eq!((files.len(), folders.len()), (4, 2), "{files:?} {folders:?}");
    for folder in &folders {
        assert!(files.contains(&folder.with_extension("json")), "{files:?} {folders:?}");
        assert!(folder.join("adamw-s7/checkpoints/latest").is_file());
    }
}

#[test]
fn operations_that_wait_for_a_loss_in_vain_are_said() {
    let shop = shop();
    let operation = |trigger: &str| format!("[[schedule]]\nname = \"change_lr\"\nvalue = 0.5\n{trigger}\n\n");
    let schedule = operation("trigger_loss = 100.0") + &operation("trigger_loss = 1e-9");
    shop.tiny_with("fleet.toml", &[("steps = 12", "steps = 400"), ("[optimizer]", &(schedule + "[optimizer]"))]);
    // the fleet's evaluations are rarer than the gate's runs are long
    let told = gate(&shop, &["--eval-every", "100", "--json"], &[]).expect(0);
    let record: Value = serde_json::from_str(&told.stdout).unwrap();
    for run in record["runs"].as_array().unwrap() {
        assert_eq!(run["unfired"], serde_json::json!(["schedule.1 change_lr"]), "the first is not among them");
    }
    let exceptions = record["checks"][1]["exceptions"].to_string();
    assert!(exceptions.contains("`schedule.1 change_lr` did not fire in 11 of 11 runs"), "{exceptions}");
    let shown = gate(&shop, &["--set", "train.eval_every=100"], &[]).expect(0);
    assert!(shown.stdout.contains("not counted: `schedule.1 change_lr` did not fire"), "{}", shown.stdout);
}

#[test]
fn an_interrupted_gate_decides_nothing_and_leaves_no_process() {
    let shop = shop();
    let args: Vec<&str> = SMALL.into_iter().chain(["--steps", "100000", "--keep=gate"]).collect();
    let mut gate = shop.spawn(&args);
    let lock = shop.path().join("gate/adamw-s7/run.lock");
    let patience = Instant::now() + Duration::from_secs(120);
    let run = loop {
        let pid = fs::read_to_string(&lock).unwrap_or_default();
        if pid.ends_with('\n') {
            break PathBuf::from("/proc").join(pid.trim());
        }
        assert!(gate.try_wait().unwrap().is_none() && Instant::now() < patience, "no run was started");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(run.exists());
    let sent = std::process::Command::new("kill").args(["-INT", &gate.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(gate.wait().unwrap().code(), Some(130));
    assert!(!run.exists(), "the run goes on");
    assert_eq!(results(&shop, "runs"), [] as [PathBuf; 0], "there is no result");
}
