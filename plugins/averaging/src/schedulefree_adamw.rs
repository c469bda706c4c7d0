//! Schedule-free AdamW: AdamW with an average of the iterates in place of a schedule.
//!
//! ```text
//! v ← β₂·v + (1 − β₂)·g²,   u = g/(√(v/(1 − β₂ᵗ)) + eps) + weight_decay·y
//! η = lr·min(1, t/warmup_steps),   w = tʳ·(largest η)^weight_lr_power,   W ← W + w,   c = w/W
//! y ← y + c·(z − y) − η·(1 − β₁·(1 − c))·u,   z ← z − η·u
//! evaluate at y + (1 − 1/β₁)·(z − y)
//! ```
//! Defazio et al. 2024, "The Road Less Scheduled", arXiv 2405.15682, Algorithm 1; as schedulefree, the authors' package.
//! The parameter x that training moves is the point y at which gradients are taken; the average is the point to evaluate
//! at, and what checkpoints and samples are made of. Steps, and with them the weights, W and the largest lr, are counted
//! per tensor; the package counts per group.

use sdk::*;

use crate::weights::{self, Memory, Weights};

/// The rule.
pub struct SchedulefreeAdamw;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    warmup_steps: T,
    r: T,
    weight_lr_power: T,
}

/// Its state: z, v.
#[derive(Record)]
pub struct State<T> {
    z: T,
    exp_avg_sq: T,
}

/// What decides the weights of the average.
fn weights<L: Lane>(h: Hyper<Scalar<L>>) -> Weights<L> {
    Weights { lr: h.lr, warmup_steps: h.warmup_steps, r: h.r, weight_lr_power: h.weight_lr_power }
}

impl Remembering for SchedulefreeAdamw {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Nothing<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(2.5e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "where between z and the average gradients are taken"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, at y"),
            warmup_steps: knob(0.0, 0.0..=1e9, "steps until lr is reached"),
            r: knob(0.0, 0.0..=100.0, "power of the step in the average's weights"),
            weight_lr_power: knob(2.0, 0.0..=100.0, "power of lr in the average's weights"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { z: Slot::copy_of_parameter(), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
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
        let pull = lr * (1.0 - h.beta1 * (1.0 - share));
        let correction2 = 1.0 - h.beta2.pow(step.t);

        move |x, g, state| {
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);
            let step = g / ((state.exp_avg_sq / correction2).sqrt() + h.eps) + h.weight_decay * x;
            let new = x + share * (state.z - x) - pull * step;
            state.z = state.z - lr * step;
            new
        }
    }

    const PREPARES_FOR_EVAL: bool = true;

    /// The average: y − (1 − beta1)/beta1·(z − y).
    fn prepare_for_eval<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, State<L>) -> L {
        let back = h.beta1.gt(0.0).select(1.0 - 1.0 / h.beta1, 0.0);
        move |y, state| y + back * (state.z - y)
    }
}

register!(
    Remembering SchedulefreeAdamw, "schedulefree-adamw",
    summary = "AdamW with an average in place of a schedule",
    paper = "arXiv 2405.15682",
    declares = ["sign symmetric", "gradient scale invariant"]
);
