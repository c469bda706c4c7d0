//! Shares against the whole batch.

use super::*;
use crate::config::settings::{Format, ModelSettings};
use tch::Kind;

fn gpt(lora_rank: usize, dropout: f64, format: Format) -> Gpt {
    let settings = ModelSettings {
        n_layer: 2,
        n_head: 2,
        n_embd: 16,
        mlp_width: None,
        block_size: 8,
        bias: true,
        dropout,
        tie_head: true,
        lora_rank,
        attn_lora_divisor: None,
        vocab_lora_divisor: None,
        lora_alpha: 4.0,
    };
    Gpt::new(&settings, 11, 1, format, Device::Cpu).unwrap()
}

fn batch(sequences: i64) -> (Tensor, Tensor) {
    let tokens = Tensor::arange(sequences * 8, (Kind::Int64, Device::Cpu)).square().remainder(11).view([sequences, 8]);
    let targets = tokens.f_add_scalar(3).unwrap().remainder(11);
    (tokens, targets)
}

fn gradients(model: &Gpt) -> Vec<Option<Tensor>> {
    model.parameters().iter().map(|p| (!p.frozen).then(|| p.tensor.grad().copy())).collect()
}

#[test]
fn shares_sum_to_the_gradient_of_the_batch() {
    for (lora_rank, sequences, shares) in [(0, 6, 2), (0, 5, 2), (0, 7, 3), (2, 4, 4), (0, 1, 1)] {
        let (tokens, targets) = batch(sequences);
        let whole = gpt(lora_rank, 0.0, Format::F64);
        let loss = whole.loss(&tokens, &targets, None).unwrap();
        // Twice, for gradients are added to those there are.
        (&loss * 0.5).backward();
        whole.loss(&tokens, &targets, None).unwrap().backward();
        let model = gpt(lora_rank, 0.0, Format::F64);
        let first = model.backward_in_shares(&tokens, &targets, 0.5, shares).unwrap();
        model.backward_in_shares(&tokens, &targets, 1.0, shares).unwrap();
        assert!((first - loss.double_value(&[])).abs() < 1e-12);
        for ((ours, expected), parameter) in gradients(&model).iter().zip(gradients(&whole)).zip(model.parameters()) {
            let Some((ours, expected)) = ours.as_ref().zip(expected) else {
                assert!(parameter.frozen && !parameter.tensor.grad().defined());
                continue;
            };
            let difference = (ours - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-13, "{} in {shares} shares: {difference}", parameter.name);
        }
    }
}

#[test]
fn the_same_batch_has_the_same_bits() {
    let (tokens, targets) = batch(6);
    let run = || {
        let model = gpt(0, 0.0, Format::F32);
        let loss = model.backward(&tokens, &targets, Some(1), 1.0).unwrap();
        (loss.to_bits(), gradients(&model))
    };
    let (first, gradients) = run();
    for _ in 0..20 {
        let (loss, again) = run();
        assert_eq!(loss, first);
        assert!(gradients.iter().zip(&again).all(|(a, b)| a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a.equal(b))));
    }
}

#[test]
fn threads_are_as_before() {
    let before = threads::count();
    let (tokens, targets) = batch(6);
    gpt(0, 0.0, Format::F32).backward(&tokens, &targets, None, 1.0).unwrap();
    assert_eq!(threads::count(), before);
}

#[test]
fn dropout_follows_its_seed() {
    let (tokens, targets) = batch(6);
    let model = gpt(0, 0.4, Format::F32);
    let expected = model.loss(&tokens, &targets, Some(5)).unwrap().double_value(&[]);
    assert_eq!(model.backward(&tokens, &targets, Some(5), 1.0).unwrap(), expected);
    assert_ne!(model.backward(&tokens, &targets, Some(6), 1.0).unwrap(), expected);
}

#[test]
fn a_batch_that_does_not_fit_is_a_fault() {
    let model = gpt(0, 0.0, Format::F32);
    let tokens = Tensor::zeros([4, 9], (Kind::Int64, Device::Cpu));
    assert_eq!(model.backward(&tokens, &tokens, None, 1.0).unwrap_err().code, "E101");
}
