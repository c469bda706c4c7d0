//! Optimizers that panic in the middle of training: contained, and the run ends with exit code 5 and its last
//! checkpoint whole.
#![forbid(unsafe_code)]

use sdk::*;

/// The step at which both panic.
const STEP: f64 = 3.0;

/// Hyper-parameters of both.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
}

fn schema() -> Hyper<Knob> {
    Hyper { lr: knob(1e-3, 0.0..=1.0, "step size") }
}

/// Gradient descent that panics in the kernel.
pub struct Panics;

impl Elementwise for Panics {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Hyper<Knob> {
        schema()
    }

    fn state(_: &Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut Nothing<L>) -> L {
        // A rule cannot branch on a number, so this looks at how one is printed. When recorded it is a symbol.
        if format!("{:?}", step.t) == format!("Scalar({STEP:?})") {
            panic!("the kernel panics at step {STEP}");
        }
        move |x, g, _| x - h.lr * g
    }
}

/// Gradient descent over whole tensors that panics.
pub struct PanicsWhole;

impl Optimizer for PanicsWhole {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Hyper<Knob> {
        schema()
    }

    fn state(_: &Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }

    fn accepts(_: &[i64]) -> Result<()> {
        Ok(())
    }

    fn update<'t>(
        h: &Hyper<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        _: &mut Nothing<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        if step.t == STEP {
            panic!("the rule panics at step {STEP}");
        }
        x.add_scaled(g, -h.lr)
    }
}

register!(Elementwise Panics, "panics", summary = "a fixture: panics at step 3", paper = "none: a fixture");
register!(Optimizer PanicsWhole, "panics-whole", summary = "a fixture: panics at step 3", paper = "none: a fixture");
plugin!();
