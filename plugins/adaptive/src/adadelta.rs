//! Adadelta: steps in units of the parameter, from the ratio of two running mean squares.
//!
//! ```text
//! g ← g + weight_decay·x,   v ← ρ·v + (1 − ρ)·g²
//! Δ = √(u + eps)/√(v + eps) · g,   u ← ρ·u + (1 − ρ)·Δ²
//! x ← x − lr·Δ
//! ```
//! Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method", arXiv 1212.5701, Algorithm 1, which has lr = 1; as
//! `torch.optim.Adadelta`.

use sdk::*;

/// The rule.
pub struct Adadelta;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    rho: T,
    eps: T,
    weight_decay: T,
}

/// Its state: v, u.
#[derive(Record)]
pub struct State<T> {
    square_avg: T,
    acc_delta: T,
}

impl Elementwise for Adadelta {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1.0, 0.0..=10.0, "factor on the step"),
            rho: knob(0.9, 0.0..=1.0, "decay of both mean squares"),
            eps: knob(1e-6, 0.0..=1.0, "added under both roots"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, added to the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { square_avg: Slot::zeros().degree(2).decay(h.rho), acc_delta: Slot::zeros().decay(h.rho) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        move |x, g, state| {
            let g = g + h.weight_decay * x;

            state.square_avg = h.rho * state.square_avg + (1.0 - h.rho) * (g * g);
            let delta = (state.acc_delta + h.eps).sqrt() / (state.square_avg + h.eps).sqrt() * g;
            state.acc_delta = h.rho * state.acc_delta + (1.0 - h.rho) * (delta * delta);
            x - h.lr * delta
        }
    }
}

register!(
    Elementwise Adadelta, "adadelta",
    summary = "steps in the units of the parameter",
    paper = "arXiv 1212.5701",
    declares = ["sign symmetric", "gradient scale invariant"]
);
