//! Optimizer state in bf16, as a user sees it: who has it, what it costs, what a resume gives, what is refused.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::Workshop;

/// Optimizers of every kind, each with slots in bf16 and in f32: elementwise, with sums over a tensor, with a memory,
/// evaluated at other weights, over whole tensors with a companion, over whole tensors alone.
const LABELS: [(&str, &[&str], &str, &str); 7] = [
    ("adamw", &["optimizer.beta2=0.95"], "exp_avg exp_avg_sq", ""),
    ("adamw", &[], "exp_avg", "exp_avg_sq"),
    ("lamb", &[], "exp_avg", "exp_avg_sq"),
    ("prodigy", &["optimizer.beta2=0.99"], "exp_avg exp_avg_sq", "s p0"),
    ("schedulefree-adamw", &["optimizer.beta2=0.95"], "exp_avg_sq", "z"),
    ("muon", &[], "momentum_buffer exp_avg", "exp_avg_sq"),
    ("soap", &[], "exp_avg exp_avg_sq", ""),
];

/// The element type of every slot in a run's last checkpoint.
fn saved(shop: &Workshop, run: &str) -> BTreeMap<String, String> {
    let checkpoints = shop.path().join(run).join("checkpoints");
    let latest = fs::read_to_string(checkpoints.join("latest")).unwrap();
    let bytes = fs::read(checkpoints.join(latest.trim()).join("optimizer.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let slots = header.iter().filter_map(|(key, tensor)| {
        let slot = key.rsplit_once('/').filter(|(parameter, _)| !parameter.starts_with("optimizer:"))?.1;
        Some((slot.to_string(), tensor["dtype"].as_str()?.to_string()))
    });
    slots.collect()
}

/// Thirty steps, of which a run that is killed in the middle and resumed makes the same bits.
#[test]
fn thirty_steps_resumed_end_at_the_same_bits() {
    let shop = Workshop::new();
    shop.tiny_with("thirty.toml", &[("steps = 12", "steps = 30"), ("checkpoint_every = 4", "checkpoint_every = 10")]);
    for (index, (label, sets, narrow, wide)) in LABELS.into_iter().enumerate() {
        let begin = |run: String, format: &str| {
            let mut args: Vec<String> = ["train", "--config", "thirty.toml", "--run-dir"].map(String::from).into();
            args.extend([
                run,
                "--optimizer".into(),
                label.into(),
                "--lr=1e-3".into(),
                format!("--state-format={format}"),
            ]);
            args.extend(sets.iter().map(|set| format!("--set={set}")));
            args
        };
        let (whole, killed, f32) = (format!("{index}-whole"), format!("{index}-killed"), format!("{index}-f32"));
        shop.run(&begin(whole.clone(), "bf16"), &[]).expect(0).says(&["state_format=(bf16, src=flag)", "(bf16: "]);
        let found = saved(&shop, &whole);
        let of = |names: &str, dtype: &str| {
            for name in names.split_whitespace() {
                assert_eq!(found.get(name).map(String::as_str), Some(dtype), "{label}: {name} of {found:?}");
            }
        };
        of(narrow, "BF16");
        of(wide, "F32");

        let mut child = shop.spawn(&begin(killed.clone(), "bf16"));
        let patience = Instant::now() + Duration::from_secs(120);
        let metrics = shop.path().join(&killed).join("metrics.jsonl");
        while fs::read_to_string(&metrics).unwrap_or_default().lines().count() < 14 {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < patience, "{label} was too fast, or hangs");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        shop.run(&["resume", &killed], &[]).expect(0);
        assert_eq!(shop.hash(&killed), shop.hash(&whole), "{label}");

        shop.run(&begin(f32.clone(), "f32"), &[]).expect(0);
        assert_ne!(shop.hash(&f32), shop.hash(&whole), "{label}: rounding shows");
        assert!(saved(&shop, &f32).values().all(|dtype| dtype != "BF16"));
        let loss = |run: &str| shop.record(run)["result"]["val_loss"].as_f64().unwrap();
        assert!((loss(&f32) - loss(&whole)).abs() < 0.02 * loss(&f32), "{label}: {} {}", loss(&f32), loss(&whole));
    }
}

/// Groups have formats of their own; the table of groups and the configuration that is kept say so.
#[test]
fn a_group_has_a_format_of_its_own() {
    let shop = Workshop::new();
    let groups =
        "\n[[group]]\nroles = [\"matrix\"]\nstate_format = \"bf16\"\nbeta2 = 0.95\n\n[[group]]\npattern = \"*\"\n";
    let text = fs::read_to_string(shop.path().join("tiny.toml")).unwrap();
    shop.write("groups.toml", text + groups);
    let run = |name: &str, more: &[&str]| {
        let mut args = vec!["train", "--config", "groups.toml", "--run-dir", name];
        args.extend(more);
        shop.run(&args, &[]).expect(0)
    };
    let finished = run("matrix", &[])
        .says(&["group.0.state_format=(bf16, src=file:groups.toml", "state_format=(f32, src=default)"]);
    assert_eq!(finished.stderr.matches("(bf16: exp_avg, exp_avg_sq)").count(), 1, "{}", finished.stderr);
    let all = run("all", &["--state-format", "bf16", "--set", "group.0.state_format=f32"]);
    assert_eq!(all.stderr.matches("(bf16: exp_avg; f32: exp_avg_sq)").count(), 1, "{}", all.stderr);
    shop.run(&["train", "--config", "matrix/config.toml", "--run-dir", "again"], &[]).expect(0);
    assert_eq!(shop.hash("again"), shop.hash("matrix"));
    assert_ne!(shop.hash("all"), shop.hash("matrix"));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let shop = Workshop::new();
    let text = fs::read_to_string(shop.path().join("tiny.toml")).unwrap();
    shop.write("own.toml", format!("{text}\n[[group]]\npattern = \"*\"\nstate_format = \"bf16\"\n"));
    shop.write("typo.toml", format!("{text}\n[[group]]\npattern = \"*\"\nstate_format = \"bf61\"\n"));
    shop.write(
        "older.toml",
        "[plugins]\nold = \"./libold.so\"\n\n[[optimizer]]\nlabel = \"overruns\"\nplugin = \"old\"\n",
    );
    fs::copy(support::library("overruns"), shop.path().join("libold.so")).unwrap();
    let table: [(&[&str], i32, &[&str]); 9] = [
        (&["--state-format", "f16"], 2, &["f16", "bf16"]),
        (&["--set", "state_format=f61"], 3, &["error[C003]", "state_format", "`f32`, `bf16`"]),
        (&["--config", "typo.toml"], 3, &["error[C003]", "typo.toml:", "did you mean `bf16`?"]),
        (
            &["--state-format", "bf16", "--format", "f64"],
            3,
            &["error[C014]: `state_format` would have no effect", "format"],
        ),
        (
            &["--config", "own.toml", "--format", "f64"],
            3,
            &["error[C014]: the state of f64 parameters is f64", "own.toml:"],
        ),
        (
            &["--state-format", "bf16", "--optimizer", "adagrad"],
            3,
            &["error[C046]: `adagrad` has no state that can be kept in bf16", "flag  state_format", "hint: leave"],
        ),
        (&["--config", "own.toml", "--optimizer", "adagrad"], 3, &["error[C046]", "own.toml:", "group.0.state_format"]),
        (
            &["--state-format", "bf16", "--registry", "older.toml", "--optimizer", "overruns"],
            3,
            &[
                "error[C045]: optimizer `overruns` cannot keep its state in bf16",
                "`old` was built",
                "hint: build the plugin",
            ],
        ),
        (
            &["--config", "own.toml", "--optimizer", "sgdm", "--set", "optimizer.momentum=0.999"],
            3,
            &["error[C046]", "sgdm"],
        ),
    ];
    let before = shop.listing();
    for (more, code, words) in table {
        let mut args = vec!["train", "--run-dir", "run"];
        if !more.contains(&"--config") {
            args.extend(["--config", "tiny.toml"]);
        }
        args.extend(more);
        shop.run(&args, &[]).expect(code).says(words);
        assert_eq!(shop.listing(), before, "{more:?}");
    }
    // The older plugin goes on to run in f32.
    shop.train("older", &["--registry", "older.toml", "--optimizer", "overruns"]).expect(0);
    shop.train("run", &["--state-format", "bf16"]).expect(0);
    shop.run(&["resume", "run"], &[("STATE_FORMAT", "f32")]).expect(3).says(&["error[C015]", "state_format", "bf16"]);
}
