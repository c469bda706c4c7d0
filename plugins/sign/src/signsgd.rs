//! signSGD with momentum (Signum): the sign of the averaged gradient.
//!
//! ```text
//! x ← x·(1 − lr·weight_decay),   m ← momentum·m + (1 − momentum)·g
//! x ← x − lr·sign(m)
//! ```
//! Bernstein et al. 2018, "signSGD: Compressed Optimisation for Non-Convex Problems", arXiv 1802.04434, Algorithm 2; as
//! `SignSGD` of pytorch_optimizer. Decay is decoupled, or through the gradient.

use sdk::*;

/// The rule.
pub struct Signsgd;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    momentum: T,
    weight_decay: T,
    weight_decouple: T,
}

/// Its state: m.
#[derive(Record)]
pub struct State<T> {
    momentum_buffer: T,
}

impl Elementwise for Signsgd {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "length of a step, the same for every element"),
            momentum: knob(0.9, 0.0..=1.0, "decay of the momentum"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            weight_decouple: flag(true, "decay the parameter, not the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { momentum_buffer: Slot::zeros().degree(1).decay(h.momentum).only_if(h.momentum) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;

        move |x, g, state| {
            let (x, g) = if h.weight_decouple.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            state.momentum_buffer = h.momentum * state.momentum_buffer + (1.0 - h.momentum) * g;
            x - h.lr * state.momentum_buffer.sign()
        }
    }
}

register!(
    Elementwise Signsgd, "signsgd",
    summary = "sign of the averaged gradient",
    paper = "arXiv 1802.04434",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
