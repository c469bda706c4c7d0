//! Yogi: Adam whose second moment grows and falls by at most a fixed share of g².
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g
//! v ← v − (1 − β₂)·sign(v − g²)·g²
//! x ← x − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + eps)
//! ```
//! m and v both start at `initial_accumulator`. Zaheer et al. 2018, "Adaptive Methods for Nonconvex Optimization",
//! Algorithm 2, which has no bias correction; as torch-optimizer, whose decay goes through the gradient, and
//! pytorch_optimizer, whose decay can be decoupled. As m starts above 0, the rule is not sign symmetric.

use sdk::*;

/// The rule.
pub struct Yogi;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    initial_accumulator: T,
    weight_decay: T,
    decoupled: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

impl Elementwise for Yogi {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-3, 0.0..=1.0, "added to the root"),
            initial_accumulator: knob(1e-6, 0.0..=1e6, "start of both moments"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            decoupled: flag(false, "decay the parameter, not the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::fill(h.initial_accumulator).degree(1).decay(h.beta1),
            exp_avg_sq: Slot::fill(h.initial_accumulator).degree(2),
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        let correction2 = (1.0 - h.beta2.pow(step.t)).sqrt();

        move |x, g, state| {
            let (x, g) = if h.decoupled.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            let squared = g * g;
            state.exp_avg_sq = state.exp_avg_sq - (1.0 - h.beta2) * ((state.exp_avg_sq - squared).sign() * squared);
            x - step_size * (state.exp_avg / (state.exp_avg_sq.sqrt() / correction2 + h.eps))
        }
    }
}

register!(
    Elementwise Yogi, "yogi",
    summary = "Adam with a second moment that changes slowly",
    paper = "https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization",
    except = ["zero gradient: the first moment too starts at initial_accumulator"]
);
