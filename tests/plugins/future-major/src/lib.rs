//! A plugin of another major version: refused, with both versions.
#![forbid(unsafe_code)]

use sdk::*;

/// Plain gradient descent.
pub struct FutureMajor;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
}

impl Elementwise for FutureMajor {
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
    Elementwise FutureMajor, "future-major",
    summary = "a fixture: gradient descent",
    paper = "none: a fixture"
);
plugin!(abi = (2, 0));
