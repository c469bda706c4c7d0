//! Plugins as their authors meet the host: built outside the workspace, failing, projecting, changing the network.

mod support;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use safetensors::{SafeTensors, serialize_to_file, tensor::TensorView};
use support::{TINY, Workshop, library, repository};

#[test]
fn a_crate_outside_the_workspace_builds_without_libtorch_and_trains() {
    let shop = Workshop::new();
    let sdk = repository().join("sdk");
    shop.write(
        "halfway/Cargo.toml",
        format!(
            "[package]\nname = \"halfway\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
             [dependencies]\nsdk = {{ path = {:?} }}\n\n[workspace]\n",
            sdk.display().to_string()
        ),
    );
    shop.write("halfway/src/lib.rs", include_str!("fixtures/outside.rs"));
    let built = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet"])
        .current_dir(shop.path().join("halfway"))
        .env("CARGO_TARGET_DIR", repository().join("target/outside"))
        .env("LIBTORCH", "/nowhere")
        .status()
        .unwrap();
    assert!(built.success(), "a plugin needs no libtorch");
    let library = repository().join("target/outside/debug/libhalfway.so");
    shop.write(
        "registry.toml",
        format!(
            "[plugins]\nmine = {:?}\n\n[[optimizer]]\nlabel = \"halfway\"\nplugin = \"mine\"\n",
            library.display().to_string()
        ),
    );
    shop.train("run", &["--optimizer", "halfway", "--lr", "0.5"]).expect(0);
    assert_eq!(shop.optimizer("run", "halfway")["reported"], "halfway");
    let listed = shop.run(&["--list-optimizers", "--json"], &[]).expect(0).stdout;
    assert!(listed.contains("halfway"), "{listed}");
}

#[test]
fn a_panic_is_an_error_and_leaves_the_last_checkpoint_whole() {
    let shop = Workshop::new();
    let fixture = library("panics").display().to_string();
    shop.write(
        "registry.toml",
        format!("[plugins]\nit = {fixture:?}\n\n[[optimizer]]\nlabel = \"panics\"\nplugin = \"it\"\n"),
    );
    shop.tiny_with(
        "often.toml",
        &[("checkpoint_every = 4", "checkpoint_every = 1"), ("label = \"adamw\"\nlr = 1e-2", "label = \"panics\"")],
    );
    let finished = shop.run(&["train", "--config", "often.toml", "--run-dir", "run"], &[]).expect(5);
    finished.says(&["panics", "step 3", ".rs:", "error[P"]);
    assert_eq!(shop.record("run")["exit_code"], 5);
    assert_eq!(fs::read_to_string(shop.path().join("run/checkpoints/latest")).unwrap().trim(), "step-00000002");
    shop.run(&["sample", "run", "--tokens", "5"], &[]).expect(0);
}

#[test]
fn an_error_of_a_whole_tensor_rule_ends_the_run_with_5() {
    let shop = Workshop::new();
    let fixture = library("fails").display().to_string();
    shop.write(
        "registry.toml",
        format!("[plugins]\nit = {fixture:?}\n\n[[optimizer]]\nlabel = \"fails\"\nplugin = \"it\"\n"),
    );
    shop.tiny_with("fails.toml", &[("label = \"adamw\"\nlr = 1e-2", "label = \"fails\"")]);
    shop.run(&["train", "--config", "fails.toml", "--run-dir", "run"], &[])
        .expect(5)
        .says(&["error[P", "the rule gives up at step 10"]);
}

/// The parameters of a run's checkpoint.
fn parameters(run: &Path, step: u64) -> BTreeMap<String, Vec<f64>> {
    let file = run.join(format!("checkpoints/step-{step:08}/model.safetensors"));
    let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |view: TensorView| view.data().chunks(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect();
    tensors.tensors().into_iter().map(|(name, view)| (name, floats(view))).collect()
}

/// A step of plain gradient descent in f64, without clipping, dropout or decay.
const PLAIN: &str = "[[group]]\nroles = [\"matrix\", \"embedding\", \"vector\"]\nmomentum = 0.0\n";

#[test]
fn a_projection_removes_the_component_along_a_direction() {
    let shop = Workshop::new();
    let name = "transformer.h.1.mlp.c_fc.weight";
    let n = 64 * 16;
    let direction: Vec<f64> = (0..n).map(|i| ((i * 37 % 101) as f64 - 50.0) / 50.0).collect();
    let length = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
    let direction: Vec<f64> = direction.iter().map(|v| v / length).collect();
    let bytes: Vec<u8> = direction.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(safetensors::Dtype::F64, vec![64, 16], &bytes).unwrap();
    serialize_to_file([(name, view)], None, &shop.path().join("direction.safetensors")).unwrap();
    let base = TINY.replace("label = \"adamw\"\nlr = 1e-2", "label = \"sgdm\"\nlr = 0.5\n") + PLAIN;
    shop.write("plain.toml", &base);
    shop.write(
        "projected.toml",
        format!("{base}\n[[projection]]\nlabel = \"remove-direction\"\npattern = \"{name}\"\ninputs = {{ direction = \"direction.safetensors\" }}\n"),
    );
    let more = [
        "--format",
        "f64",
        "--steps",
        "1",
        "--set",
        "model.dropout=0",
        "--set",
        "train.grad_clip=0",
        "--set",
        "lr_schedule.kind=constant",
        "--set",
        "lr_schedule.warmup_steps=0",
    ];
    for config in ["plain", "projected", "start"] {
        let file = format!("{}.toml", if config == "start" { "plain" } else { config });
        let mut args = vec!["train", "--config", &file, "--run-dir", config];
        args.extend(more);
        if config == "start" {
            args.extend(["--lr", "0"]);
        }
        shop.run(&args, &[]).expect(0);
    }
    let [plain, projected, start] = ["plain", "projected", "start"].map(|run| parameters(&shop.path().join(run), 1));
    // x₁ = x₀ − lr·(g − (v·g)·v), with lr·g = x₀ − x₁ of the plain run
    let moved: Vec<f64> = start[name].iter().zip(&plain[name]).map(|(a, b)| a - b).collect();
    let along: f64 = moved.iter().zip(&direction).map(|(a, b)| a * b).sum();
    assert!(along.abs() > 1e-9, "the gradient has a component to remove: {along}");
    for i in 0..n {
        let expected = start[name][i] - (moved[i] - along * direction[i]);
        assert!((projected[name][i] - expected).abs() < 1e-14, "element {i}: {} and {expected}", projected[name][i]);
    }
    for other in plain.keys().filter(|other| *other != name) {
        assert_eq!(plain[other], projected[other], "{other} is not projected");
    }
    let line = shop.metrics("projected").into_iter().find(|line| line.get("loss").is_some()).unwrap();
    assert!(line.to_string().contains("cos_out"), "what the projection measured is in the metrics: {line}");
}

#[test]
fn a_projection_of_frozen_parameters_alone_is_refused_before_data_is_read() {
    let shop = Workshop::new();
    let name = "transformer.h.0.attn.c_attn.weight";
    let lora = TINY.replace("bias = true", "bias = true\nlora_rank = 2");
    let projection = |pattern: &str| {
        format!(
            "{lora}\n[[projection]]\nlabel = \"remove-direction\"\npattern = \"{pattern}\"\n\
             inputs = {{ direction = \"none.safetensors\" }}\n"
        )
    };
    let train = ["train", "--config", "frozen.toml", "--run-dir", "run", "--data", "nowhere.txt"];
    for (pattern, says) in [(name, "takes frozen parameters alone"), ("no.*", "takes no parameter")] {
        shop.write("frozen.toml", projection(pattern));
        let finished = shop.run(&train, &[]).expect(3).says(&["error[C060]", says, "projection[0]", "hint: "]);
        assert!(!finished.stderr.contains("nowhere.txt: "), "{}", finished.stderr);
        assert!(!shop.path().join("run").exists());
    }
}

#[test]
fn an_operation_freezes_a_layer_from_its_step_on() {
    let shop = Workshop::new();
    let base = TINY.replace("checkpoint_every = 4", "checkpoint_every = 1\nkeep_last = 100");
    shop.write("free.toml", &base);
    shop.write(
        "frozen.toml",
        format!("{base}\n[[schedule]]\nname = \"freeze-layer\"\nlayer = 1\nmax_wait_steps = 4\n"),
    );
    for run in ["free", "frozen"] {
        let file = format!("{run}.toml");
        shop.run(&["train", "--config", &file, "--run-dir", run, "--format", "f64"], &[]).expect(0);
    }
    let at = |run: &str, step| parameters(&shop.path().join(run), step);
    assert_eq!(at("free", 4), at("frozen", 4), "nothing happens before");
    let (four, twelve) = (at("frozen", 4), at("frozen", 12));
    for (name, before) in &four {
        let frozen = name.starts_with("transformer.h.1.");
        assert_eq!(before == &twelve[name], frozen, "{name}");
    }
    let log = fs::read_to_string(shop.path().join("frozen/log.jsonl")).unwrap();
    assert!(log.contains("operation_start") && log.contains("operation_success"), "{log}");
    // across a resume the layer stays frozen
    kill_and_resume(&shop);
}

fn kill_and_resume(shop: &Workshop) {
    let args = ["train", "--config", "frozen.toml", "--run-dir", "killed", "--format", "f64"];
    let mut child = shop.spawn(&args);
    while !shop.path().join("killed/checkpoints/step-00000006").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().ok();
    child.wait().unwrap();
    shop.run(&["resume", "killed"], &[]).expect(0);
    assert_eq!(shop.hash("killed"), shop.hash("frozen"));
}

#[test]
fn an_operation_that_cannot_be_done_is_refused() {
    let shop = Workshop::new();
    shop.write(
        "nolayer.toml",
        format!("{TINY}\n[[schedule]]\nname = \"freeze-layer\"\nlayer = 7\nmax_wait_steps = 4\n"),
    );
    let finished = shop.run(&["train", "--config", "nolayer.toml", "--run-dir", "run"], &[]);
    assert!(matches!(finished.code, Some(3 | 5)), "{finished:?}");
    finished.says(&["freeze-layer", "7"]);
    shop.write("late.toml", format!("{TINY}\n[[schedule]]\nname = \"freeze-layer\"\nlayer = 1\nmax_wait_steps = 40\n"));
    shop.run(&["train", "--config", "late.toml", "--run-dir", "late"], &[]).expect(3).says(&[
        "freeze-layer",
        "40",
        "12",
    ]);
    assert!(!shop.path().join("late").exists());
}
