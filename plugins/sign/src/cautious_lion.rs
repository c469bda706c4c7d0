//! Cautious Lion: Lion that steps only where its direction agrees with the gradient.
//!
//! ```text
//! u = sign(β₁·m + (1 − β₁)·g),   M = 1[u·g > 0],   M ← M / max(mean(M), 10⁻³)
//! x ← x·(1 − lr·weight_decay) − lr·M·u,   m ← β₂·m + (1 − β₂)·g
//! ```
//! Liang et al. 2024, "Cautious Optimizers: Improving Training with One Line of Code", arXiv 2411.16085, Algorithm 2; as
//! timm's Lion with `caution`. The mean is over the tensor. Without `caution` it is Lion. Not cautious weight decay.

use sdk::*;

/// The rule.
pub struct CautiousLion;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    weight_decay: T,
    caution: T,
}

/// Its state: m.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
}

/// Its sums.
#[derive(Record)]
pub struct Sums<T> {
    agreeing: T,
}

impl Reducing for CautiousLion {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-4, 0.0..=10.0, "length of a step"),
            beta1: knob(0.9, 0.0..=1.0, "share of the momentum in the direction"),
            beta2: knob(0.99, 0.0..=1.0, "decay of the momentum"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
            caution: flag(true, "step only where direction and gradient agree"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta2) }
    }

    fn measure<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, State<L>) -> Sums<L> {
        move |x, g, state| {
            let direction = (h.beta1 * state.exp_avg + (1.0 - h.beta1) * g).sign();
            let _ = x;
            Sums { agreeing: (direction * g).gt(0.0).select(1.0, 0.0) }
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>, sums: Sums<Scalar<L>>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;
        let scale = h.lr / (sums.agreeing / step.numel).max(1e-3);

        move |x, g, state| {
            let direction = (h.beta1 * state.exp_avg + (1.0 - h.beta1) * g).sign();
            state.exp_avg = h.beta2 * state.exp_avg + (1.0 - h.beta2) * g;
            if h.caution.is_on() {
                x * keep - scale * (direction * g).gt(0.0).select(direction, 0.0)
            } else {
                x * keep - h.lr * direction
            }
        }
    }
}

register!(
    Reducing CautiousLion, "cautious-lion",
    summary = "Lion where it agrees with the gradient",
    paper = "arXiv 2411.16085",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
