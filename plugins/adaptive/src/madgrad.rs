//! MADGRAD: dual averaging with a cube root in place of Adagrad's square root.
//!
//! ```text
//! λ = (lr + eps)·√t,   s ← s + λ·g,   v ← v + λ·g²
//! z = x₀ − s/(∛v + eps),   x ← momentum·x + (1 − momentum)·z
//! ```
//! Defazio and Jelassi 2021, "Adaptivity without Compromise", arXiv 2101.11075, Algorithm 1; as timm's port of the authors'
//! code. Decay goes through the gradient, or is decoupled. Without momentum x₀ is not stored but follows from x, s and v.
//! The cube root is eᶫⁿ with one Newton step, so the rule is not bit-portable.

use sdk::*;

/// The rule.
pub struct Madgrad;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    momentum: T,
    weight_decay: T,
    eps: T,
    decoupled_decay: T,
}

/// Its state: v, s, x₀.
#[derive(Record)]
pub struct State<T> {
    grad_sum_sq: T,
    s: T,
    x0: T,
}

/// ∛v for v ≥ 0.
fn cube_root<L: Lane>(v: L) -> L {
    let positive = v.gt(0.0);
    let safe = positive.select(v, 1.0);
    let root = (safe.ln() / 3.0).exp();
    positive.select((root * 2.0 + safe / (root * root)) / 3.0, 0.0)
}

impl Elementwise for Madgrad {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "step size"),
            momentum: knob(0.9, 0.0..=1.0, "share of the old parameter in the new"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            eps: knob(1e-6, 0.0..=1.0, "added to the root and to lr"),
            decoupled_decay: flag(false, "decay the parameter, not the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            grad_sum_sq: Slot::zeros().degree(2),
            s: Slot::zeros().degree(1),
            x0: Slot::copy_of_parameter().only_if(h.momentum),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;

        let lambda = (h.lr + h.eps) * step.t.sqrt();
        let averages = h.momentum.gt(0.0);

        move |x, g, state| {
            let (x, g) = if h.decoupled_decay.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            let start = averages.choose(state.x0, x + state.s / (cube_root(state.grad_sum_sq) + h.eps));
            state.grad_sum_sq = state.grad_sum_sq + lambda * (g * g);
            state.s = state.s + lambda * g;
            let z = start - state.s / (cube_root(state.grad_sum_sq) + h.eps);
            h.momentum * x + (1.0 - h.momentum) * z
        }
    }
}

register!(
    Elementwise Madgrad, "madgrad",
    summary = "dual averaging with a cube root",
    paper = "arXiv 2101.11075",
    except = ["lr = 0: eps is added to lr"],
    declares = ["sign symmetric"]
);
