//! LaProp: the gradient is normalized first, and momentum taken of the normalized.
//!
//! ```text
//! v ← β₂·v + (1 − β₂)·g²
//! m ← β₁·m + (1 − β₁)·lr·g / (√(v/(1 − β₂ᵗ)) + eps)
//! a ← β₁·a + (1 − β₁)·lr,   x ← (x − lr/a · m)·(1 − lr·weight_decay)
//! ```
//! Ziyin, Wang and Ueda 2020, "LaProp: Separating Momentum and Adaptivity in Adam", arXiv 2002.04839, Algorithm 1; as
//! timm, whose bias correction lr/a follows the schedule; where lr was always 0 there is no step. a and 1 − β₂ᵗ are one
//! number per tensor, the latter rounded to f32 as there, also for f64 parameters.

use sdk::*;

/// The rule.
pub struct LaProp;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

/// What it keeps of each tensor: a, 1 − β₂ᵗ.
#[derive(Record)]
pub struct Memory<T> {
    exp_avg_lr: T,
    correction2: T,
}

impl Remembering for LaProp {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Nothing<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(4e-4, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-15, 0.0..=1.0, "added to the root"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times lr, after the step"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().decay(h.beta1), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
    }

    fn memory(_: &Hyper<f64>) -> Memory<Slot> {
        Memory { exp_avg_lr: Slot::zeros(), correction2: Slot::zeros() }
    }

    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        _: Nothing<Scalar<L>>,
        memory: Memory<Scalar<L>>,
    ) -> Memory<Scalar<L>> {
        Memory {
            exp_avg_lr: h.beta1 * memory.exp_avg_lr + h.lr * (1.0 - h.beta1),
            correction2: ((memory.correction2 * h.beta2.in_f32()).in_f32() + (1.0 - h.beta2).in_f32()).in_f32(),
        }
    }

    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        Memory { exp_avg_lr, correction2 }: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;
        let share = h.lr * (1.0 - h.beta1);
        let step_size = exp_avg_lr.gt(0.0).select(h.lr / exp_avg_lr, 0.0);

        move |x, g, state| {
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);
            state.exp_avg = h.beta1 * state.exp_avg + share * (g / ((state.exp_avg_sq / correction2).sqrt() + h.eps));
            (x - step_size * state.exp_avg) * keep
        }
    }
}

register!(
    Remembering LaProp, "laprop",
    summary = "momentum of normalized gradients",
    paper = "arXiv 2002.04839",
    declares = ["sign symmetric", "gradient scale invariant"]
);
