//! A plugin as someone outside this repository would write it: half the gradient, with the schema, state and registration
//! that every optimizer has.

use sdk::*;

struct Halfway;

#[derive(Record)]
struct Hyper<T> {
    lr: T,
}

#[derive(Record)]
struct State<T> {
    last: T,
}

impl Elementwise for Halfway {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { lr: knob(0.1, 0.0..=10.0, "step size") }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { last: Slot::zeros().degree(1) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        move |x, g, state| {
            let mean = (g + state.last) * 0.5;
            state.last = g;
            x - h.lr * mean
        }
    }
}

register!(Elementwise Halfway, "halfway", summary = "half the way along this gradient and the last", paper = "none");
plugin!();
