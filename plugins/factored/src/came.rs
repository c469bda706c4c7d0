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

use crate::moments::{self, Eps, Root};

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

fn slots(h: &Hyper<f64>, is_matrix: bool) -> State<Slot> {
    let [row_var, col_var, variance] = moments::slots(is_matrix);
    // How far steps disagree does not change with the gradient's scale.
    let (row_res, col_res) = (row_var.degree(0).mixed(), col_var.degree(0).mixed());
    State { exp_avg: Slot::zeros().mixed().decay(h.beta1), row_var, col_var, row_res, col_res, variance }
}

impl Optimizer for Came {
    const BY_PASSES: bool = true;

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
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let shape = x.shape()?;
        let [row, column] = moments::squares(&shape);
        let sums = Squares::run(Eps { eps: h.eps1 }, Grad { g: (g, Per::Element) }, Sums { row, column })?;
        let slots = [&mut state.row_var, &mut state.col_var, &mut state.variance];
        let root = moments::advance(h.beta2, 0.0, &shape, [sums.row, sums.column], slots)?;
        let excess = moments::excess(g, root, f64::INFINITY, step.numel, h.clip_threshold)?;
        let is_matrix = moments::is_matrix(&shape);
        // A vector's disagreement is summed and not looked at.
        let [row, column] = if is_matrix { [Per::Row, Per::Column] } else { [Per::Parameter; 2] };
        let now = Now {
            g: (g, Per::Element),
            row: root.row,
            column: root.column,
            excess: (excess, Per::Parameter),
            exp_avg: (state.exp_avg, Per::Element),
        };
        let numbers = Numbers { beta1: h.beta1, eps2: h.eps2 };
        let new = Momentum::run_in_place(numbers, now, New { exp_avg: Per::Element, row, column })?;
        state.exp_avg = new.exp_avg;
        let root = if is_matrix {
            let slots = [&mut state.row_res, &mut state.col_res, &mut state.variance];
            moments::advance(h.beta3, 0.0, &shape, [new.row, new.column], slots)?
        } else {
            let ones = (moments::ones(x, &shape)?, Per::Parameter);
            Root { row: ones, column: ones }
        };
        let inputs =
            Last { x: (x, Per::Element), exp_avg: (new.exp_avg, Per::Element), row: root.row, column: root.column };
        let rates = Rates { lr: h.lr, keep: 1.0 - h.lr * h.weight_decay };
        Ok(Move::run_in_place(rates, inputs, Moved { x: Per::Element })?.x)
    }
}

/// The squares of g with eps added.
struct Squares;

#[derive(Record)]
struct Grad<T> {
    g: T,
}

#[derive(Record)]
struct Sums<T> {
    row: T,
    column: T,
}

impl Pass for Squares {
    type Numbers<T: Copy> = Eps<T>;
    type Inputs<T: Copy> = Grad<T>;
    type Results<T: Copy> = Sums<T>;

    fn each<L: Lane>(n: Eps<Scalar<L>>) -> impl Fn(Grad<L>) -> Sums<L> {
        move |Grad { g }| {
            let square = g * g + n.eps;
            Sums { row: square, column: square }
        }
    }
}

/// m, and the squares of how far u is from it.
struct Momentum;

#[derive(Record)]
struct Numbers<T> {
    beta1: T,
    eps2: T,
}

#[derive(Record)]
struct Now<T> {
    g: T,
    row: T,
    column: T,
    excess: T,
    exp_avg: T,
}

#[derive(Record)]
struct New<T> {
    exp_avg: T,
    row: T,
    column: T,
}

impl Pass for Momentum {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = Now<T>;
    type Results<T: Copy> = New<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(Now<L>) -> New<L> {
        move |Now { g, row, column, excess, exp_avg }| {
            let u = g * (row * column) / excess;
            let exp_avg = n.beta1 * exp_avg + (1.0 - n.beta1) * u;
            let off = u - exp_avg;
            let square = off * off + n.eps2;
            New { exp_avg, row: square, column: square }
        }
    }
}

/// x·keep − lr·m/√V, V being the second moment of the disagreement.
struct Move;

#[derive(Record)]
struct Rates<T> {
    lr: T,
    keep: T,
}

#[derive(Record)]
struct Last<T> {
    x: T,
    exp_avg: T,
    row: T,
    column: T,
}

#[derive(Record)]
struct Moved<T> {
    x: T,
}

impl Pass for Move {
    type Numbers<T: Copy> = Rates<T>;
    type Inputs<T: Copy> = Last<T>;
    type Results<T: Copy> = Moved<T>;

    fn each<L: Lane>(n: Rates<Scalar<L>>) -> impl Fn(Last<L>) -> Moved<L> {
        move |Last { x, exp_avg, row, column }| Moved { x: x * n.keep - n.lr * (exp_avg * (row * column)) }
    }
}

register!(
    Optimizer Came, "came",
    summary = "Adafactor with momentum, weighed by agreement",
    paper = "arXiv 2307.02047",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
