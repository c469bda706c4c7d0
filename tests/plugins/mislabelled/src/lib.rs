//! A plugin that offers `another`, for a registry that asks it for a different label: refused.
#![forbid(unsafe_code)]

use sdk::*;

/// Plain gradient descent.
pub struct Another;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
}

impl Elementwise for Another {
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
    Elementwise Another, "another",
    summary = "a fixture: gradient descent",
    paper = "none: a fixture"
);
plugin!();
