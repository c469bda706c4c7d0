//! What every optimizer of the registry has to do, whatever its rule: train, learn a little, and go on from a checkpoint
//! as if nothing had been.

mod support;

use std::{collections::BTreeMap, fs};

use host::registry::{Kind, Registry};
use serde_json::Value;
use support::Workshop;

const STEPS: u64 = 30;

/// Hyper-parameters of every label, as `benches/rates.toml` has them for a larger network.
fn rates() -> BTreeMap<String, toml::Table> {
    let text = fs::read_to_string(support::repository().join("benches/rates.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    table.into_iter().map(|(label, values)| (label, values.as_table().unwrap().clone())).collect()
}

#[test]
fn every_label_trains_and_resumes_at_the_same_bits() {
    let registry = Registry::open(&support::registry()).unwrap();
    let rates = rates();
    let labels: Vec<&str> = registry.labels(Kind::Optimizer);
    let known: Vec<&str> = rates.keys().map(String::as_str).collect();
    assert_eq!(labels, known, "benches/rates.toml has a line for every optimizer, and no other");

    let shop = Workshop::new();
    // Two at a time: a run is one thread, and mostly waits for its start.
    std::thread::scope(|scope| {
        let mut lanes = Vec::new();
        for lane in 0..2 {
            let (shop, rates, labels) = (&shop, &rates, &labels);
            lanes.push(scope.spawn(move || {
                labels
                    .iter()
                    .skip(lane)
                    .step_by(2)
                    .filter_map(|label| check(shop, label, &rates[*label]).err())
                    .collect()
            }));
        }
        let failures: Vec<String> =
            lanes.into_iter().flat_map(|lane| -> Vec<String> { lane.join().unwrap() }).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}

fn check(shop: &Workshop, label: &str, rates: &toml::Table) -> Result<(), String> {
    let config = format!("{label}.toml");
    let optimizer: String = rates.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    let (head, _) = support::TINY.split_once("[optimizer]").expect("tiny.toml ends with its optimizer");
    let text = format!("{head}[optimizer]\nlabel = \"{label}\"\n{optimizer}")
        .replace("steps = 12", &format!("steps = {STEPS}"))
        .replace("eval_every = 4", "eval_every = 0")
        .replace("checkpoint_every = 4", "checkpoint_every = 15");
    shop.write(&config, text);
    let run = |args: &[&str]| {
        let finished = shop.run(args, &[]);
        if finished.code == Some(0) { Ok(()) } else { Err(format!("{label}: {}", finished.stderr)) }
    };
    run(&["train", "--config", &config, "--run-dir", label])?;
    let losses = |run: &str| -> Vec<f64> {
        let metrics = shop.metrics(run);
        metrics.iter().filter(|line| line["kind"] == "train").filter_map(|line| line["loss"].as_f64()).collect()
    };
    let (whole, hash, result) = (losses(label), shop.hash(label), shop.record(label)["result"].clone());
    if whole.len() as u64 != STEPS {
        return Err(format!("{label}: {} steps", whole.len()));
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&whole[..5]), mean(&whole[25..]));
    if last.is_nan() || last >= first {
        return Err(format!("{label}: the loss went from {first:.4} to {last:.4}"));
    }
    run(&["train", "--config", &config, &format!("--resume={label}/checkpoints/step-00000015")])?;
    let same = shop.hash(label) == hash
        && losses(label) == whole
        && val_loss(&shop.record(label)["result"]) == val_loss(&result);
    if same { Ok(()) } else { Err(format!("{label}: resumed from step 15 it ends elsewhere")) }
}

fn val_loss(result: &Value) -> Option<f64> {
    result["val_loss"].as_f64()
}
