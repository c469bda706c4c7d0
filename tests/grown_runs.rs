//! Runs whose network grows, as a user sees them: told, planned, resumed at the same bits, refused where they cannot be.

mod support;

use std::{fs, path::Path};

use safetensors::{serialize_to_file, tensor::TensorView};
use serde_json::Value;
use support::Workshop;

/// Optimizers of every kind: over elements, with a memory, evaluated at other weights, over matrices, factored.
const LABELS: [&str; 7] = ["adamw", "lion", "prodigy", "schedulefree-adamw", "muon", "soap", "adafactor"];

fn entry(name: &str, hyper: &str, wait: u64) -> String {
    format!("[[schedule]]\nname = \"{name}\"\n{hyper}\nmax_wait_steps = {wait}\n")
}

/// Every kind of change, within twelve steps.
fn everything() -> String {
    entry("stack-layers", "", 2)
        + &entry("widen-mlp", "factor = 1.5", 2)
        + &entry("set-attn-lora-rank", "rank = 4", 1)
        + &entry("set-vocab-lora-rank", "rank = 2", 0)
        + &entry("change_lora_alpha", "value = 0.5", 1)
        + &entry("decrease-attn-lora-scaling", "factor = 2.0", 1)
        + &entry("merge-lora-weights", "", 1)
        + &entry("resize-vocabulary", "size = 300", 1)
        + &entry("freeze-layer", "layer = 1", 0)
        + &entry("duplicate-layer", "layer = 0\nmode = \"plain\"", 1)
}

/// `tiny.toml` with this optimizer and schedule.
fn config(shop: &Workshop, name: &str, label: &str, schedule: &str) {
    let text = support::TINY.replace("label = \"adamw\"\nlr = 1e-2", &format!("label = \"{label}\""));
    shop.write(name, text + "\n" + schedule);
}

/// Events of a kind: step, name, and the line.
fn events(shop: &Workshop, run: &str, event: &str) -> Vec<Value> {
    shop.metrics(run).into_iter().filter(|line| line["event"] == event).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

/// The state before and after each operation is whole in a checkpoint.
#[test]
fn resumed_from_anywhere_it_ends_at_the_same_bits() {
    let shop = Workshop::new();
    for label in LABELS {
        config(&shop, "grown.toml", label, &everything());
        // a slot in bf16 follows its parameter too
        let state_format = if label == "lion" { "state_format=bf16" } else { "state_format=f32" };
        let every = ["--set", "run.checkpoint_every=1", "--set", "run.keep_last=20", "--set", state_format];
        shop.run(&[&["train", "--config", "grown.toml", "--run-dir", label], &every[..]].concat(), &[]).expect(0);
        assert_eq!(events(&shop, label, "operation_success").len(), 10, "{label}");
        for step in [2, 5, 7, 9] {
            let other = format!("{label}-{step}");
            copy(&shop.path().join(label), &shop.path().join(&other));
            let from = format!("--resume={other}/checkpoints/step-{step:08}");
            shop.run(&[&["train", "--config", "grown.toml", &from], &every[..]].concat(), &[]).expect(0);
            assert_eq!(shop.hash(&other), shop.hash(label), "{label}, resumed after step {step}");
        }
    }
}

#[test]
fn what_became_of_parameters_and_state_is_told() {
    let shop = Workshop::new();
    config(&shop, "grown.toml", "adamw", &everything());
    let finished = shop.run(&["train", "--config", "grown.toml", "--run-dir", "run"], &[]).expect(0);
    finished.says(&["operation_success", "with state reset", "the head has a weight of its own from here on"]);
    let told = events(&shop, "run", "operation_success");
    let counts = |of: usize| {
        let parameters = &told[of]["parameters"];
        let number = |name: &str| parameters[name].as_u64().unwrap();
        let names = |name: &str| parameters[name].as_array().unwrap().len();
        (number("kept"), number("mapped"), number("merged"), number("fresh"), names("reset"), names("approximated"))
    };
    // A block has 12 parameters, and 4 are outside. Of a copied block, two projections and their biases begin anew.
    assert_eq!(counts(0), (28, 24, 0, 0, 8, 0));
    assert_eq!(counts(1), (40, 12, 0, 0, 0, 0), "of each block, what leads into and out of the hidden units");
    assert_eq!(counts(2), (52, 0, 0, 16, 0, 0), "two adapters of two matrices for each of four blocks");
    assert_eq!(counts(3), (68, 0, 0, 2, 0, 0));
    assert!(told[4]["parameters"].is_null(), "a hyper-parameter has no table");
    assert_eq!(counts(5), (46, 0, 8, 16, 0, 0), "the adapters of attention are merged, that of the vocabulary is kept");
    assert_eq!(
        (&told[0]["old"].as_str().unwrap()[..9], &told[0]["new"].as_str().unwrap()[..9]),
        ("2 layers,", "4 layers,")
    );
    assert!(told[3]["new"].as_str().unwrap().contains(", attention rank 4, vocabulary rank 2,"));
    let report = fs::read_to_string(shop.path().join("run/report.html")).unwrap();
    assert!(report.contains("; parameters: 28 kept, 24 mapped, 8 with state reset"));

    let reset = ["train", "--config", "grown.toml", "--run-dir", "reset", "--set", "growth.state=reset"];
    shop.run(&reset, &[]).expect(0);
    let told = events(&shop, "reset", "operation_success");
    assert_eq!(told[0]["parameters"]["reset"].as_array().unwrap().len(), 52, "all state restarts");
    assert_ne!(shop.hash("reset"), shop.hash("run"));
}

/// What `host plan` says of the network on the way is what the run comes to.
#[test]
fn a_plan_comes_true() {
    let shop = Workshop::new();
    config(&shop, "grown.toml", "adamw", &everything());
    let printed = shop.run(&["plan", "--config", "grown.toml", "--json"], &[]).expect(0).stdout;
    let stages: Vec<Value> = serde_json::from_str(&printed).unwrap();
    shop.run(&["train", "--config", "grown.toml", "--run-dir", "run"], &[]).expect(0);
    let told = events(&shop, "run", "operation_success");
    for (stage, told) in stages[1..].iter().zip(&told) {
        let new = told["new"].as_str().unwrap();
        if told["parameters"].is_object() {
            let all = format!("{} parameters, {} trained", stage["parameters"], stage["trained"]);
            assert!(new.ends_with(&all) && new.starts_with(&format!("{} layers", stage["layers"])), "{stage:#} {new}");
        }
    }
    let last = stages.last().unwrap();
    assert_eq!((&last["layers"], &last["mlp"]), (&5.into(), &serde_json::json!([96])));
    assert_eq!(last["state_bytes"], shop.record("run")["cost"]["state_bytes"]);
}

/// A group may wait for what an operation makes; a group, or a projection's inputs, that an operation takes away from
/// its parameter is refused or told.
#[test]
fn groups_and_projections_follow_names() {
    let shop = Workshop::new();
    let run = |name: &str, text: &str| {
        config(&shop, "grown.toml", "adamw", text);
        shop.run(&["train", "--config", "grown.toml", "--run-dir", name], &[])
    };
    let adapters = "[[group]]\nroles = [\"adapter\"]\nlr = 0.03\n\n[[group]]\npattern = \"*\"\n\n";
    let rank = entry("set-attn-lora-rank", "rank = 2", 3);
    run("waits", &(adapters.to_string() + &rank)).expect(0);
    run("in-vain", &(adapters.to_string() + &entry("duplicate-layer", "", 3)))
        .expect(3)
        .says(&["error[C041]", "group 0"]);
    run("ends", &(adapters.to_string() + &rank + &entry("set-attn-lora-rank", "rank = 0", 3))).expect(0);

    let blocks = "[[group]]\npattern = \"transformer.h.1.*\"\nlr = 0.03\n\n[[group]]\npattern = \"*\"\n\n";
    run("moves", &(blocks.to_string() + &entry("duplicate-layer", "", 3))).expect(0);
    let regrouped = events(&shop, "moves", "operation_success")[0]["parameters"]["regrouped"].clone();
    let names: Vec<&str> = regrouped.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(names.len(), 24, "the copy is now block 1, and block 1 is block 2: {names:?}");
    assert!(
        names
            .iter()
            .any(|one| one.starts_with("transformer.h.2.") && one.ends_with("instead of pattern transformer.h.1.*"))
    );

    let most = "[[group]]\nroles = [\"matrix\", \"embedding\", \"vector\"]\n\n";
    run("left-out", &(most.to_string() + &rank)).expect(3).says(&["error[C043]", "grown.toml:"]);
    run("skipped", &(most.to_string() + &rank + "on_error = \"skip\"\n")).expect(0).says(&["operation_error"]);

    let weights = vec![1.0_f32 / 16.0; 16 * 16];
    let bytes: Vec<u8> = weights.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = TensorView::new(safetensors::Dtype::F32, vec![16, 16], &bytes).unwrap();
    let named = [("transformer.h.1.attn.c_proj.weight", tensor)];
    serialize_to_file(named, None, &shop.path().join("directions.safetensors")).unwrap();
    let projection = "[[projection]]\nlabel = \"remove-direction\"\npattern = \"transformer.h.1.attn.c_proj.weight\"\n\
                      inputs = { direction = \"directions.safetensors\" }\n\n";
    run("stays", &(projection.to_string() + &entry("widen-mlp", "", 3))).expect(0);
    run("lost", &(projection.to_string() + &entry("duplicate-layer", "", 3)))
        .expect(3)
        .says(&["error[C063]", "transformer.h.1.attn.c_proj.weight"]);
    for refused in ["in-vain", "left-out", "lost"] {
        assert!(!shop.path().join(refused).exists(), "{refused}");
    }
}

/// Function-preserving operations cost nothing that twenty steps do not make good, with state carried.
#[test]
fn twenty_steps_later_it_is_no_worse() {
    let shop = Workshop::new();
    for (label, lr) in [("adamw", 1e-3), ("sgdm", 3e-2), ("lion", 1e-4), ("muon", 2e-3)] {
        for (name, hyper) in [("widen-mlp", "factor = 2.0\nreevaluate = true"), ("stack-layers", "reevaluate = true")] {
            config(&shop, "grown.toml", label, &entry(name, hyper, 60));
            let run = format!("{label}-{name}");
            let lr = format!("optimizer.lr={lr}");
            let args = ["train", "--config", "grown.toml", "--run-dir", &run, "--steps", "100", "--set", &lr];
            let often =
                ["--set", "train.eval_every=20", "--set", "train.eval_steps=16", "--set", "lr_schedule.kind=constant"];
            shop.run(&[&args[..], &often].concat(), &[]).expect(0);
            let lines = shop.metrics(&run);
            let losses = |step: u64| -> Vec<f64> {
                let evals = lines.iter().filter(|line| line["kind"] == "eval" && line["step"] == step);
                evals.map(|line| line["val_loss"].as_f64().unwrap()).collect()
            };
            let (at, after) = (losses(60), losses(80));
            assert_eq!((at.len(), after.len()), (2, 1), "{run}");
            assert!((at[1] - at[0]).abs() < 1e-5, "{run}: {at:?}");
            assert!(after[0] <= 1.01 * at[0], "{run}: {} twenty steps after {}", after[0], at[0]);
        }
    }
}

#[test]
fn operations_that_cannot_be_done_are_refused_before_anything_is_written() {
    let shop = Workshop::new();
    let table: [(&str, &str, i32, &[&str]); 12] = [
        ("widen-mlp", "factor = 1.0", 5, &["error[P002]", "no whole number above 64"]),
        ("widen-mlp", "factor = 0.5", 4, &["error[C071]", "factor"]),
        ("set-mlp-width", "width = 64", 5, &["error[P002]", "above 64"]),
        ("stack-layers", "times = 1", 4, &["error[C071]", "times"]),
        ("stack-layers", "times = 2.5", 5, &["error[P002]", "whole number"]),
        ("stack-layers", "mode = \"exakt\"", 4, &["error[C071]", "did you mean `exact`?"]),
        ("duplicate-layer", "layer = 2", 5, &["error[P002]", "no block 2"]),
        ("merge-lora-weights", "", 5, &["error[P002]", "no adapter"]),
        ("decrease-attn-lora-scaling", "", 5, &["error[P002]", "`set-attn-lora-rank` gives it one"]),
        ("decrease-attn-lora-scaling", "factor = 0", 4, &["error[C071]"]),
        ("set-attn-lora-rank", "rank = 17", 5, &["error[P002]", "larger than the width of 16"]),
        ("resize-vocabulary", "size = 256", 5, &["error[P002]", "not more than the 256 tokens"]),
    ];
    for (name, hyper, code, says) in table {
        config(&shop, "grown.toml", "adamw", &entry(name, hyper, 3));
        let before = shop.listing();
        let finished = shop.run(&["train", "--config", "grown.toml", "--run-dir", "run"], &[]);
        assert_eq!(finished.code, Some(code), "{name} {hyper}\n{}", finished.stderr);
        finished.says(says);
        assert_eq!(shop.listing(), before, "{name} {hyper}");
    }
}
