//! The host's network against the same network in PyTorch: same weights, same logits, loss and gradients.
//! Skips, and says so, where PyTorch cannot be imported: it is not needed to train. `PEER_PYTHON` names another Python.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
};

use host::{
    config::settings::{Format, ModelSettings},
    model::Gpt,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tch::{Device, Kind, Tensor};

/// Python with what `benches/peers/requirements.txt` lists.
fn python(root: &Path) -> Option<PathBuf> {
    let named = std::env::var_os("PEER_PYTHON").map(PathBuf::from);
    let candidates = [named, Some(root.join(".venv/bin/python")), Some("python3".into())];
    let works = |python: &PathBuf| {
        let probe = Command::new(python).args(["-c", "import torch, safetensors.torch"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().flatten().find(works)
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().contiguous();
    let size = tensor.kind().elt_size_in_bytes();
    let mut bytes = vec![0; tensor.numel() * size];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

fn compare(file: &SafeTensors, name: &str, ours: &Tensor, allowed: f64) {
    let view = file.tensor(name).unwrap();
    assert_eq!(view.dtype(), Dtype::F64, "{name}");
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    let theirs = Tensor::from_data_size(view.data(), &shape, Kind::Double);
    assert_eq!(ours.size(), shape, "{name}");
    let difference = (ours.detach() - &theirs).abs().max().double_value(&[]);
    let scale = theirs.abs().max().double_value(&[]).max(1e-3);
    assert!(difference <= allowed * scale, "{name}: off by {difference} at a scale of {scale}");
}

#[test]
fn pytorch_computes_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let Some(python) = python(&root) else {
        println!("skipped: no Python here imports torch and safetensors (benches/peers/requirements.txt)");
        return;
    };
    for (bias, tie_head) in [(false, true), (true, false)] {
        let settings = ModelSettings {
            n_layer: 3,
            n_head: 4,
            n_embd: 32,
            mlp_width: None,
            block_size: 24,
            bias,
            dropout: 0.0,
            tie_head,
            lora_rank: 0,
            attn_lora_divisor: None,
            vocab_lora_divisor: None,
            lora_alpha: 1.0,
        };
        let mut model = Gpt::new(&settings, 29, 5, Format::F64, Device::Cpu).unwrap();
        // Far from the start, where gains are one and biases zero.
        tch::manual_seed(1);
        for parameter in model.parameters_mut() {
            let noise = parameter.tensor.detach().randn_like() * 0.1;
            let _ = tch::no_grad(|| parameter.tensor.g_add_(&noise));
        }
        let tokens = Tensor::randint(29, [5, 20], (Kind::Int64, Device::Cpu));
        let targets = Tensor::randint(29, [5, 20], (Kind::Int64, Device::Cpu));

        let mut sent: Vec<(&str, &Tensor)> = model.parameters().iter().map(|p| (p.name.as_str(), &p.tensor)).collect();
        sent.extend([("tokens", &tokens), ("targets", &targets)]);
        let sent: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = sent
            .into_iter()
            .map(|(name, tensor)| {
                let dtype = if tensor.kind() == Kind::Int64 { Dtype::I64 } else { Dtype::F64 };
                (name, dtype, tensor.size().iter().map(|&n| n as usize).collect(), bytes(tensor))
            })
            .collect();
        let views = sent
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        let facts = [("n_head", settings.n_head), ("block_size", settings.block_size)];
        let facts: HashMap<String, String> =
            facts.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect();
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("in"), folder.path().join("out"));
        safetensors::serialize_to_file(views, Some(facts), &source).unwrap();

        let script = root.join("benches/peers/parity.py");
        let output = Command::new(&python).arg(script).arg(&source).arg(&target).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let answer = std::fs::read(&target).unwrap();
        let answer = SafeTensors::deserialize(&answer).unwrap();
        let loss = model.loss(&tokens, &targets, None).unwrap();
        loss.backward();
        compare(&answer, "loss", &loss, 1e-12);
        compare(&answer, "logits", &model.logits(&tokens).unwrap(), 1e-10);
        for parameter in model.parameters() {
            compare(&answer, &format!("grad/{}", parameter.name), &parameter.tensor.grad(), 1e-9);
        }
    }
}
