//! AdamW: bias-corrected first over the root of the second moment, with decoupled decay.
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g
//! v ← β₂·v + (1 − β₂)·g²
//! w ← max(w, v)                     (amsgrad; else w = v)
//! x ← x·(1 − lr·weight_decay) − lr/(1 − β₁ᵗ) · m / (√w/√(1 − β₂ᵗ) + eps)
//! ```
//! Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", arXiv 1711.05101, Algorithm 2; amsgrad: Reddi
//! et al. 2018, arXiv 1904.09237, of the second moment before its correction. As `torch.optim.AdamW`.

use sdk::*;

/// The rule.
pub struct AdamW;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    amsgrad: T,
    maximize: T,
}

/// Its state: m, v, w.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    max_exp_avg_sq: T,
}

impl Elementwise for AdamW {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=1.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root, after bias correction"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times lr"),
            amsgrad: flag(false, "divide by the largest second moment so far"),
            maximize: flag(false, "walk uphill"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2),
            max_exp_avg_sq: Slot::zeros().degree(2).only_if(h.amsgrad),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        let correction2 = (1.0 - h.beta2.pow(step.t)).sqrt();
        move |x, g, state| {
            let g = if h.maximize.is_on() { -g } else { g };
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);
            let mut second = state.exp_avg_sq;
            if h.amsgrad.is_on() {
                state.max_exp_avg_sq = state.max_exp_avg_sq.max(second);
                second = state.max_exp_avg_sq;
            }
            x * keep - step_size * (state.exp_avg / (second.sqrt() / correction2 + h.eps))
        }
    }
}

register!(
    Elementwise AdamW, "adamw",
    summary = "bias-corrected moments with decoupled weight decay; the standard",
    paper = "arXiv 1711.05101",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
