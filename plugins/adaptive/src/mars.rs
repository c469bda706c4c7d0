//! MARS: AdamW or Lion on a gradient whose variance is reduced by the one before.
//!
//! ```text
//! c = g + γ·β₁/(1 − β₁)·(g − g₋₁),   c ← c/max(1, ‖c‖)        (first step: c = g before the clipping)
//! m ← β₁·m + (1 − β₁)·c
//! adamw:  v ← β₂·v + (1 − β₂)·c²,   x ← x − lr·(weight_decay·x + m/(1 − β₁ᵗ) / (√v/√(1 − β₂ᵗ) + eps))
//! lion:   x ← x − lr·(weight_decay·x + sign(m))
//! ```
//! Parameters of fewer than two dimensions take plain AdamW on g. Yuan et al. 2024, "MARS: Unleashing the Power of Variance
//! Reduction for Training Large Models", arXiv 2411.10438, Algorithms 2 and 3, in the form that evaluates each gradient
//! once; as timm, whose first step has no change. pytorch_optimizer differs.

use sdk::*;

/// The rule.
pub struct Mars;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    gamma: T,
    mars_type: T,
}

/// Its state: m, v, g₋₁.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    last_grad: T,
}

/// Index of `lion` among the choices of `mars_type`.
const LION: usize = 1;

impl Optimizer for Mars {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(3e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=0.999999, "decay of the first moment"),
            beta2: knob(0.99, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
            gamma: knob(0.025, 0.0..=10.0, "weight of the change of the gradient"),
            mars_type: choice(&["adamw", "lion"], "the rule that the reduced gradient goes to"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).mixed().decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).mixed().decay(h.beta2),
            last_grad: Slot::zeros().degree(1).decay(0.0),
        }
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
        let t = step.t;
        let is_matrix = x.shape()?.len() > 2;
        let mut reduced = g;
        if is_matrix {
            if t > 1.0 {
                reduced = g.add_scaled(g.sub(state.last_grad)?, h.gamma * (h.beta1 / (1.0 - h.beta1)))?;
            }
            reduced = reduced.div(reduced.mul(reduced)?.sum_each()?.sqrt()?.max_scalar(1.0)?)?;
        }
        state.last_grad = g;
        state.exp_avg = state.exp_avg.lerp(reduced, h.beta1)?;
        let direction = if is_matrix && h.mars_type.is(LION) {
            state.exp_avg.sign()?
        } else {
            state.exp_avg_sq = state.exp_avg_sq.lerp(reduced.mul(reduced)?, h.beta2)?;
            let correction2 = (1.0 - h.beta2.powf(t)).sqrt();
            let root = state.exp_avg_sq.sqrt()?.mul_scalar(1.0 / correction2)?.add_scalar(h.eps)?;
            state.exp_avg.mul_scalar(1.0 / (1.0 - h.beta1.powf(t)))?.div(root)?
        };
        x.mul_scalar(1.0 - h.lr * h.weight_decay)?.add_scaled(direction, -h.lr)
    }
}

register!(
    Optimizer Mars, "mars",
    summary = "AdamW on gradients of reduced variance",
    paper = "arXiv 2411.10438"
);
