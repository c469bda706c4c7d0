//! Why this trainer exists, end to end: a launcher hands labels over in a variable, and every one of them is trained or
//! refused. Fifteen services once ended at one bit-identical loss, because an unknown label fell to AdamW and nobody read
//! the variable. Below it, the other traps of that day.

mod support;

use std::{collections::BTreeSet, fs, process::Command};

use support::{Finished, Workshop, registry};

/// The labels of the services that all trained AdamW.
const LABELS: [&str; 15] = [
    "muon",
    "muon-cwd",
    "sgdm",
    "lion",
    "lamb",
    "soap",
    "tiger",
    "prodigy",
    "adafactor",
    "shampoo",
    "yogi",
    "ranger",
    "radam",
    "adabelief",
    "adamax",
];

/// Starts one run per label. Says nothing of optimizers but what is in the variable.
const LAUNCHER: &str = r#"#!/bin/sh
for label in "$@"; do
    OPTIMIZER="$label" "$HOST_BINARY" train --config fleet.toml --registry "$REGISTRY" --run-dir "runs/$label" >&2
    echo "$label $?"
done
"#;

/// Launches labels in the folder of the shop; gives label and exit code of each.
fn launch(shop: &Workshop, registry: &str, labels: &[&str]) -> (Vec<(String, i32)>, Finished) {
    let script = shop.path().join("launch.sh");
    let output = Command::new("/bin/sh")
        .arg(&script)
        .args(labels)
        .current_dir(shop.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("OMP_NUM_THREADS", "1")
        .env("HOST_BINARY", env!("CARGO_BIN_EXE_host"))
        .env("REGISTRY", registry)
        .output()
        .expect("there is a shell");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let finished =
        Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }.expect(0);
    let row = |line: &str| {
        let (label, code) = line.split_once(' ').expect("label and exit code");
        (label.to_string(), code.parse().unwrap())
    };
    (finished.stdout.lines().map(row).collect(), finished)
}

fn fleet() -> Workshop {
    let shop = Workshop::new();
    shop.tiny_with("fleet.toml", &[("label = \"adamw\"\nlr = 1e-2", "lr = 3e-3")]);
    shop.write("launch.sh", LAUNCHER);
    shop
}

#[test]
fn fifteen_labels_in_a_variable_are_fifteen_trainings() {
    let shop = fleet();
    let registry = registry();
    let registry = registry.to_str().unwrap();
    // two launchers, for two cores
    std::thread::scope(|scope| {
        for half in LABELS.chunks(8) {
            let shop = &shop;
            scope.spawn(move || {
                let (codes, finished) = launch(shop, registry, half);
                let expected: Vec<(String, i32)> = half.iter().map(|label| (label.to_string(), 0)).collect();
                assert_eq!(codes, expected, "{}", finished.stderr);
            });
        }
    });
    let mut distinct: [BTreeSet<String>; 3] = Default::default();
    for label in LABELS {
        let run = format!("runs/{label}");
        let record = shop.record(&run);
        assert_eq!(shop.optimizer(&run, label)["reported"], label);
        assert_eq!(shop.optimizer(&run, label)["source"], "alias:OPTIMIZER");
        assert!(record["trace"].as_str().unwrap().contains(&format!("opt=({label}, src=alias:OPTIMIZER")));
        let texts = [&record["parameter_hash"], &record["trajectory_hash"], &record["result"]["val_loss_bits"]];
        for (all, text) in distinct.iter_mut().zip(texts) {
            assert!(all.insert(text.as_str().unwrap().to_string()), "{label} ended where another label did");
        }
    }
    assert!(distinct.iter().all(|all| all.len() == LABELS.len()));
}

#[test]
fn labels_that_the_registry_lacks_are_refused_before_any_work() {
    let shop = fleet();
    let missing = ["soap", "prodigy", "lamb"];
    let text = fs::read_to_string(registry()).unwrap();
    let is_missing = |entry: &&str| !missing.iter().any(|label| entry.contains(&format!("label = \"{label}\"")));
    let entries: Vec<&str> = text.split("[[optimizer]]").filter(is_missing).collect();
    assert_eq!(entries.len() + missing.len(), text.split("[[optimizer]]").count());
    shop.write("smaller/registry.toml", entries.join("[[optimizer]]"));
    // data that nobody may look at
    fs::remove_file(shop.path().join("text.txt")).unwrap();
    let before = shop.listing();
    let (codes, finished) = launch(&shop, "smaller/registry.toml", &missing);
    for (label, code) in codes {
        assert_eq!(code, 4, "{label}:\n{}", finished.stderr);
        assert!(finished.stderr.contains(&format!("optimizer label `{label}` is not in the registry")));
        assert!(finished.stderr.contains(&format!("--> OPTIMIZER={label}")), "{}", finished.stderr);
    }
    assert_eq!(finished.stderr.matches("error[R001]").count(), missing.len(), "{}", finished.stderr);
    assert!(!finished.stderr.contains("text.txt: "), "data was looked at:\n{}", finished.stderr);
    assert_eq!(shop.listing(), before, "nothing was written");

    shop.write("text.txt", support::text(6000));
    let (codes, _) = launch(&shop, "smaller/registry.toml", &["lion"]);
    assert_eq!(codes, [("lion".to_string(), 0)], "the launcher is sound");
}

#[test]
fn a_label_arrives_by_every_way_in() {
    let shop = Workshop::new();
    shop.tiny_with("lion.toml", &[("\"adamw\"", "\"lion\"")]);
    // way, configuration, arguments, environment, source that the record names
    type Way<'a> = (&'a str, &'a str, &'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let ways: &[Way] = &[
        ("flag", "tiny.toml", &["--optimizer", "lion"], &[], "flag"),
        ("set", "tiny.toml", &["--set", "optimizer.label=lion"], &[], "set"),
        ("host", "tiny.toml", &[], &[("HOST_OPTIMIZER", "lion")], "HOST_*:HOST_OPTIMIZER"),
        ("trios", "tiny.toml", &[], &[("TRIOS_OPTIMIZER", "lion")], "TRIOS_*:TRIOS_OPTIMIZER"),
        ("bare", "tiny.toml", &[], &[("OPTIMIZER", "lion")], "alias:OPTIMIZER"),
        ("file", "lion.toml", &[], &[], "file:lion.toml:"),
        ("file-by-variable", "", &[], &[("CONFIG", "lion.toml")], "file:lion.toml:"),
    ];
    shop.train("adamw", &[]).expect(0);
    let mut hashes = BTreeSet::new();
    for (run, config, args, env, source) in ways {
        let mut all = vec!["train", "--run-dir", run];
        if !config.is_empty() {
            all.extend(["--config", config]);
        }
        all.extend(*args);
        shop.run(&all, env).expect(0);
        let label = shop.optimizer(run, "lion");
        assert_eq!(label["reported"], "lion", "{run}");
        assert!(label["source"].as_str().unwrap().starts_with(source), "{run}: {label:#}");
        hashes.insert(shop.hash(run));
    }
    assert_eq!(hashes.len(), 1, "one label, one result, whatever way it came");
    // a run that goes on has no label sent at all
    let resumed = ["train", "--config", "lion.toml", "--resume=bare/checkpoints/step-00000004"];
    shop.run(&resumed, &[]).expect(0);
    assert_eq!(shop.optimizer("bare", "lion")["reported"], "lion");
    hashes.insert(shop.hash("bare"));
    assert_eq!(hashes.len(), 1);
    assert!(hashes.insert(shop.hash("adamw")), "and another one than the default's");
}

#[test]
fn num_attn_layers_builds_as_many_as_it_says() {
    let shop = Workshop::new();
    let args = ["train", "--config", "tiny.toml", "--run-dir", "run", "--steps", "1"];
    shop.run(&args, &[("NUM_ATTN_LAYERS", "4")]).expect(0).says(&["attn_layers=(4, src=alias:NUM_ATTN_LAYERS"]);
    let bytes = fs::read(shop.path().join("run/checkpoints/step-00000001/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let layers: BTreeSet<&str> =
        tensors.names().iter().filter_map(|name| name.strip_prefix("transformer.h.")?.split('.').next()).collect();
    assert_eq!(layers.into_iter().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn the_traced_seed_is_the_seed_that_is_used() {
    let shop = Workshop::new();
    let steps = ["--steps", "2", "--seed", "12"];
    shop.train("flag", &steps).expect(0);
    let args: Vec<&str> = ["train", "--config", "tiny.toml", "--run-dir", "both"].into_iter().chain(steps).collect();
    let says = ["seed=(12, src=flag, overrides 11 from alias:SEED"];
    shop.run(&args, &[("SEED", "11")]).expect(0).says(&says);
    assert_eq!(shop.record("both")["seed"], 12);
    assert_eq!(shop.hash("both"), shop.hash("flag"), "the variable below is not looked at again");
    let args = ["train", "--config", "tiny.toml", "--run-dir", "variable", "--steps", "2"];
    shop.run(&args, &[("SEED", "11")]).expect(0).says(&["seed=(11, src=alias:SEED"]);
    assert_ne!(shop.hash("variable"), shop.hash("flag"));
}
