//! LARS: momentum with a step in proportion to the tensor's norm.
//!
//! ```text
//! r = trust_coeff·‖x‖/(‖g‖ + weight_decay·‖x‖ + eps) where both norms are above 0, else 1
//! d = r·(g + weight_decay·x)          (without decay: d = g)
//! b ← momentum·b + (1 − dampening)·d   (first step: b = d),   x ← x − lr·b   or   lr·(d + momentum·b)   (nesterov)
//! ```
//! You, Gitman and Ginsburg 2017, "Large Batch Training of Convolutional Networks", arXiv 1708.03888, Algorithm 1; as
//! timm, where a rate without decay is plain SGD, and a zero norm means a ratio of 1. Without momentum d is the step.
//! Implementations differ in the place of eps and of the momentum.

use sdk::*;

/// The rule.
pub struct Lars;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    momentum: T,
    dampening: T,
    weight_decay: T,
    nesterov: T,
    trust_coeff: T,
    eps: T,
}

/// Its state: b.
#[derive(Record)]
pub struct State<T> {
    momentum_buffer: T,
}

/// Its sums.
#[derive(Record)]
pub struct Sums<T> {
    parameter: T,
    gradient: T,
}

impl Reducing for Lars {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1.0, 0.0..=100.0, "step size"),
            momentum: knob(0.0, 0.0..=1.0, "decay of the momentum; 0 stands for none"),
            dampening: knob(0.0, 0.0..=1.0, "share of the step kept out of the momentum"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, within the ratio"),
            nesterov: flag(false, "look ahead along the momentum"),
            trust_coeff: knob(1e-3, 0.0..=100.0, "length of a step as a share of the norm"),
            eps: knob(1e-8, 0.0..=1.0, "added to the norms"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { momentum_buffer: Slot::zeros().mixed().decay(h.momentum).only_if(h.momentum) }
    }

    fn measure<L: Lane>(_: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, State<L>) -> Sums<L> {
        move |x, g, _| Sums { parameter: x * x, gradient: g * g }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>, sums: Sums<Scalar<L>>) -> impl Fn(L, L, &mut State<L>) -> L {
        let (x_norm, g_norm) = (sums.parameter.sqrt(), sums.gradient.sqrt());
        let sizes = x_norm.gt(0.0) & g_norm.gt(0.0) & h.weight_decay.gt(0.0);
        let denominator = sizes.select(g_norm + x_norm * h.weight_decay + h.eps, 1.0);
        let ratio = sizes.select(h.trust_coeff * x_norm / denominator, 1.0);
        let first = Scalar::from(1.5).gt(step.t);
        let moves = h.momentum.gt(0.0);

        move |x, g, state| {
            let step = ratio * (g + h.weight_decay * x);
            let buffer = first.choose(step, h.momentum * state.momentum_buffer + (1.0 - h.dampening) * step);
            state.momentum_buffer = buffer;
            let ahead = if h.nesterov.is_on() { step + h.momentum * buffer } else { buffer };
            x - h.lr * moves.choose(ahead, step)
        }
    }
}

register!(
    Reducing Lars, "lars",
    summary = "momentum with steps in proportion to the tensor",
    paper = "arXiv 1708.03888",
    declares = ["sign symmetric"]
);
