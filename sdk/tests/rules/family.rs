//! Which rules are of one family: what a 0 or a 1 makes of them, on paper.

use sdk::{Elementwise, Knob, Record, knob, tape};

use crate::rule_set::rule;

fn number() -> Knob {
    knob(0.5, 0.0..=1.0, "a number")
}

fn slots<R: Elementwise>(hyper: &[f64]) -> Vec<sdk::abi::SlotDescriptor> {
    sdk::slot_descriptors(&R::state(&R::Hyper::build(|k| hyper[k])))
}

fn family<R: Elementwise>(hyper: &[f64]) -> Option<String> {
    tape::family(&tape::record::<R>(hyper).unwrap(), &slots::<R>(hyper), hyper)
}

/// The folded rule as text.
fn folded<R: Elementwise>(hyper: &[f64], names: &[&str], state: &[&str]) -> String {
    let folded = tape::folded(&tape::record::<R>(hyper).unwrap(), &slots::<R>(hyper), hyper);
    tape::formula(&folded.nodes, names, state)
}

rule!(Sgd(lr: number()), (idle: Slot::zeros()), h, step, [], |x, g, s| x - h.lr * g);
rule!(
    /// Descent with momentum, decay in the gradient, and dampening.
    Momentum(lr: number(), momentum: number(), decay: number(), dampening: number()), (buffer: Slot::zeros()), h, step, [],
    |x, g, s| {
        s.buffer = h.momentum * s.buffer + (1.0 - h.dampening) * (g + h.decay * x);
        x - h.lr * s.buffer
    }
);
rule!(
    /// Adam, with decay beside the step.
    Adam(lr: number(), beta1: number(), beta2: number(), eps: number(), decay: number()),
    (m: Slot::zeros(), v: Slot::zeros()), h, step,
    [
        let keep = 1.0 - h.lr * h.decay;
        let size = h.lr / (1.0 - h.beta1.pow(step.t));
        let correction = (1.0 - h.beta2.pow(step.t)).sqrt();
    ],
    |x, g, s| {
        s.m = h.beta1 * s.m + (1.0 - h.beta1) * g;
        s.v = h.beta2 * s.v + (1.0 - h.beta2) * (g * g);
        x * keep - size * (s.m / (s.v.sqrt() / correction + h.eps))
    }
);
rule!(
    /// Adam of the gradient alone, without decay.
    AdamWithoutMomentum(lr: number(), beta2: number(), eps: number()), (v: Slot::zeros()), h, step,
    [let correction = (1.0 - h.beta2.pow(step.t)).sqrt();],
    |x, g, s| {
        s.v = h.beta2 * s.v + (1.0 - h.beta2) * (g * g);
        x - h.lr * (g / (s.v.sqrt() / correction + h.eps))
    }
);
rule!(
    /// Descent uphill, and back by a sign.
    Uphill(lr: number()), (idle: Slot::zeros()), h, step, [], |x, g, s| { let up = -g; x + h.lr * up }
);

#[test]
fn momentum_0_makes_it_descent() {
    let sgd = family::<Sgd>(&[0.5]).unwrap();
    assert_eq!(family::<Momentum>(&[0.5, 0.0, 0.0, 0.0]).unwrap(), sgd);
    for other in [[0.5, 0.9, 0.0, 0.0], [0.5, 0.0, 0.1, 0.0], [0.5, 0.0, 0.0, 0.1]] {
        assert_ne!(family::<Momentum>(&other).unwrap(), sgd, "{other:?}");
    }
    let hyper = [0.5, 0.0, 0.0, 0.0];
    assert_eq!(folded::<Momentum>(&hyper, &["lr", "momentum", "decay", "dampening"], &["buffer"]), "x ← x − lr·g");
}

#[test]
fn dead_state_goes_and_what_is_left_is_compared_by_use() {
    let without = family::<AdamWithoutMomentum>(&[0.5, 0.9, 0.1]).unwrap();
    assert_eq!(family::<Adam>(&[0.5, 0.0, 0.9, 0.1, 0.0]).unwrap(), without);
    assert_ne!(family::<Adam>(&[0.5, 0.9, 0.9, 0.1, 0.0]).unwrap(), without);
    // Values that switch nothing off do not count.
    assert_eq!(family::<Adam>(&[0.5, 0.9, 0.9, 0.1, 0.0]), family::<Adam>(&[0.1, 0.2, 0.3, 0.4, 0.0]));
    assert_ne!(family::<Adam>(&[0.5, 0.9, 0.9, 0.1, 0.0]), family::<Adam>(&[0.1, 0.2, 0.3, 0.4, 0.1]));
}

#[test]
fn a_slot_that_never_moves_is_a_number() {
    // v ← 1·v + 0·g² stays 0, and so the root of it.
    let text = folded::<AdamWithoutMomentum>(&[0.5, 0.0, 0.1], &["lr", "beta2", "eps"], &["v"]);
    assert_eq!(text, "x ← x − lr·(g / (√(g·g) + eps))", "beta2 = 0");
    let moving = tape::folded(
        &tape::record::<Momentum>(&[0.5, 0.5, 0.0, 1.0]).unwrap(),
        &slots::<Momentum>(&[0.5, 0.5, 0.0, 1.0]),
        &[0.5, 0.5, 0.0, 1.0],
    );
    assert!(moving.slots.iter().all(|slot| slot.name == "buffer"));
    let held = folded::<Momentum>(&[0.5, 1.0, 0.0, 1.0], &["lr", "momentum", "decay", "dampening"], &["buffer"]);
    assert_eq!(held, "x ← x", "the buffer is 0 for ever");
}

rule!(
    /// Descent whose first step is written in another way.
    Dampened(lr: number(), momentum: number(), dampening: number()), (buffer: Slot::zeros()), h, step,
    [let taken = step.t.gt(1.0).select(1.0 - h.dampening, 1.0);],
    |x, g, s| {
        s.buffer = h.momentum * s.buffer + taken * g;
        x - h.lr * s.buffer
    }
);

#[test]
fn numbers_that_are_to_stay_symbols_are_nan() {
    let sgd = family::<Sgd>(&[0.5]);
    assert_eq!(family::<Dampened>(&[0.5, 0.0, 0.0]), sgd);
    let one = [1.0, 0.0, 0.0];
    let nodes = tape::record::<Dampened>(&one).unwrap();
    assert_ne!(tape::family(&nodes, &slots::<Dampened>(&one), &one), sgd, "x − g");
    assert_eq!(tape::family(&nodes, &slots::<Dampened>(&one), &[f64::NAN, 0.0, 0.0]), sgd);
}

#[test]
fn signs_are_carried_through() {
    assert_eq!(family::<Uphill>(&[0.5]), family::<Sgd>(&[0.5]));
}

#[test]
fn where_nothing_is_left_there_is_no_family() {
    assert_eq!(family::<Sgd>(&[0.0]), None, "it stays where it is");
    assert_eq!(family::<Momentum>(&[0.5, 1.0, 0.0, 1.0]), None, "so does it");
    assert_eq!(family::<Adam>(&[0.5, 1.0, 0.9, 0.1, 0.0]), None, "its correction divides by zero");
    assert_eq!(family::<Adam>(&[0.5, 0.9, 1.0, 0.1, 0.0]), None, "0/0 is not 0");
}

#[test]
fn a_folded_tape_is_one() {
    for momentum in [0.0, 0.5, 1.0] {
        for decay in [0.0, 0.5, 1.0] {
            let hyper = [0.5, momentum, decay, 0.0];
            let folded = tape::folded(&tape::record::<Momentum>(&hyper).unwrap(), &slots::<Momentum>(&hyper), &hyper);
            tape::check(&folded.nodes, hyper.len(), &folded.slots).unwrap();
            // And it computes what it did.
            let whole = tape::record::<Momentum>(&hyper).unwrap();
            let step = |nodes: &[tape::Node]| {
                let scalars = tape::scalars(nodes, &hyper, &[3.0, 1.0, 0.0]);
                tape::element_f64(nodes, &scalars, 1.5, -0.25, &[0.75]).0
            };
            assert!((step(&folded.nodes) - step(&whole)).abs() < 1e-15, "{hyper:?}");
        }
    }
}
