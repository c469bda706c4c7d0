//! Lion: the sign of an interpolated momentum.
//!
//! ```text
//! x ← x·(1 − lr·weight_decay) − lr·sign(β₁·m + (1 − β₁)·g)
//! m ← β₂·m + (1 − β₂)·g
//! ```
//! Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", arXiv 2302.06675, Algorithm 2. sign(0) = 0.

use sdk::*;

/// The rule.
pub struct Lion;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    weight_decay: T,
}

/// Its state: the momentum m.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
}

impl Elementwise for Lion {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-4, 0.0..=1.0, "length of a step, the same for every element"),
            beta1: knob(0.9, 0.0..=1.0, "share of the momentum in the direction"),
            beta2: knob(0.99, 0.0..=1.0, "decay of the momentum"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta2) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;
        move |x, g, state| {
            let direction = (h.beta1 * state.exp_avg + (1.0 - h.beta1) * g).sign();
            state.exp_avg = h.beta2 * state.exp_avg + (1.0 - h.beta2) * g;
            x * keep - h.lr * direction
        }
    }
}

register!(
    Elementwise Lion, "lion",
    summary = "sign of an interpolated momentum; half of Adam's state",
    paper = "arXiv 2302.06675",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
