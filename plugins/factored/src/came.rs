//! CAME: Adafactor with momentum, whose steps are weighed by how much they agree with it.
//!
//! ```text
//! R ← β₂·R + (1 − β₂)·mean(g² + eps1, columns),   C likewise over rows
//! u = g / √(R·C/mean(R)),   u ← u / max(1, RMS(u)/clip_threshold),   m ← β₁·m + (1 − β₁)·u
//! S ← β₃·S + (1 − β₃)·mean((u − m)² + eps2, columns),   T likewise over rows
//! x ← x·(1 − lr·weight_decay) − lr·m / √(S·T/mean(S))
//! ```
//! A vector keeps its whole second moment, and its step is m. Luo et al. 2023, "CAME: Confidence-guided Adaptive Memory
//! Efficient Optimization", arXiv 2307.02047, Algorithm 2; as came-pytorch, the authors' package.

use sdk::*;

/// The rule.
pub struct Came;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    eps1: T,
    eps2: T,
    clip_threshold: T,
    beta1: T,
    beta2: T,
    beta3: T,
    weight_decay: T,
}

/// Its state: m; R, C, S, T of a matrix; the second moment of a vector.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    row_var: T,
    col_var: T,
    row_res: T,
    col_res: T,
    variance: T,
}

use crate::moments;

fn slots(h: &Hyper<f64>, is_matrix: bool) -> State<Slot> {
    let [row_var, col_var, variance] = moments::slots(is_matrix);
    // How far steps disagree does not change with the gradient's scale.
    let (row_res, col_res) = (row_var.degree(0).mixed(), col_var.degree(0).mixed());
    State { exp_avg: Slot::zeros().mixed().decay(h.beta1), row_var, col_var, row_res, col_res, variance }
}

impl Optimizer for Came {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(2e-4, 0.0..=10.0, "step size"),
            eps1: knob(1e-30, 0.0..=1.0, "added to the squared gradient"),
            eps2: knob(1e-16, 0.0..=1.0, "added to the squared disagreement"),
            clip_threshold: knob(1.0, 1e-6..=1e6, "largest root mean square of a step before it is scaled"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            beta3: knob(0.9999, 0.0..=1.0, "decay of the disagreement"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        slots(h, true)
    }

    fn state_of(h: &Hyper<f64>, shape: &[i64]) -> State<Slot> {
        slots(h, shape.len() > 1)
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
        let shape = x.shape()?;
        let is_matrix = moments::is_matrix(&shape);
        let squares = g.mul(g)?.add_scalar(h.eps1)?;
        let update = if is_matrix {
            moments::average(squares, h.beta2, &mut state.row_var, &mut state.col_var)?;
            g.mul(moments::inverse_root(state.row_var, state.col_var, &shape)?)?
        } else {
            state.variance = state.variance.lerp(squares, h.beta2)?;
            g.mul(state.variance.rsqrt()?)?
        };
        let excess = update.mul(update)?.mean_each()?.sqrt()?.mul_scalar(1.0 / h.clip_threshold)?.max_scalar(1.0)?;
        let update = update.div(excess)?;
        state.exp_avg = state.exp_avg.lerp(update, h.beta1)?;
        let mut direction = state.exp_avg;
        if is_matrix {
            let off = update.sub(state.exp_avg)?;
            let disagreement = off.mul(off)?.add_scalar(h.eps2)?;
            moments::average(disagreement, h.beta3, &mut state.row_res, &mut state.col_res)?;
            direction = direction.mul(moments::inverse_root(state.row_res, state.col_res, &shape)?)?;
        }
        x.mul_scalar(1.0 - h.lr * h.weight_decay)?.add_scaled(direction, -h.lr)
    }
}

register!(
    Optimizer Came, "came",
    summary = "Adafactor with momentum, weighed by agreement",
    paper = "arXiv 2307.02047"
);
