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

/// Whether parameters count as scale-invariant, 1 or 0 as `[batch, 1]`, and what of x is to be taken out of the step,
/// `[batch, rows]`: from the sums of each row of `elements`.
fn projected<'t>(h: &Hyper<f64>, sums: Sums<'t>, elements: f64) -> Result<(Tensor<'t>, Tensor<'t>)> {
    let norm = sums.xx.sqrt()?;
    let lengths = norm.max_scalar(h.eps)?.mul(sums.gg.sqrt()?.max_scalar(h.eps)?)?;
    let mut cosines = sums.xg.div(lengths)?.abs()?;
    // The largest over the rows, by halves.
    let mut rows = cosines.size(1)?;
    while rows > 1 {
        let half = rows / 2;
        rows -= half;
        cosines = cosines.narrow(1, 0, rows)?.max(cosines.narrow(1, half, rows)?)?;
    }
    let bound = cosines.full(&[cosines.size(0)?, 1], h.delta / elements.sqrt())?;
    let root = norm.add_scalar(h.eps)?;
    Ok((bound.gt(cosines)?, sums.xp.div(root)?.div(root)?))
}

/// Sums over rows: x², g², x·g, x·p. `[batch, rows]`.
#[derive(Clone, Copy)]
struct Sums<'t> {
    xx: Tensor<'t>,
    gg: Tensor<'t>,
    xg: Tensor<'t>,
    xp: Tensor<'t>,
}

impl<'t> Sums<'t> {
    /// Those of the whole, as one row.
    fn of_whole(self) -> Result<Sums<'t>> {
        let [xx, gg, xg, xp] = [self.xx.sum(&[1])?, self.gg.sum(&[1])?, self.xg.sum(&[1])?, self.xp.sum(&[1])?];
        Ok(Sums { xx, gg, xg, xp })
    }
}

impl Optimizer for AdamP {
    const BY_PASSES: bool = true;

    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root and to norms"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
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
        let (t, shape) = (step.t, x.shape()?);
        let is_matrix = shape.len() > 2;
        let view = if is_matrix { vec![shape[0], shape[1], shape[2..].iter().product()] } else { shape.clone() };
        let element = |one: Tensor<'t>| Ok::<_, Error>((one.reshape(&view)?, Per::Element));
        let (x, g) = (element(x)?, element(g)?);
        let now = Now { x, g, exp_avg: element(state.exp_avg)?, exp_avg_sq: element(state.exp_avg_sq)? };
        let numbers = Numbers {
            beta1: h.beta1,
            beta2: h.beta2,
            // How much of the momentum is in the step, the rest being the gradient.
            share: if h.nesterov.is_on() { h.beta1 } else { 1.0 },
            correction: (1.0 - h.beta2.powf(t)).sqrt(),
            eps: h.eps,
        };
        let sum = if is_matrix { Per::Row } else { Per::Parameter };
        let kept = New {
            exp_avg: Per::Element,
            exp_avg_sq: Per::Element,
            p: Per::Element,
            xx: sum,
            gg: sum,
            xg: sum,
            xp: sum,
        };
        let new = Direction::run_in_place(numbers, now, kept)?;
        (state.exp_avg, state.exp_avg_sq) = (new.exp_avg.reshape(&shape)?, new.exp_avg_sq.reshape(&shape)?);
        let (decay, step_size) = (h.lr * h.weight_decay, h.lr / (1.0 - h.beta1.powf(t)));
        let (along, keep) = if is_matrix {
            let New { xx, gg, xg, xp, .. } = new;
            let sums = Sums { xx, gg, xg, xp };
            let per_channel = projected(h, sums, view[2] as f64)?;
            let whole = projected(h, sums.of_whole()?, step.numel)?;
            // The view of the whole counts only where that of the channels did not.
            let invariant = per_channel.0.max(whole.0)?;
            let otherwise = whole.0.select(whole.1, whole.1.full(&[shape[0], 1], 0.0)?)?;
            let along = per_channel.0.select(per_channel.1, otherwise)?;
            (along, invariant.mul_scalar(decay * (1.0 - h.wd_ratio))?.add_scalar(1.0 - decay)?.reshape(&shape[..1])?)
        } else {
            (x.0.full(&shape[..1], 0.0)?, x.0.full(&shape[..1], 1.0 - decay)?)
        };
        let last = Last { x, p: (new.p, Per::Element), along: (along, sum), keep: (keep, Per::Parameter) };
        Move::run_in_place(StepSize { step_size }, last, Moved { x: Per::Element })?.x.reshape(&shape)
    }
}

/// The moments, the step p, and sums over x, g and p.
struct Direction;

#[derive(Record)]
struct Numbers<T> {
    beta1: T,
    beta2: T,
    share: T,
    correction: T,
    eps: T,
}

#[derive(Record)]
struct Now<T> {
    x: T,
    g: T,
    exp_avg: T,
    exp_avg_sq: T,
}

#[derive(Record)]
struct New<T> {
    exp_avg: T,
    exp_avg_sq: T,
    p: T,
    xx: T,
    gg: T,
    xg: T,
    xp: T,
}

impl Pass for Direction {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = Now<T>;
    type Results<T: Copy> = New<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(Now<L>) -> New<L> {
        move |Now { x, g, exp_avg, exp_avg_sq }| {
            let exp_avg = n.beta1 * exp_avg + (1.0 - n.beta1) * g;
            let exp_avg_sq = n.beta2 * exp_avg_sq + (1.0 - n.beta2) * (g * g);
            let along = n.share * exp_avg + (1.0 - n.share) * g;
            let p = along / (exp_avg_sq.sqrt() / n.correction + n.eps);
            New { exp_avg, exp_avg_sq, p, xx: x * x, gg: g * g, xg: x * g, xp: x * p }
        }
    }
}

/// x·keep − step_size·(p − along·x).
struct Move;

#[derive(Record)]
struct StepSize<T> {
    step_size: T,
}

#[derive(Record)]
struct Last<T> {
    x: T,
    p: T,
    along: T,
    keep: T,
}

#[derive(Record)]
struct Moved<T> {
    x: T,
}

impl Pass for Move {
    type Numbers<T: Copy> = StepSize<T>;
    type Inputs<T: Copy> = Last<T>;
    type Results<T: Copy> = Moved<T>;

    fn each<L: Lane>(n: StepSize<Scalar<L>>) -> impl Fn(Last<L>) -> Moved<L> {
        move |Last { x, p, along, keep }| Moved { x: x * keep - n.step_size * (p - along * x) }
    }
}

register!(
    Optimizer AdamP, "adamp",
    summary = "Adam that leaves the norm of scale-invariant weights alone",
    paper = "arXiv 2006.08217",
    declares = ["sign symmetric", "gradient scale invariant"]
);
