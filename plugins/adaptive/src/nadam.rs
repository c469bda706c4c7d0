//! NAdam: Adam with Nesterov's momentum, on a schedule of its own.
//!
//! ```text
//! μₜ = β₁·(1 − 0.96^(t·momentum_decay)/2),   P ← P·μₜ
//! m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²,   d = √(v/(1 − β₂ᵗ)) + eps
//! x ← x − lr·(1 − μₜ)/(1 − P) · g/d − lr·μₜ₊₁/(1 − P·μₜ₊₁) · m/d
//! ```
//! Dozat 2016, "Incorporating Nesterov Momentum into Adam", Algorithm 2; as `torch.optim.NAdam`. Decay goes through the
//! gradient, or is decoupled. P is one number per tensor; it is kept per element, and in f32 as torch does, also for f64
//! parameters. timm's `nadamw` is another rule, without the schedule.

use sdk::*;

use crate::precision::in_f32;

/// The rule.
pub struct NAdam;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    momentum_decay: T,
    decoupled_weight_decay: T,
}

/// Its state: m, v, P.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    mu_product: T,
}

impl Elementwise for NAdam {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(2e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            momentum_decay: knob(4e-3, 0.0..=10.0, "how fast the momentum comes up"),
            decoupled_weight_decay: flag(false, "decay the parameter, not the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2),
            mu_product: Slot::fill(1.0),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let momentum = |t: Scalar<L>| h.beta1 * (1.0 - 0.5 * Scalar::from(0.96).pow(t * h.momentum_decay));
        let (now, next) = (momentum(step.t), momentum(step.t + 1.0));
        let correction2 = 1.0 - h.beta2.pow(step.t);
        let (of_gradient, of_average) = (h.lr * (1.0 - now), h.lr * next);
        let keep = 1.0 - h.lr * h.weight_decay;

        move |x, g, state| {
            let (x, g) = if h.decoupled_weight_decay.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);

            state.mu_product = in_f32(state.mu_product * in_f32(L::from(now)));
            let denominator = (state.exp_avg_sq / correction2).sqrt() + h.eps;
            let gradient = g / denominator * (of_gradient / (L::from(1.0) - state.mu_product));
            let average = state.exp_avg / denominator * (of_average / (L::from(1.0) - state.mu_product * next));
            x - gradient - average
        }
    }
}

register!(
    Elementwise NAdam, "nadam",
    summary = "Adam with Nesterov momentum",
    paper = "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
    declares = ["sign symmetric", "gradient scale invariant"]
);
