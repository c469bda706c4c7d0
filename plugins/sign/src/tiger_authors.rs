//! Tiger as its author has it: steps of the sign of the momentum, in proportion to the parameter's size.
//!
//! ```text
//! m ← β·m + (1 − β)·g
//! weight:     s = lr·RMS(x),              d = weight_decay
//! embedding:  s = lr·RMS(each row of x),  d = weight_decay      (over the last dimension)
//! bias, beta, gamma:  s = lr/2,           d = 0
//! x ← x − s·(sign(m) + d·x)
//! ```
//! Su 2023, "Tiger: A Tight-fisted Optimizer"; as the author's code for TensorFlow 1, where the kind follows from the
//! variable's name. Here it is the hyper-parameter `kind`, to be set per parameter group. What that code does with
//! gradients that are not numbers, the trainer's own policy does. `tiger` is the plain rule.

use sdk::*;

/// The rule.
pub struct TigerAuthors;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta: T,
    weight_decay: T,
    kind: T,
}

/// Its state: m.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
}

/// Index of `weight` among the choices of `kind`.
const WEIGHT: usize = 0;
/// Index of `embedding`.
const EMBEDDING: usize = 1;

impl Optimizer for TigerAuthors {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "length of a step, in units of the parameter's size"),
            beta: knob(0.965, 0.0..=1.0, "decay of the momentum"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times the step"),
            kind: choice(&["weight", "embedding", "bias", "beta", "gamma"], "what the parameters are"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta) }
    }

    fn accepts(_: &[i64]) -> Result<()> {
        Ok(())
    }

    fn update<'t>(
        h: &Hyper<f64>,
        _: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        state.exp_avg = state.exp_avg.lerp(g, h.beta)?;
        let sign = state.exp_avg.sign()?;
        if !h.kind.is(WEIGHT) && !h.kind.is(EMBEDDING) {
            return x.add_scaled(sign, -0.5 * h.lr);
        }
        let squares = x.mul(x)?;
        let by_row = h.kind.is(EMBEDDING) && x.shape()?.len() > 1;
        let size = if by_row { squares.mean(&[-1])? } else { squares.mean_each()? }.sqrt()?;
        x.add_scaled(size.mul(sign.add_scaled(x, h.weight_decay)?)?, -h.lr)
    }
}

register!(
    Optimizer TigerAuthors, "tiger-authors",
    summary = "sign of the momentum, in units of the parameter's size",
    paper = "https://github.com/bojone/tiger"
);
