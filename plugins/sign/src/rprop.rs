//! Rprop: every element has a step size of its own, grown while the gradient's sign stays and shrunk when it turns.
//!
//! ```text
//! c = g·p                      (p: gradient of the step before)
//! c > 0: Δ ← min(Δ·η₊, max),   c < 0: Δ ← max(Δ·η₋, min) and g ← 0
//! x ← x − Δ·sign(g),   p ← g
//! ```
//! Riedmiller and Braun 1993, "A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP Algorithm"; as
//! `torch.optim.Rprop`: Rprop− with the gradient forgotten at a turn. lr is the first step size; after the first step it is
//! not looked at, so a schedule has no effect, and lr = 0 is no standstill: Δ is at least `step_size_min`.

use sdk::*;

/// The rule.
pub struct Rprop;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    eta_minus: T,
    eta_plus: T,
    step_size_min: T,
    step_size_max: T,
}

/// Its state: p, Δ.
#[derive(Record)]
pub struct State<T> {
    prev: T,
    step_size: T,
}

impl Elementwise for Rprop {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "first step size of every element"),
            eta_minus: knob(0.5, 0.0..=1.0, "factor at a turn"),
            eta_plus: knob(1.2, 1.0..=100.0, "factor while the sign stays"),
            step_size_min: knob(1e-6, 0.0..=1e6, "smallest step size"),
            step_size_max: knob(50.0, 0.0..=1e6, "largest step size"),
        }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { prev: Slot::zeros().degree(1).decay(0.0), step_size: Slot::zeros() }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let first = Scalar::from(1.5).gt(step.t);
        move |x, g, state| {
            let agreement = g * state.prev;
            let turned = !agreement.ge(0.0);
            let factor = agreement.gt(0.0).select(h.eta_plus, turned.select(h.eta_minus, 1.0));
            let size = first.choose(h.lr, state.step_size) * factor;
            state.step_size = size.max(h.step_size_min).min(h.step_size_max);
            state.prev = turned.select(0.0, g);
            x - state.prev.sign() * state.step_size
        }
    }
}

register!(
    Elementwise Rprop, "rprop",
    summary = "a step size per element, by the sign of the gradient",
    paper = "https://doi.org/10.1109/ICNN.1993.298623",
    except = [
        "lr = 0: lr is where step sizes start, and they have a floor, step_size_min",
        "schedule changed: lr is looked at in the first step alone"
    ],
    declares = ["sign symmetric", "gradient scale invariant"]
);
