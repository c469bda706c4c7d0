//! Adafactor as fairseq has it: relative steps, and the small constant inside the second moment.
//!
//! ```text
//! ρ = lr,   or   min(10⁻², 1/√t)   (relative_step; with warmup_init min(10⁻⁶·t, 1/√t))
//! α = ρ·max(eps2, RMS(x))   (scale_parameter; else ρ),   β₂ = 1 − t^decay_rate
//! R ← β₂·R + (1 − β₂)·mean(g² + eps1, columns),   C likewise over rows
//! U = g / √(R·C/mean(R))                          (a vector keeps V ← β₂·V + (1 − β₂)·(g² + eps1) itself)
//! U ← α·U / max(1, RMS(U)/clip_threshold),   m ← β₁·m + (1 − β₁)·U   (with beta1 above 0; then m is the step)
//! x ← x − α·weight_decay·x − U
//! ```
//! Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", arXiv 1804.04235, Algorithms 4
//! and 5; as fairseq, Hugging Face and torch-optimizer, which fails on tensors of more than two dimensions. With
//! `relative_step` lr, and so its schedule, is not looked at. `torch.optim.Adafactor` is `adafactor`.

use sdk::*;

/// The rule.
pub struct AdafactorFairseq;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    eps1: T,
    eps2: T,
    clip_threshold: T,
    decay_rate: T,
    beta1: T,
    weight_decay: T,
    scale_parameter: T,
    relative_step: T,
    warmup_init: T,
}

/// Its state: R and C of a matrix, V of a vector, and m.
#[derive(Record)]
pub struct State<T> {
    row_var: T,
    col_var: T,
    variance: T,
    exp_avg: T,
}

use crate::moments;

fn slots(h: &Hyper<f64>, is_matrix: bool) -> State<Slot> {
    let [row_var, col_var, variance] = moments::slots(is_matrix);
    State { row_var, col_var, variance, exp_avg: Slot::zeros().decay(h.beta1).only_if(h.beta1) }
}

impl Optimizer for AdafactorFairseq {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size without relative_step"),
            eps1: knob(1e-30, 0.0..=1.0, "added to the squared gradient"),
            eps2: knob(1e-3, 0.0..=1.0, "smallest size of a parameter"),
            clip_threshold: knob(1.0, 1e-6..=1e6, "largest root mean square of a step before it is scaled"),
            decay_rate: knob(-0.8, -10.0..=0.0, "power of t in the weight of the new gradient"),
            beta1: knob(0.0, 0.0..=1.0, "decay of the first moment; 0 stands for none"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times the scaled step"),
            scale_parameter: flag(true, "steps in proportion to the parameter's size"),
            relative_step: flag(true, "a rate that follows from t alone"),
            warmup_init: flag(false, "relative steps begin small"),
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
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let (t, shape) = (step.t, x.shape()?);
        let first = if h.warmup_init.is_on() { 1e-6 * t } else { 1e-2 };
        let rate = if h.relative_step.is_on() { first.min(1.0 / t.sqrt()) } else { h.lr };
        let size = x.mul(x)?.mean_each()?;
        let scale = if h.scale_parameter.is_on() {
            size.sqrt()?.max_scalar(h.eps2)?.mul_scalar(rate)?
        } else {
            size.full(&size.shape()?, rate)?
        };
        let beta2 = 1.0 - t.powf(h.decay_rate);
        let squares = g.mul(g)?.add_scalar(h.eps1)?;
        let update = if moments::is_matrix(&shape) {
            moments::average(squares, beta2, &mut state.row_var, &mut state.col_var)?;
            g.mul(moments::inverse_root(state.row_var, state.col_var, &shape)?)?
        } else {
            state.variance = state.variance.lerp(squares, beta2)?;
            g.mul(state.variance.rsqrt()?)?
        };
        let excess = update.mul(update)?.mean_each()?.sqrt()?.mul_scalar(1.0 / h.clip_threshold)?.max_scalar(1.0)?;
        let mut update = update.mul(scale.div(excess)?)?;
        if h.beta1 > 0.0 {
            state.exp_avg = state.exp_avg.lerp(update, h.beta1)?;
            update = state.exp_avg;
        }
        x.add_scaled(scale.mul(x)?, -h.weight_decay)?.sub(update)
    }
}

register!(
    Optimizer AdafactorFairseq, "adafactor-fairseq",
    summary = "Adafactor with relative steps",
    paper = "arXiv 1804.04235",
    except = [
        "lr = 0: by default relative_step takes the rate from t alone",
        "lr doubled: by default relative_step takes the rate from t alone",
        "schedule changed: by default relative_step takes the rate from t alone"
    ]
);
