//! AdaBelief: Adam that divides by how far the gradient is from its own average.
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g,   s ← β₂·s + (1 − β₂)·(g − m)² + eps
//! x ← x − lr/(1 − β₁ᵗ) · m / (√s̄/√(1 − β₂ᵗ) + eps),   s̄ = s, or with amsgrad the largest s so far
//! rectify:  ρ ≥ 5:  x ← x − lr·r/(1 − β₁ᵗ) · m/(√s + eps),   else  x ← x − lr/(1 − β₁ᵗ) · m   (degenerated_to_sgd; or no step)
//! r = √((1 − β₂ᵗ)·(ρ − 4)(ρ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρ)),  ρ as in RAdam
//! ```
//! eps stays in s. Zhuang et al. 2020, "AdaBelief Optimizer", arXiv 2010.07468, Algorithm 2; as adabelief-pytorch, the
//! authors' package. Decay: decoupled (times lr, or as it is with `fixed_decay`), or through the gradient. A rectified step
//! divides by s also with amsgrad. torch-optimizer rectifies otherwise.

use sdk::*;

/// The rule.
pub struct AdaBelief;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    weight_decouple: T,
    fixed_decay: T,
    rectify: T,
    amsgrad: T,
    degenerated_to_sgd: T,
}

/// Its state: m, s, the largest s.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_var: T,
    max_exp_avg_var: T,
}

impl Elementwise for AdaBelief {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-16, 0.0..=1.0, "added to the variance and to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            weight_decouple: flag(true, "decay the parameter, not the gradient"),
            fixed_decay: flag(false, "decoupled decay without lr"),
            rectify: flag(true, "shorten steps as RAdam"),
            amsgrad: flag(false, "divide by the largest variance so far"),
            degenerated_to_sgd: flag(true, "step along the momentum while the variance is uncertain"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).decay(h.beta1),
            exp_avg_var: Slot::zeros().degree(2).decay(h.beta2),
            max_exp_avg_var: Slot::zeros().degree(2).only_if(h.amsgrad),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.weight_decay * if h.fixed_decay.is_on() { Scalar::from(1.0) } else { h.lr };
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        let correction2 = (1.0 - h.beta2.pow(step.t)).sqrt();

        let limit = 2.0 / (1.0 - h.beta2) - 1.0;
        let power = h.beta2.pow(step.t);
        let length = limit - 2.0 * step.t * power / (1.0 - power);
        let rectified = ((length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length)).sqrt();

        let adaptive = length.ge(5.0);
        let long = step_size * correction2 * adaptive.select(rectified, 0.0);
        let short = if h.degenerated_to_sgd.is_on() { step_size } else { Scalar::from(0.0) };

        move |x, g, state| {
            let (x, g) = if h.weight_decouple.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            let surprise = g - state.exp_avg;
            state.exp_avg_var = h.beta2 * state.exp_avg_var + (1.0 - h.beta2) * (surprise * surprise) + h.eps;
            let mut variance = state.exp_avg_var;
            if h.amsgrad.is_on() {
                state.max_exp_avg_var = state.max_exp_avg_var.max(variance);
                variance = state.max_exp_avg_var;
            }
            if h.rectify.is_on() {
                let full = long * (state.exp_avg / (state.exp_avg_var.sqrt() + h.eps));
                x - adaptive.choose(full, short * state.exp_avg)
            } else {
                x - step_size * (state.exp_avg / (variance.sqrt() / correction2 + h.eps))
            }
        }
    }
}

register!(
    Elementwise AdaBelief, "adabelief",
    summary = "Adam that divides by the surprise of the gradient",
    paper = "arXiv 2010.07468",
    declares = ["sign symmetric", "decoupled weight decay"]
);
