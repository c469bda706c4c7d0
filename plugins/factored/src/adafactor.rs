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
//! decays by α, is `adafactor-fairseq`; timm and pytorch_optimizer have others still.

use sdk::*;

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

use crate::moments;

fn slots(is_matrix: bool) -> State<Slot> {
    let [row_var, col_var, variance] = moments::slots(is_matrix);
    State { row_var, col_var, variance }
}

impl Optimizer for Adafactor {
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
        let weight = t.powf(h.beta2_decay);
        let size = x.mul(x)?.mean_each()?.sqrt()?.max_scalar(h.eps2)?;
        let scale = size.mul_scalar(h.lr.min(1.0 / t.sqrt()))?;
        let squares = g.mul(g)?;
        let second = if moments::is_matrix(&shape) {
            moments::average(squares, 1.0 - weight, &mut state.row_var, &mut state.col_var)?;
            let (row, column) = moments::spread(state.row_var, state.col_var, &shape)?;
            row.mul(column)?.div(row.mean(&[-2])?.max_scalar(smallest)?)?
        } else {
            state.variance = state.variance.lerp(squares, 1.0 - weight)?;
            state.variance
        };
        let update = g.div(second.max_scalar(smallest * smallest)?.sqrt()?)?;
        let excess = update.mul(update)?.mean_each()?.sqrt()?.mul_scalar(1.0 / h.d)?.max_scalar(1.0)?;
        x.mul_scalar(1.0 - h.lr * h.weight_decay)?.sub(update.mul(scale.div(excess)?)?)
    }
}

register!(
    Optimizer Adafactor, "adafactor",
    summary = "second moment as rows and columns",
    paper = "arXiv 1804.04235"
);
