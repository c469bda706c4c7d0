//! AdamP: Adam whose step leaves the norm of scale-invariant weights alone.
//!
//! ```text
//! p = m/(√v/√(1 − β₂ᵗ) + eps)                           (nesterov: β₁·m + (1 − β₁)·g in place of m)
//! for views per channel (first dimension), then of the whole:
//!   if max |cos(g, x)| < delta/√(elements of a row):  p ← p − x̂·(x̂·p),   decay times wd_ratio,   done
//! x ← x·(1 − lr·weight_decay·ratio) − lr/(1 − β₁ᵗ)·p
//! ```
//! Heo et al. 2021, "AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights", arXiv
//! 2006.08217, Algorithm 2; as the authors' code and timm. Vectors are never projected. x̂ is x/(‖x‖ + eps) per row.

use sdk::*;

/// The rule.
pub struct AdamP;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    delta: T,
    wd_ratio: T,
    nesterov: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

/// Whether the parameters count as scale-invariant seen as `[batch, rows, elements]`, 1 or 0 as `[batch, 1, 1]`, and the
/// step without its part along the rows.
fn projected<'t>(
    h: &Hyper<f64>,
    x: Tensor<'t>,
    g: Tensor<'t>,
    step: Tensor<'t>,
    view: &[i64; 3],
) -> Result<(Tensor<'t>, Tensor<'t>)> {
    let (x, g, step) = (x.reshape(view)?, g.reshape(view)?, step.reshape(view)?);
    let norm = x.norm(&[-1])?;
    let lengths = norm.max_scalar(h.eps)?.mul(g.norm(&[-1])?.max_scalar(h.eps)?)?;
    let mut cosines = x.mul(g)?.sum(&[-1])?.div(lengths)?.abs()?;
    // The largest over the rows, by halves.
    let mut rows = view[1];
    while rows > 1 {
        let half = rows / 2;
        rows -= half;
        cosines = cosines.narrow(1, 0, rows)?.max(cosines.narrow(1, half, rows)?)?;
    }
    let bound = cosines.full(&[view[0], 1, 1], h.delta / (view[2] as f64).sqrt())?;
    let unit = x.div(norm.add_scalar(h.eps)?)?;
    Ok((bound.gt(cosines)?, step.sub(unit.mul(unit.mul(step)?.sum(&[-1])?)?)?))
}

impl Optimizer for AdamP {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root and to norms"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times lr"),
            delta: knob(0.1, 0.0..=100.0, "cosine below which weights count as scale-invariant"),
            wd_ratio: knob(0.1, 0.0..=1.0, "share of the decay for scale-invariant weights"),
            nesterov: flag(false, "look ahead along the momentum"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta1), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
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
        state.exp_avg = state.exp_avg.lerp(g, h.beta1)?;
        state.exp_avg_sq = state.exp_avg_sq.lerp(g.mul(g)?, h.beta2)?;
        let root = state.exp_avg_sq.sqrt()?.mul_scalar(1.0 / (1.0 - h.beta2.powf(t)).sqrt())?.add_scalar(h.eps)?;
        let along = if h.nesterov.is_on() { state.exp_avg.lerp(g, h.beta1)? } else { state.exp_avg };
        let mut direction = along.div(root)?;
        let keep = 1.0 - h.lr * h.weight_decay;
        let shape = x.shape()?;
        let step_size = h.lr / (1.0 - h.beta1.powf(t));
        if shape.len() <= 2 {
            return x.mul_scalar(keep)?.add_scaled(direction, -step_size);
        }
        let (batch, rows) = (shape[0], shape[1]);
        let per_channel = projected(h, x, g, direction, &[batch, rows, shape[2..].iter().product()])?;
        let whole = projected(h, x, g, direction, &[batch, 1, shape[1..].iter().product()])?;
        // The view of the whole counts only where that of the channels did not.
        let invariant = per_channel.0.max(whole.0)?;
        let flat = [batch, 1, shape[1..].iter().product()];
        let choose =
            |yes: Tensor<'t>, no: Tensor<'t>, at: Tensor<'t>| at.select(yes.reshape(&flat)?, no.reshape(&flat)?);
        let of_whole = choose(whole.1, direction, whole.0)?;
        direction = choose(per_channel.1, of_whole, per_channel.0)?.reshape(&shape)?;
        let spared = invariant.mul_scalar(h.lr * h.weight_decay * (1.0 - h.wd_ratio))?;
        let kept = x.reshape(&flat)?.mul(spared.add_scalar(keep)?)?.reshape(&shape)?;
        kept.add_scaled(direction, -step_size)
    }
}

register!(
    Optimizer AdamP, "adamp",
    summary = "Adam that leaves the norm of scale-invariant weights alone",
    paper = "arXiv 2006.08217"
);
