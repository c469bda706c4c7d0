//! Tiger: the sign of the momentum, and nothing else.
//!
//! ```text
//! x ← x·(1 − lr·weight_decay),   m ← β·m + (1 − β)·g
//! x ← x − lr·sign(m)
//! ```
//! Su 2023, "Tiger: A Tight-fisted Optimizer"; as pytorch_optimizer. It is Lion with β₁ = β₂. The author's own code scales
//! lr by the size of the parameter: that is `tiger-authors`. sign(0) = 0.

use sdk::*;

/// The rule.
pub struct Tiger;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta: T,
    weight_decay: T,
}

/// Its state: m.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
}

impl Elementwise for Tiger {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "length of a step, the same for every element"),
            beta: knob(0.965, 0.0..=1.0, "decay of the momentum"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times lr"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;

        move |x, g, state| {
            state.exp_avg = h.beta * state.exp_avg + (1.0 - h.beta) * g;
            x * keep - h.lr * state.exp_avg.sign()
        }
    }
}

register!(
    Elementwise Tiger, "tiger",
    summary = "sign of the momentum",
    paper = "https://github.com/bojone/tiger",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
