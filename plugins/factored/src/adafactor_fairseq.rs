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

use crate::moments::{self, Both, Eps, Sizes, Sums};

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

fn slots(h: &Hyper<f64>, is_matrix: bool) -> State<Slot> {
    let [row_var, col_var, variance] = moments::slots(is_matrix);
    let exp_avg = Slot::zeros().mixed().decay(h.beta1).only_if(h.beta1);
    State { row_var, col_var, variance, exp_avg }
}

impl Optimizer for AdafactorFairseq {
    const BY_PASSES: bool = true;

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
        let [row, column] = moments::squares(&shape);
        let both = Both { x: (x, Per::Element), g: (g, Per::Element) };
        let sums = Sizes::run(Eps { eps: h.eps1 }, both, Sums { size: Per::Parameter, row, column })?;
        let scale = if h.scale_parameter.is_on() {
            sums.size.mul_scalar(1.0 / step.numel)?.sqrt()?.max_scalar(h.eps2)?.mul_scalar(rate)?
        } else {
            sums.size.full(&shape[..1], rate)?
        };
        let slots = [&mut state.row_var, &mut state.col_var, &mut state.variance];
        let beta2 = 1.0 - t.powf(h.decay_rate);
        let root = moments::advance(beta2, 0.0, &shape, [sums.row, sums.column], slots)?;
        let excess = moments::excess(g, root, f64::INFINITY, step.numel, h.clip_threshold)?;
        let (x, g) = ((x, Per::Element), (g, Per::Element));
        let scale_of_step = (scale.div(excess)?, Per::Parameter);
        let decay = (scale.mul_scalar(h.weight_decay)?, Per::Parameter);
        let (row, column) = (root.row, root.column);
        let now = Now { x, g, row, column, scale: scale_of_step, decay };
        if h.beta1 == 0.0 {
            return Ok(Move::run_in_place(Nothing::default(), now, New { x: Per::Element })?.x);
        }
        let exp_avg = (state.exp_avg, Per::Element);
        let now = NowAveraged { x, g, row, column, scale: scale_of_step, decay, exp_avg };
        let kept = NewAveraged { x: Per::Element, exp_avg: Per::Element };
        let new = MoveAveraged::run_in_place(Numbers { beta1: h.beta1 }, now, kept)?;
        state.exp_avg = new.exp_avg;
        Ok(new.x)
    }
}

/// x − decay·x − scale·g/√V.
struct Move;

#[derive(Record)]
struct Now<T> {
    x: T,
    g: T,
    row: T,
    column: T,
    scale: T,
    decay: T,
}

#[derive(Record)]
struct New<T> {
    x: T,
}

impl Pass for Move {
    type Numbers<T: Copy> = Nothing<T>;
    type Inputs<T: Copy> = Now<T>;
    type Results<T: Copy> = New<T>;

    fn each<L: Lane>(_: Nothing<Scalar<L>>) -> impl Fn(Now<L>) -> New<L> {
        |Now { x, g, row, column, scale, decay }| New { x: x - decay * x - scale * (g * (row * column)) }
    }
}

/// x − decay·x − m, m being the average of scale·g/√V.
struct MoveAveraged;

#[derive(Record)]
struct Numbers<T> {
    beta1: T,
}

#[derive(Record)]
struct NowAveraged<T> {
    x: T,
    g: T,
    row: T,
    column: T,
    scale: T,
    decay: T,
    exp_avg: T,
}

#[derive(Record)]
struct NewAveraged<T> {
    x: T,
    exp_avg: T,
}

impl Pass for MoveAveraged {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = NowAveraged<T>;
    type Results<T: Copy> = NewAveraged<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(NowAveraged<L>) -> NewAveraged<L> {
        move |NowAveraged { x, g, row, column, scale, decay, exp_avg }| {
            let exp_avg = n.beta1 * exp_avg + (1.0 - n.beta1) * (scale * (g * (row * column)));
            NewAveraged { x: x - decay * x - exp_avg, exp_avg }
        }
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
    ],
    declares = ["sign symmetric", "gradient scale invariant"]
);
