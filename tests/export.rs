//! `host export` as other programs meet it: names, bits, what the header says, and what is refused.

mod support;

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors};
use support::Workshop;
use tch::{Kind, Tensor};

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A file's tensors and its header.
fn read(path: &Path) -> (Tensors, BTreeMap<String, String>) {
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let header = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| {
        let view = file.tensor(name).unwrap();
        (name.to_string(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    (file.names().into_iter().map(tensor).collect(), header)
}

/// In f64.
fn values((dtype, shape, bytes): &(Dtype, Vec<usize>, Vec<u8>)) -> Tensor {
    let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let kind = if *dtype == Dtype::BF16 { Kind::BFloat16 } else { Kind::Float };
    Tensor::from_data_size(bytes, &shape, kind).to_kind(Kind::Double)
}

fn train(shop: &Workshop, run: &str, more: &str, args: &[&str]) {
    shop.write("my.toml", support::TINY.to_string() + more);
    shop.run(&[&["train", "--config", "my.toml", "--run-dir", run], args].concat(), &[]).expect(0);
}

fn export(shop: &Workshop, from: &str, out: &str) -> (Tensors, BTreeMap<String, String>) {
    shop.run(&["export", from, "--out", out], &[]).expect(0);
    read(&shop.path().join(out))
}

fn checkpoint(shop: &Workshop, run: &str, step: u64) -> Tensors {
    read(&shop.path().join(format!("{run}/checkpoints/step-{step:08}/model.safetensors"))).0
}

#[test]
fn without_adapters_it_is_the_checkpoint_bit_for_bit() {
    let shop = Workshop::new();
    for (run, format, label) in [("a", "f32", "adamw"), ("b", "bf16", "adamw"), ("c", "f32", "schedulefree-adamw")] {
        train(&shop, run, "", &["--format", format, "--optimizer", label, "--lr", "1e-3"]);
        let (tensors, header) = export(&shop, run, &format!("{run}.safetensors"));
        assert_eq!(tensors, checkpoint(&shop, run, 12), "{run}");
        for (name, value) in [
            ("format", "pt"),
            ("n_layer", "2"),
            ("n_head", "2"),
            ("n_embd", "16"),
            ("mlp_width", "64"),
            ("block_size", "16"),
            ("vocab_size", "256"),
            ("bias", "true"),
            ("tie_head", "true"),
            ("tokens", "bytes"),
            ("step", "12"),
            ("optimizer", label),
            ("parameter_hash", &shop.hash(run)),
        ] {
            assert_eq!(header[name], value, "{run}: {name}");
        }
        assert!(!header.contains_key("vocabulary") && !tensors.contains_key("lm_head.weight"));
    }
    let (older, header) = export(&shop, "a/checkpoints/step-00000008", "older.safetensors");
    assert_eq!((older, header["step"].as_str()), (checkpoint(&shop, "a", 8), "8"));
    train(&shop, "chars", "", &["--set", "data.tokens=chars"]);
    let (tensors, header) = export(&shop, "chars", "chars.safetensors");
    let vocabulary: Vec<char> = header["vocabulary"].chars().collect();
    assert_eq!((header["tokens"].as_str(), tensors["transformer.wte.weight"].1[0]), ("chars", vocabulary.len()));
    assert!(vocabulary.is_sorted() && vocabulary.contains(&'\n') && vocabulary.contains(&'a'));
}

#[test]
fn adapters_are_merged_and_a_head_that_read_the_embedding_without_its_own_gets_a_weight() {
    let shop = Workshop::new();
    let doubled = "\n[[schedule]]\nname = \"set_lora_alpha\"\nvalue = 12\nmax_wait_steps = 3\n";
    // what is trained, its schedule, more arguments, the last α
    for (run, schedule, args, alpha) in [
        ("plain", "", [].as_slice(), 6.0),
        ("changed", doubled, &[], 12.0),
        ("averaged", "", &["--optimizer", "schedulefree-adamw"], 6.0),
        ("bf16", "", &["--format", "bf16"], 6.0),
    ] {
        let lora = ["--set", "model.lora_rank=2", "--set", "model.vocab_lora_divisor=4", "--set", "model.lora_alpha=6"];
        train(&shop, run, schedule, &[&lora, args].concat());
        adapters_are_merged(&shop, run, alpha);
    }
}

fn adapters_are_merged(shop: &Workshop, run: &str, alpha: f64) {
    let before = checkpoint(shop, run, 12);
    let (after, header) = export(shop, run, &format!("{run}.safetensors"));
    assert!(after.keys().all(|name| !name.contains("lora")));
    assert_eq!(header["tie_head"], "false");
    assert_eq!(after["lm_head.weight"], before["transformer.wte.weight"]);
    let mut merged = 0;
    for (name, tensor) in after.iter().filter(|(name, _)| name.as_str() != "lm_head.weight") {
        let layer = name.trim_end_matches(".weight");
        let Some(a) = before.get(&format!("{layer}.lora_A")) else {
            assert_eq!(tensor, &before[name], "{name}");
            continue;
        };
        if name.ends_with(".bias") {
            continue;
        }
        let (a, b) = (values(a), values(&before[&format!("{layer}.lora_B")]));
        let is_table = layer.ends_with("wte");
        let change = if is_table { a.matmul(&b.tr()) * (alpha / 4.0) } else { b.matmul(&a) * (alpha / 2.0) };
        assert!(change.abs().max().double_value(&[]) > 0.0, "{name}: B was trained");
        let expected = values(&before[name]) + change;
        let error = (values(tensor) - &expected).abs().max().double_value(&[]);
        assert!(error <= 1e-7 * expected.abs().max().double_value(&[]), "{run}, {name}: {error:.1e}");
        assert_eq!(tensor.0, Dtype::F32, "{run}, {name}");
        merged += 1;
    }
    assert_eq!(merged, 2 * 4 + 1);
}

#[test]
fn a_grown_network_is_exported_sampled_and_compared() {
    let shop = Workshop::new();
    let operation =
        |name: &str, hyper: &str| format!("\n[[schedule]]\nname = \"{name}\"\n{hyper}\nmax_wait_steps = 3\n");
    let resized = operation("resize-vocabulary", "size = 320");
    let schedule =
        operation("widen-mlp", "factor = 1.5") + &operation("duplicate-layer", "mode = \"plain\"") + &resized;
    train(&shop, "run", &schedule, &[]);
    let (tensors, header) = export(&shop, "run", "grown.safetensors");
    assert_eq!(tensors, checkpoint(&shop, "run", 12));
    assert_eq!(["n_layer", "mlp_width", "vocab_size"].map(|name| header[name].as_str()), ["3", "96", "320"]);
    assert_eq!(tensors["transformer.h.2.mlp.c_fc.weight"].1, [96, 16]);
    assert_eq!(tensors["transformer.wte.weight"].1, [320, 16]);
    train(&shop, "chars", &resized, &["--set", "data.tokens=chars"]);
    let (tensors, header) = export(&shop, "chars", "chars.safetensors");
    assert_eq!(tensors["transformer.wte.weight"].1, [320, 16]);
    let sampled = shop.run(&["sample", "chars", "--tokens", "300", "--temperature", "50"], &[]).expect(0).stdout;
    assert!(sampled.chars().count() > 300, "{sampled}");
    let unknown: Vec<char> = sampled.chars().filter(|char| !header["vocabulary"].contains(*char)).collect();
    assert_eq!(unknown, [], "rows without text are never drawn");
    train(&shop, "plain", "", &[]);
    let compared = shop.run(&["compare", "run", "plain"], &[]).expect(0);
    assert!(compared.stdout.contains("schedule"), "{}", compared.stdout);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::write(&target, fs::read(&path).unwrap()).unwrap() }
    }
}

/// Heads and α decide no shape, so the weights fit whatever the settings say of them.
#[test]
fn a_checkpoint_and_the_settings_of_another_network_are_refused() {
    let shop = Workshop::new();
    let lora = |alpha: &'static str| ["--set", "model.lora_rank=2", "--set", alpha];
    train(&shop, "six", "", &lora("model.lora_alpha=6"));
    train(&shop, "nine", "", &lora("model.lora_alpha=9"));
    let path = |name: &str| shop.path().join(name);
    let step = "checkpoints/step-00000012";
    fs::remove_dir_all(path("nine").join(step)).unwrap();
    copy(&path("six").join(step), &path("nine").join(step));
    copy(&path("six"), &path("edited"));
    let config = fs::read_to_string(path("edited/config.toml")).unwrap();
    fs::write(path("edited/config.toml"), config.replace("n_head = 2", "n_head = 4")).unwrap();
    copy(&path("six").join(step), &path("away/step-00000012"));
    for (run, code, says) in [
        ("nine", "error[D129]", "lora_alpha was 6, the settings have 9"),
        ("edited", "error[D129]", "n_head was 2, the settings have 4"),
        ("away/step-00000012", "error[D208]", "config.toml"),
    ] {
        let before = shop.listing();
        for verb in [&["export", run, "--out", "new.safetensors"][..], &["sample", run, "--tokens", "3"]] {
            shop.run(verb, &[]).expect(8).says(&[code, says, "hint:"]);
        }
        assert_eq!(shop.listing(), before, "{run}");
    }
    for run in ["nine", "edited"] {
        shop.run(&["resume", run], &[]).expect(8).says(&["error[D129]"]);
    }

    // as versions wrote it that did not keep what the run began with
    let folder = path("six").join(step);
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("state.json")).unwrap()).unwrap();
    let kept = state["state"]["lineage"].as_object_mut().unwrap().remove("architecture").unwrap();
    assert_eq!(kept["lora_alpha"], 6.0);
    let (old, new) = (fs::read(folder.join("state.json")).unwrap(), state.to_string());
    let hashes = fs::read_to_string(folder.join("hash")).unwrap();
    let [old, hashed] = [&old[..], new.as_bytes()].map(host::checkpoint::hash::sha256);
    fs::write(folder.join("hash"), hashes.replace(&old, &hashed)).unwrap();
    fs::write(folder.join("state.json"), new).unwrap();
    export(&shop, "six", "old.safetensors");
    shop.run(&["resume", "six"], &[]).expect(0);
}

#[test]
fn what_cannot_be_written_or_read_is_refused_and_leaves_nothing() {
    let shop = Workshop::new();
    train(&shop, "run", "", &[]);
    shop.write("there.safetensors", "old");
    fs::create_dir_all(shop.path().join("checkpoints/mine")).unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(shop.path().join(to), shop.path().join(name)).unwrap();
    link("run/checkpoints/step-00000012", "link");
    link("nothing", "dangling");
    let hash = shop.hash("run");
    let before = shop.listing();
    for (args, code, says) in [
        (vec!["run", "--out", "link/model.safetensors", "--force"], 8, ["error[D207]", "is a run directory"]),
        (vec!["run", "--out", "dangling"], 8, ["error[D207]", "not a file"]),
        (vec!["run", "--out", "dangling", "--force"], 8, ["error[D207]", "not a file"]),
        (vec!["run", "--out", "there.safetensors"], 8, ["error[D207]", "there already"]),
        (vec!["run", "--out", "run/model.safetensors"], 8, ["error[D207]", "is a run directory"]),
        (vec!["run", "--out", "no-folder/model.safetensors"], 8, ["error[D207]", "cannot be written"]),
        (vec!["run", "--out", "run", "--force"], 8, ["error[D207]", "there already"]),
        (vec!["nowhere", "--out", "new.safetensors"], 8, ["error[D203]", "no checkpoint"]),
        (vec!["run/checkpoints/step-00000003", "--out", "new.safetensors"], 8, ["error[D203]", "no checkpoint"]),
    ] {
        let finished = shop.run(&[&["export"], &args[..]].concat(), &[]).expect(code);
        finished.says(&says);
        assert_eq!(shop.listing(), before, "{args:?}");
    }
    assert!(shop.path().join("dangling").is_symlink());
    let kept = host::checkpoint::load(&shop.path().join("run/checkpoints/step-00000012")).unwrap();
    assert_eq!(host::checkpoint::parameter_hash(&kept.model).unwrap(), hash, "the checkpoint is as it was");
    shop.run(&["export", "run", "--out", "checkpoints/mine/model.safetensors"], &[]).expect(0);
    shop.run(&["export", "run", "--out", "there.safetensors", "--force"], &[]).expect(0);
    assert_eq!(read(&shop.path().join("there.safetensors")).0, checkpoint(&shop, "run", 12));
    let model = shop.path().join("run/checkpoints/step-00000012/model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    let before = shop.listing();
    shop.run(&["export", "run", "--out", "new.safetensors"], &[]).expect(8).says(&[
        "error[D201]",
        "name `",
        "run/checkpoints/step-00000008`",
    ]);
    assert_eq!(shop.listing(), before);
}
