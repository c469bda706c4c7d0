//! A plugin that works, but drags libtorch into the process (`build.rs`): refused before it is opened.
#![forbid(unsafe_code)]

use sdk::*;

/// Plain gradient descent.
pub struct LinksLibtorch;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
}

impl Elementwise for LinksLibtorch {
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
    Elementwise LinksLibtorch, "links-libtorch",
    summary = "a fixture: gradient descent",
    paper = "none: a fixture"
);
plugin!();
