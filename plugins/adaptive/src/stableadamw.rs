//! StableAdamW: AdamW whose step is shortened where the second moment lags behind the gradient.
//!
//! ```text
//! β̂ᵢ = βᵢ·(1 − βᵢᵗ⁻¹)/(1 − βᵢᵗ)
//! m ← β̂₁·m + (1 − β̂₁)·g,   v ← β̂₂·v + (1 − β̂₂)·g²
//! η = lr / max(1, √mean(g²/max(v, eps²)))
//! x ← x·(1 − η·weight_decay) − η·m/(√v + eps)
//! ```
//! Wortsman et al. 2023, "Stable and low-precision training for large-scale vision-language models", arXiv 2304.13013,
//! Algorithm 2; as pytorch_optimizer. The mean is over the tensor. The decay takes the shortened rate. `kahan_sum` is for
//! 16-bit storage of the parameter alone, and has no effect on others.

use sdk::*;

/// The rule.
pub struct Stableadamw;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    weight_decay: T,
    eps: T,
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
    squares: T,
}

/// The decay whose plain average is the bias-corrected one.
fn debiased<L: Lane>(beta: Scalar<L>, step: Step<L>) -> Scalar<L> {
    beta * (1.0 - beta.pow(step.t - 1.0)) / (1.0 - beta.pow(step.t))
}

impl Reducing for Stableadamw {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.99, 0.0..=1.0, "decay of the second moment"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times lr"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta1), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
    }

    fn measure<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, State<L>) -> Sums<L> {
        let beta2 = debiased(h.beta2, step);
        let smallest = h.eps * h.eps;
        move |x, g, state| {
            let _ = x;
            let second = beta2 * state.exp_avg_sq + (1.0 - beta2) * (g * g);
            Sums { squares: g * g / second.max(smallest) }
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>, sums: Sums<Scalar<L>>) -> impl Fn(L, L, &mut State<L>) -> L {
        let (beta1, beta2) = (debiased(h.beta1, step), debiased(h.beta2, step));
        let lr = h.lr / (sums.squares / step.numel).sqrt().max(1.0);
        let keep = 1.0 - lr * h.weight_decay;

        move |x, g, state| {
            state.exp_avg = beta1 * state.exp_avg + (1.0 - beta1) * g;
            state.exp_avg_sq = beta2 * state.exp_avg_sq + (1.0 - beta2) * (g * g);
            x * keep - lr * (state.exp_avg / (state.exp_avg_sq.sqrt() + h.eps))
        }
    }
}

register!(
    Reducing Stableadamw, "stableadamw",
    summary = "AdamW with steps clipped by the lag of the second moment",
    paper = "arXiv 2304.13013",
    declares = ["sign symmetric", "gradient scale invariant"]
);
