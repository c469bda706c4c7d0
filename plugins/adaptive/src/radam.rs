//! RAdam: Adam whose steps are shortened, at first to plain momentum, while the second moment is uncertain.
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²,   m̂ = m/(1 − β₁ᵗ)
//! ρ∞ = 2/(1 − β₂) − 1,   ρ = ρ∞ − 2t·β₂ᵗ/(1 − β₂ᵗ)
//! ρ > 5:  x ← x − lr·m̂ · √(1 − β₂ᵗ)/(√v + eps) · √((ρ − 4)(ρ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρ))
//! else:   x ← x − lr·m̂
//! ```
//! Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond", arXiv 1908.03265, Algorithm 2; as
//! `torch.optim.RAdam`. Decay goes through the gradient, or is decoupled. optax adds eps to the corrected root and starts
//! at ρ ≥ 5; pytorch_optimizer by default leaves the first steps out.

use sdk::*;

/// The rule.
pub struct RAdam;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    decoupled: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

impl Elementwise for RAdam {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root, before bias correction"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            decoupled: flag(false, "decay the parameter, not the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta1), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let limit = 2.0 / (1.0 - h.beta2) - 1.0;
        let power = h.beta2.pow(step.t);
        let length = limit - 2.0 * step.t * power / (1.0 - power);
        let rectified = ((length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length)).sqrt();
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        let adaptive = length.gt(5.0);
        let long = step_size * (1.0 - power).sqrt() * adaptive.select(rectified, 0.0);
        let keep = 1.0 - h.lr * h.weight_decay;

        move |x, g, state| {
            let (x, g) = if h.decoupled.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);

            let direction =
                adaptive.choose(long * (state.exp_avg / (state.exp_avg_sq.sqrt() + h.eps)), step_size * state.exp_avg);
            x - direction
        }
    }
}

register!(
    Elementwise RAdam, "radam",
    summary = "Adam, rectified while its second moment is uncertain",
    paper = "arXiv 1908.03265",
    declares = ["sign symmetric"]
);
