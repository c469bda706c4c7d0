//! Lion's rule written again, with other names in another order: refused unless its entry says `same_rule_as = "lion"`.
#![forbid(unsafe_code)]

use sdk::*;

/// Lion under another name.
pub struct LionTwin;

/// As Lion's, renamed but for `lr`, which the schedule needs.
#[derive(Record)]
pub struct Hyper<T> {
    decay: T,
    memory: T,
    lr: T,
    mix: T,
}

/// As Lion's, renamed.
#[derive(Record)]
pub struct State<T> {
    velocity: T,
}

impl Elementwise for LionTwin {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            decay: knob(0.0, 0.0..=10.0, "as lion's weight_decay"),
            memory: knob(0.99, 0.0..=1.0, "as lion's beta2"),
            lr: knob(1e-4, 0.0..=1.0, "as lion's lr"),
            mix: knob(0.9, 0.0..=1.0, "as lion's beta1"),
        }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { velocity: Slot::zeros().degree(1) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.decay * h.lr;
        move |x, g, state| {
            let old = state.velocity;
            state.velocity = (1.0 - h.memory) * g + old * h.memory;
            let direction = ((1.0 - h.mix) * g + h.mix * old).sign();
            x * keep - direction * h.lr
        }
    }
}

register!(Elementwise LionTwin, "lion-twin", summary = "a fixture: lion again", paper = "none: a fixture");
plugin!();
