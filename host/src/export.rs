//! One file with a trained network for other programs: nanoGPT's names, adapters merged, and what is needed to use it.
//! Does not decide where it is written.
//!
//! | entry of the header | value |
//! |---|---|
//! | `format` | `pt`, as other readers of safetensors expect |
//! | `n_layer`, `n_head`, `n_embd`, `mlp_width`, `block_size`, `vocab_size` | sizes, in decimal |
//! | `bias`, `tie_head` | `true` or `false`; a tied head has no tensor: it is `transformer.wte.weight` |
//! | `tokens` | `chars` or `bytes` |
//! | `vocabulary` | of chars: the characters in the order of their tokens; further rows stand for no text |
//! | `optimizer`, `step`, `parameter_hash` | where it comes from |

use std::collections::{BTreeMap, HashMap};

use tch::{Kind, Tensor};

use crate::{
    checkpoint,
    config::settings::Format,
    fault::Fault,
    model::{Gpt, Ranks, refused},
    trained::Trained,
};

/// The bytes of the file: parameters of the element type that was trained, at the weights to evaluate at. What is merged
/// in a network of bf16 is in f32: most of an adapter's change is smaller than what a weight of bf16 tells apart.
///
/// # Errors
/// `E101` if libtorch fails.
pub fn file(trained: &Trained) -> Result<Vec<u8>, Fault> {
    // Without adapters nothing is computed, so the bits are those of the checkpoint.
    match Ranks::of(trained.model.settings()).largest() {
        None => written(&trained.model, BTreeMap::new(), trained),
        Some(_) => written(&trained.model.merged()?, widened(trained)?, trained),
    }
}

/// Merged weights in f32 by name, where the network's own element type is narrower.
fn widened(trained: &Trained) -> Result<BTreeMap<String, Tensor>, Fault> {
    if trained.settings.format != Format::Bf16 {
        return Ok(BTreeMap::new());
    }
    let name = |place: usize| trained.model.parameters()[place].name.clone();
    let weights = trained.model.merged_weights(&|_| true)?.into_iter();
    weights.map(|(place, weight)| Ok((name(place), weight.f_to_kind(Kind::Float).map_err(refused)?))).collect()
}

/// The file of `model`, with the tensors in `others` in place of its own.
fn written(model: &Gpt, mut others: BTreeMap<String, Tensor>, trained: &Trained) -> Result<Vec<u8>, Fault> {
    let tensors: Vec<(String, Tensor)> = model
        .parameters()
        .iter()
        .map(|one| (one.name.clone(), others.remove(&one.name).unwrap_or_else(|| one.handle())))
        .collect();
    checkpoint::serialized(&tensors, Some(header(model, trained)))
}

fn header(model: &Gpt, trained: &Trained) -> HashMap<String, String> {
    let sizes = model.settings();
    let counts = [
        ("n_layer", sizes.n_layer),
        ("n_head", sizes.n_head),
        ("n_embd", sizes.n_embd),
        ("mlp_width", sizes.hidden_units()),
        ("block_size", sizes.block_size),
        ("vocab_size", model.vocab_size()),
    ];
    let counts = counts.map(|(name, count)| (name, count.to_string()));
    let flags = [("bias", sizes.bias), ("tie_head", sizes.tie_head)].map(|(name, on)| (name, on.to_string()));
    let vocabulary = trained.progress.vocabulary.clone();
    let tokens = if vocabulary.is_some() { "chars" } else { "bytes" };
    let texts = [
        ("format", "pt".to_string()),
        ("tokens", tokens.to_string()),
        ("optimizer", trained.settings.optimizer.label.clone()),
        ("step", trained.progress.step.to_string()),
        ("parameter_hash", trained.parameter_hash.clone()),
    ];
    let vocabulary = vocabulary.map(|text| ("vocabulary", text));
    let all = texts.into_iter().chain(counts).chain(flags).chain(vocabulary);
    all.map(|(name, text)| (name.to_string(), text)).collect()
}
