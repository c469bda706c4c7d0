//! Schedule-free SGD: gradient descent with an average of the iterates in place of a schedule.
//!
//! ```text
//! u = g + weight_decay·y
//! η = lr·min(1, t/warmup_steps),   w = tʳ·(largest η)^weight_lr_power,   W ← W + w,   c = w/W
//! y ← y + c·(z − y) − η·(1 − momentum·(1 − c))·u,   z ← z − η·u
//! evaluate at y + (1 − 1/momentum)·(z − y)
//! ```
//! Defazio et al. 2024, "The Road Less Scheduled", arXiv 2405.15682, equations 3 to 5; as schedulefree, the authors'
//! package.
//! The parameter x that training moves is the point y at which gradients are taken; the average is the point to evaluate
//! at, and what checkpoints and samples are made of. Steps, and with them the weights, W and the largest lr, are counted
//! per tensor; the package counts per group.

use sdk::*;

use crate::weights::{self, Memory, Weights};

/// The rule.
pub struct SchedulefreeSgd;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    momentum: T,
    weight_decay: T,
    warmup_steps: T,
    r: T,
    weight_lr_power: T,
}

/// Its state: z.
#[derive(Record)]
pub struct State<T> {
    z: T,
}

/// What decides the weights of the average.
fn weights<L: Lane>(h: Hyper<Scalar<L>>) -> Weights<L> {
    Weights { lr: h.lr, warmup_steps: h.warmup_steps, r: h.r, weight_lr_power: h.weight_lr_power }
}

impl Remembering for SchedulefreeSgd {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Nothing<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1.0, 0.0..=100.0, "step size"),
            momentum: knob(0.9, 0.0..=1.0, "where between z and the average gradients are taken"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, at y"),
            warmup_steps: knob(0.0, 0.0..=1e9, "steps until lr is reached"),
            r: knob(0.0, 0.0..=100.0, "power of the step in the average's weights"),
            weight_lr_power: knob(2.0, 0.0..=100.0, "power of lr in the average's weights"),
        }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { z: Slot::copy_of_parameter() }
    }

    fn memory(_: &Hyper<f64>) -> Memory<Slot> {
        weights::none()
    }

    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        _: Nothing<Scalar<L>>,
        memory: Memory<Scalar<L>>,
    ) -> Memory<Scalar<L>> {
        weights(h).advance(step, memory)
    }

    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        memory: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        let (lr, share) = (weights(h).rate(step), weights(h).share(step, memory));
        let pull = lr * (1.0 - h.momentum * (1.0 - share));

        move |x, g, state| {
            let step = g + h.weight_decay * x;
            let new = x + share * (state.z - x) - pull * step;
            state.z = state.z - lr * step;
            new
        }
    }

    const PREPARES_FOR_EVAL: bool = true;

    /// The average: y − (1 − momentum)/momentum·(z − y).
    fn prepare_for_eval<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, State<L>) -> L {
        let back = h.momentum.gt(0.0).select(1.0 - 1.0 / h.momentum, 0.0);
        move |y, state| y + back * (state.z - y)
    }
}

register!(
    Remembering SchedulefreeSgd, "schedulefree-sgd",
    summary = "gradient descent with an average in place of a schedule",
    paper = "arXiv 2405.15682",
    declares = ["sign symmetric"]
);
