//! Averaged SGD: gradient descent with a falling rate, and an average of the parameters on the side.
//!
//! ```text
//! g ← g + weight_decay·x
//! x ← x·(1 − λ·η) − η·g,   a ← a + (x − a)·μ
//! η ← lr/(1 + λ·lr·t)^α,   μ ← 1/max(1, t − t0)         (for the next step; η starts at lr)
//! ```
//! Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"; as `torch.optim.ASGD`, which trains x
//! and only keeps a: training and evaluation are at x here, too. η is one number per tensor; torch holds it in f32, also
//! for f64 parameters, and it is rounded alike here.

use sdk::*;

/// The rule.
pub struct Asgd;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    lambd: T,
    alpha: T,
    t0: T,
    weight_decay: T,
}

/// Its state: a.
#[derive(Record)]
pub struct State<T> {
    ax: T,
}

/// What it keeps of each tensor: the η of the last step, and of the coming one.
#[derive(Record)]
pub struct Memory<T> {
    used_eta: T,
    eta: T,
}

impl Remembering for Asgd {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Nothing<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "step size"),
            lambd: knob(1e-4, 0.0..=10.0, "decay of the parameter, and of the rate"),
            alpha: knob(0.75, 0.0..=10.0, "power of the rate's fall"),
            t0: knob(1e6, 0.0..=1e12, "step at which averaging begins"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, added to the gradient"),
        }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { ax: Slot::zeros().value_degree(1) }
    }

    fn memory(_: &Hyper<f64>) -> Memory<Slot> {
        Memory { used_eta: Slot::zeros(), eta: Slot::zeros() }
    }

    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        _: Nothing<Scalar<L>>,
        memory: Memory<Scalar<L>>,
    ) -> Memory<Scalar<L>> {
        let first = Scalar::from(1.5).gt(step.t);
        Memory {
            used_eta: first.select(h.lr.in_f32(), memory.eta),
            eta: (h.lr / (1.0 + h.lambd * h.lr * step.t).pow(h.alpha)).in_f32(),
        }
    }

    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        Memory { used_eta, .. }: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        let first = Scalar::from(1.5).gt(step.t);
        let share = first.select(1.0, 1.0 / (step.t - 1.0 - h.t0).max(1.0));
        let keep = 1.0 - h.lambd * used_eta;

        move |x, g, state| {
            let g = g + h.weight_decay * x;
            let new = x * keep - used_eta * g;
            state.ax = state.ax + (new - state.ax) * share;
            new
        }
    }
}

register!(
    Remembering Asgd, "asgd",
    summary = "gradient descent with a falling rate and an average",
    paper = "https://doi.org/10.1137/0330046",
    declares = ["sign symmetric"]
);
