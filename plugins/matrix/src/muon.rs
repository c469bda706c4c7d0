//! Muon: momentum, made orthogonal.
//!
//! ```text
//! B ← μ·B + (1 − μ)·g
//! U = (1 − μ)·g + μ·B   (nesterov)   or   B
//! O = newton_schulz(U),  of U as the matrix [first dimension, all others]
//! x ← x·(1 − lr·weight_decay) − lr·r·O
//! r = √max(1, rows/columns)   (original)   or   0.2·√max(rows, columns)   (match_rms_adamw)
//! ```
//! Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the rule is that of torch.optim.Muon.
//! The momentum is an average, not a sum: the iteration does not see the scale, except through eps.
//!
//! The iteration runs in the element type of the parameter (for bf16 parameters in f32, as all rules do), which is
//! exact to rounding. `ns_dtype = "bf16"` is what torch.optim.Muon always does: it is off by about a hundredth in every
//! singular value, and faster where the processor or the card multiplies bf16 matrices in hardware.
use sdk::*;

use crate::newton_schulz::NewtonSchulz;

/// The rule.
pub struct Muon;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    pub(crate) lr: T,
    pub(crate) momentum: T,
    pub(crate) nesterov: T,
    pub(crate) weight_decay: T,
    pub(crate) ns_steps: T,
    pub(crate) ns_a: T,
    pub(crate) ns_b: T,
    pub(crate) ns_c: T,
    pub(crate) eps: T,
    pub(crate) adjust_lr: T,
    pub(crate) ns_dtype: T,
}

/// Its state: the momentum B.
#[derive(Record)]
pub struct State<T> {
    pub(crate) momentum_buffer: T,
}

/// Index of `match_rms_adamw` among the choices of `adjust_lr`.
const MATCH_RMS_ADAMW: usize = 1;
/// Index of `bf16` among the choices of `ns_dtype`.
const BF16: usize = 1;

impl Optimizer for Muon {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "length of a step, before `adjust_lr`"),
            momentum: knob(0.95, 0.0..=1.0, "decay of the momentum"),
            nesterov: flag(true, "look ahead along the momentum"),
            weight_decay: knob(0.1, 0.0..=10.0, "decoupled decay, times lr"),
            ns_steps: knob(5.0, 1.0..=100.0, "iterations of Newton-Schulz, a whole number"),
            ns_a: knob(3.4445, -100.0..=100.0, "coefficient of X in the iteration"),
            ns_b: knob(-4.775, -100.0..=100.0, "coefficient of (XXᵀ)X"),
            ns_c: knob(2.0315, -100.0..=100.0, "coefficient of (XXᵀ)²X"),
            eps: knob(1e-7, 0.0..=100.0, "smallest norm that the iteration's start is divided by"),
            adjust_lr: choice(&["original", "match_rms_adamw"], "how a step scales with the matrix's sizes"),
            ns_dtype: choice(&["param", "bf16"], "element type of the iteration"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { momentum_buffer: Slot::zeros().degree(1).decay(h.momentum) }
    }

    fn accepts(shape: &[i64]) -> Result<()> {
        accepts("muon", shape)
    }

    fn update<'t>(
        h: &Hyper<f64>,
        _: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let step = direction(h, g, state)?;
        // The decay takes the learning rate as it is.
        x.mul_scalar(1.0 - h.lr * h.weight_decay)?.add_scaled(step, -h.lr)
    }
}

/// Whether a parameter can be taken, for the label that is asked.
pub fn accepts(label: &str, shape: &[i64]) -> Result<()> {
    if shape.len() >= 2 {
        return Ok(());
    }
    Err(format!("{label} makes matrices orthogonal; shape {shape:?} has fewer than two dimensions").into())
}

/// r·O, the step of Muon before lr; moves the momentum on.
pub fn direction<'t>(h: &Hyper<f64>, g: Tensor<'t>, state: &mut State<Tensor<'t>>) -> Result<Tensor<'t>> {
    let average = state.momentum_buffer.lerp(g, h.momentum)?;
    state.momentum_buffer = average;
    let along = if h.nesterov.is_on() { average.lerp(g, h.momentum)? } else { average };

    let shape = g.shape()?;
    let [batch, rows, ..] = shape[..] else {
        return Err(format!("a batch of matrices is needed, not {shape:?}").into());
    };
    let columns = shape[2..].iter().product();
    let iteration = NewtonSchulz {
        steps: h.ns_steps,
        coefficients: [h.ns_a, h.ns_b, h.ns_c],
        eps: h.eps,
        in_bf16: h.ns_dtype.is(BF16),
    };
    let orthogonal = iteration.orthogonal(along.reshape(&[batch, rows, columns])?)?.reshape(&shape)?;

    let (rows, columns) = (rows as f64, columns as f64);
    let adjusted =
        if h.adjust_lr.is(MATCH_RMS_ADAMW) { 0.2 * rows.max(columns).sqrt() } else { (rows / columns).max(1.0).sqrt() };
    orthogonal.mul_scalar(adjusted)
}

register!(
    Optimizer Muon, "muon",
    summary = "momentum made orthogonal by Newton-Schulz; for weight matrices",
    paper = "https://kellerjordan.github.io/posts/muon",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
