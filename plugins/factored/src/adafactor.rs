//! Adafactor: the second moment of a matrix is kept as one number per row and one per column.
//!
//! ```text
//! w = t^beta2_decay,   ρ = min(lr, 1/√t),   α = max(eps2, RMS(x))·ρ
//! x ← x·(1 − lr·weight_decay)
//! R ← (1 − w)·R + w·mean(g², columns),   C ← (1 − w)·C + w·mean(g², rows)
//! V = R·C / max(mean(R), eps1)            (last two dimensions; a vector keeps V ← (1 − w)·V + w·g² itself)
//! U = g / √max(V, eps1²),   x ← x − α/max(1, RMS(U)/d)·U
//! ```
//! Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", arXiv 1804.04235, Algorithms 4
//! and 5; as `torch.optim.Adafactor`. RMS(x) is that of before the decay. fairseq's variant, which adds its eps to g² and
//! decays by α, is `adafactor-fairseq`; timm and pytorch_optimizer have others still. Where torch takes the parameter's epsilon
//! for eps1, here it is that of the arithmetic: f32's also for bf16 parameters.

use sdk::*;

use crate::moments::{self, Both, Eps, Sizes, Sums};

/// The rule.
pub struct Adafactor;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta2_decay: T,
    eps1: T,
    eps2: T,
    d: T,
    weight_decay: T,
}

/// Its state: R and C of a matrix, V of a vector.
#[derive(Record)]
pub struct State<T> {
    row_var: T,
    col_var: T,
    variance: T,
}

fn slots(is_matrix: bool) -> State<Slot> {
    let [row_var, col_var, variance] = moments::slots(is_matrix);
    State { row_var, col_var, variance }
}

impl Optimizer for Adafactor {
    const BY_PASSES: bool = true;

    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "largest relative step"),
            beta2_decay: knob(-0.8, -10.0..=0.0, "power of t in the weight of the new gradient"),
            eps1: knob(
                0.0,
                0.0..=1.0,
                "smallest mean and root of the second moment; 0 stands for the element type's epsilon",
            ),
            eps2: knob(1e-3, 0.0..=1.0, "smallest size of a parameter"),
            d: knob(1.0, 1e-6..=1e6, "largest root mean square of a step before it is scaled"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
        }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        slots(true)
    }

    fn state_of(_: &Hyper<f64>, shape: &[i64]) -> State<Slot> {
        slots(shape.len() > 1)
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
        let smallest = match x.dtype()? {
            _ if h.eps1 > 0.0 => h.eps1,
            Dtype::F64 => f64::EPSILON,
            _ => f64::from(f32::EPSILON),
        };
        let [row, column] = moments::squares(&shape);
        let both = Both { x: (x, Per::Element), g: (g, Per::Element) };
        let sums = Sizes::run(Eps { eps: 0.0 }, both, Sums { size: Per::Parameter, row, column })?;
        let size = sums.size.mul_scalar(1.0 / step.numel)?.sqrt()?.max_scalar(h.eps2)?;
        let slots = [&mut state.row_var, &mut state.col_var, &mut state.variance];
        let beta = 1.0 - t.powf(h.beta2_decay);
        let root = moments::advance(beta, smallest, &shape, [sums.row, sums.column], slots)?;
        // 1/√max(V, eps1²) is the smaller of 1/√V and 1/eps1.
        let most = 1.0 / smallest;
        let excess = moments::excess(g, root, most, step.numel, h.d)?;
        let scale = size.mul_scalar(h.lr.min(1.0 / t.sqrt()))?.div(excess)?;
        let inputs = Now {
            x: (x, Per::Element),
            g: (g, Per::Element),
            row: root.row,
            column: root.column,
            scale: (scale, Per::Parameter),
        };
        let numbers = Numbers { keep: 1.0 - h.lr * h.weight_decay, most };
        Ok(Move::run_in_place(numbers, inputs, New { x: Per::Element })?.x)
    }
}

/// x·keep − scale·g/√V.
struct Move;

#[derive(Record)]
struct Numbers<T> {
    keep: T,
    most: T,
}

#[derive(Record)]
struct Now<T> {
    x: T,
    g: T,
    row: T,
    column: T,
    scale: T,
}

#[derive(Record)]
struct New<T> {
    x: T,
}

impl Pass for Move {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = Now<T>;
    type Results<T: Copy> = New<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(Now<L>) -> New<L> {
        move |Now { x, g, row, column, scale }| New { x: x * n.keep - scale * (g * (row * column).min(n.most)) }
    }
}

register!(
    Optimizer Adafactor, "adafactor",
    summary = "second moment as rows and columns",
    paper = "arXiv 1804.04235",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
