//! Adagrad: every element's step is divided by the root of the sum of its squared gradients.
//!
//! ```text
//! g ← g + weight_decay·x,   s ← s + g²
//! x ← x − lr/(1 + (t − 1)·lr_decay) · g / (√s + eps)
//! ```
//! Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 12,
//! Figure 1, the diagonal form; as `torch.optim.Adagrad`. Implementations differ in the sum's start (TensorFlow: 0.1).

use sdk::*;

/// The rule.
pub struct Adagrad;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    lr_decay: T,
    weight_decay: T,
    initial_accumulator_value: T,
    eps: T,
}

/// Its state: s.
#[derive(Record)]
pub struct State<T> {
    sum: T,
}

impl Elementwise for Adagrad {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "step size"),
            lr_decay: knob(0.0, 0.0..=10.0, "fall of the step size with each step"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, added to the gradient"),
            initial_accumulator_value: knob(0.0, 0.0..=1e6, "start of the sum"),
            eps: knob(1e-10, 0.0..=1.0, "added to the root"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { sum: Slot::fill(h.initial_accumulator_value).degree(2) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let step_size = h.lr / (1.0 + (step.t - 1.0) * h.lr_decay);
        move |x, g, state| {
            let g = g + h.weight_decay * x;

            state.sum = state.sum + g * g;
            x - step_size * (g / (state.sum.sqrt() + h.eps))
        }
    }
}

register!(
    Elementwise Adagrad, "adagrad",
    summary = "step over the root of the sum of squared gradients",
    paper = "https://jmlr.org/papers/v12/duchi11a.html",
    declares = ["sign symmetric", "gradient scale invariant"]
);
