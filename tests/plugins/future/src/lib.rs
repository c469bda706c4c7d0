//! A plugin that requires a minor version no host of this major has: refused, with both versions.
#![forbid(unsafe_code)]

use sdk::*;

/// Plain gradient descent.
pub struct Future;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
}

impl Elementwise for Future {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { lr: knob(1e-3, 0.0..=1.0, "step size") }
    }

    fn state(_: &Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut Nothing<L>) -> L {
        move |x, g, _| x - h.lr * g
    }
}

register!(
    Elementwise Future, "future",
    summary = "a fixture: gradient descent",
    paper = "none: a fixture"
);
plugin!(abi = (1, 999));
