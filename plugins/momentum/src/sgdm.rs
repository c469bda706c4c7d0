//! SGD with momentum.
//!
//! ```text
//! g ← g + weight_decay·x
//! b ← momentum·b + (1 − dampening)·g        (first step: b = g)
//! x ← x − lr·b                              (nesterov: x − lr·(g + momentum·b))
//! ```
//! Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning", ICML 2013; in the form
//! of `torch.optim.SGD`, where lr multiplies the buffer and not what goes into it.

use sdk::*;

/// The rule.
pub struct Sgdm;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    momentum: T,
    dampening: T,
    weight_decay: T,
    nesterov: T,
    maximize: T,
}

/// Its state: b.
#[derive(Record)]
pub struct State<T> {
    momentum_buffer: T,
}

impl Elementwise for Sgdm {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=100.0, "step size"),
            momentum: knob(0.9, 0.0..=1.0, "decay of the buffer"),
            dampening: knob(0.0, 0.0..=1.0, "share of the gradient kept out of the buffer, from the second step"),
            weight_decay: knob(0.0, 0.0..=10.0, "coupled decay: added to the gradient"),
            nesterov: flag(false, "step along the gradient plus the decayed buffer"),
            maximize: flag(false, "walk uphill"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { momentum_buffer: Slot::zeros().degree(1).decay(h.momentum) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let taken = step.t.gt(1.0).select(1.0 - h.dampening, 1.0);
        move |x, g, state| {
            let g = if h.maximize.is_on() { -g } else { g };
            let g = g + h.weight_decay * x;
            state.momentum_buffer = h.momentum * state.momentum_buffer + taken * g;
            let direction =
                if h.nesterov.is_on() { g + h.momentum * state.momentum_buffer } else { state.momentum_buffer };
            x - h.lr * direction
        }
    }
}

register!(
    Elementwise Sgdm, "sgdm",
    summary = "stochastic gradient descent with momentum, optionally Nesterov's",
    paper = "Sutskever et al. 2013",
    declares = ["sign symmetric"]
);
