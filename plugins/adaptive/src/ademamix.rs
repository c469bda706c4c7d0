//! AdEMAMix: AdamW with a second, much slower average of the gradient.
//!
//! ```text
//! m₁ ← β₁·m₁ + (1 − β₁)·g,   m₂ ← β₃(t)·m₂ + (1 − β₃(t))·g,   v ← β₂·v + (1 − β₂)·g²
//! x ← x − lr·(m₁/(1 − β₁ᵗ) + α(t)·m₂) / (√v/√(1 − β₂ᵗ) + eps)
//! α(t) = min(α·t/T, α),   β₃(t) = min(exp(ln β₁·ln β₃ / ((1 − t/T)·ln β₃ + t/T·ln β₁)), β₃),   T = t_alpha_beta3
//! ```
//! Pagliardini, Ablin and Grangier 2024, "The AdEMAMix Optimizer: Better, Faster, Older", arXiv 2409.03137, Algorithm 1; as
//! pytorch_optimizer. Decay is decoupled, or through the gradient.

use sdk::*;

/// The rule.
pub struct AdEmaMix;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    beta3: T,
    alpha: T,
    t_alpha_beta3: T,
    weight_decay: T,
    weight_decouple: T,
    eps: T,
}

/// Its state: m₁, v, m₂.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    exp_avg_slow: T,
}

impl Elementwise for AdEmaMix {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            beta3: knob(0.9999, 0.0..=1.0, "decay of the slow average"),
            alpha: knob(5.0, 0.0..=1000.0, "weight of the slow average"),
            t_alpha_beta3: knob(0.0, 0.0..=1e9, "steps until alpha and beta3 are reached; 0 stands for at once"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            weight_decouple: flag(true, "decay the parameter, not the gradient"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2),
            exp_avg_slow: Slot::zeros().degree(1).decay(h.beta3),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;

        let warms = h.t_alpha_beta3.gt(0.0);
        let progress = step.t / warms.select(h.t_alpha_beta3, 1.0);
        let alpha = warms.select((progress * h.alpha).min(h.alpha), h.alpha);
        let (fast, slow) = (h.beta1.ln(), h.beta3.ln());
        let beta3 =
            warms.select((fast * slow / ((1.0 - progress) * slow + progress * fast)).exp().min(h.beta3), h.beta3);
        let correction1 = 1.0 - h.beta1.pow(step.t);
        let correction2 = (1.0 - h.beta2.pow(step.t)).sqrt();

        move |x, g, state| {
            let (x, g) = if h.weight_decouple.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);

            state.exp_avg_slow = beta3 * state.exp_avg_slow + (1.0 - beta3) * g;
            let direction = state.exp_avg / correction1 + alpha * state.exp_avg_slow;
            x - h.lr * (direction / (state.exp_avg_sq.sqrt() / correction2 + h.eps))
        }
    }
}

register!(
    Elementwise AdEmaMix, "ademamix",
    summary = "AdamW with a fast and a slow momentum",
    paper = "arXiv 2409.03137",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
