//! Cautious AdamW: AdamW that steps only where its momentum agrees with the gradient.
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²
//! M = 1[m·g > 0],   M ← M / max(mean(M), 10⁻³)
//! x ← x·(1 − lr·weight_decay) − lr/(1 − β₁ᵗ) · M·m / (√v/√(1 − β₂ᵗ) + eps)
//! ```
//! Liang et al. 2024, "Cautious Optimizers: Improving Training with One Line of Code", arXiv 2411.16085, Algorithm 1; as
//! timm's AdamW with `caution`. The mean is over the tensor. Without `caution` it is AdamW. Not cautious weight decay.

use sdk::*;

/// The rule.
pub struct CautiousAdamw;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    caution: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

/// Its sums.
#[derive(Record)]
pub struct Sums<T> {
    agreeing: T,
}

impl Reducing for CautiousAdamw {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times lr"),
            caution: flag(true, "step only where momentum and gradient agree"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta1), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
    }

    fn measure<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, State<L>) -> Sums<L> {
        move |x, g, state| {
            let average = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            let _ = x;
            Sums { agreeing: (average * g).gt(0.0).select(1.0, 0.0) }
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>, sums: Sums<Scalar<L>>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        let correction2 = (1.0 - h.beta2.pow(step.t)).sqrt();
        let scale = 1.0 / (sums.agreeing / step.numel).max(1e-3);

        move |x, g, state| {
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);

            let mut direction = state.exp_avg;
            if h.caution.is_on() {
                direction = (direction * g).gt(0.0).select(scale * direction, 0.0);
            }
            x * keep - step_size * (direction / (state.exp_avg_sq.sqrt() / correction2 + h.eps))
        }
    }
}

register!(
    Reducing CautiousAdamw, "cautious-adamw",
    summary = "AdamW where it agrees with the gradient",
    paper = "arXiv 2411.16085",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
