//! An optimizer over whole tensors whose step fails, by itself or in the host: the run ends with exit code 5.
#![forbid(unsafe_code)]

use sdk::*;

/// Gradient descent that fails at step 10, which is after the eight of the probe at load.
pub struct Fails;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    how: T,
}

/// Its state: one tensor that is switched off.
#[derive(Record)]
pub struct State<T> {
    absent: T,
}

impl Optimizer for Fails {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=1.0, "step size"),
            how: choice(&["own", "host", "absent"], "an error of its own, of the host's, or of a slot that is off"),
        }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { absent: Slot::zeros().only_if(0.0) }
    }

    fn accepts(_: &[i64]) -> Result<()> {
        Ok(())
    }

    fn update<'t>(
        h: &Hyper<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        if step.t == 10.0 {
            return match h.how as u32 {
                0 => Err("the rule gives up at step 10".into()),
                1 => x.reshape(&[-1, 0, 7]),
                _ => state.absent.neg(),
            };
        }
        x.add_scaled(g, -h.lr)
    }
}

register!(Optimizer Fails, "fails", summary = "a fixture: fails at step 10", paper = "none: a fixture");
plugin!();
