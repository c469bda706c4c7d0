//! Tiger as its author has it: steps of the sign of the momentum, in proportion to the parameter's size.
//!
//! ```text
//! m ← β·m + (1 − β)·g
//! weight:     s = lr·RMS(x),              d = weight_decay
//! embedding:  s = lr·RMS(each row of x),  d = weight_decay      (over the last dimension)
//! bias, beta, gamma:  s = lr/2,           d = 0
//! x ← x − s·(sign(m) + d·x)
//! ```
//! Su 2023, "Tiger: A Tight-fisted Optimizer"; as the author's code for TensorFlow 1, where the kind follows from the
//! variable's name. Here it is the hyper-parameter `kind`, to be set per parameter group. What that code does with
//! gradients that are not numbers, the trainer's own policy does. `tiger` is the plain rule.

use sdk::*;

/// The rule.
pub struct TigerAuthors;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta: T,
    weight_decay: T,
    kind: T,
}

/// Its state: m.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
}

/// Index of `weight` among the choices of `kind`.
const WEIGHT: usize = 0;
/// Index of `embedding`.
const EMBEDDING: usize = 1;

impl Optimizer for TigerAuthors {
    const BY_PASSES: bool = true;

    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "length of a step, in units of the parameter's size"),
            beta: knob(0.965, 0.0..=1.0, "decay of the momentum"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times the step"),
            kind: choice(&["weight", "embedding", "bias", "beta", "gamma"], "what the parameters are"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta) }
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
        let scaled = h.kind.is(WEIGHT) || h.kind.is(EMBEDDING);
        let per = if h.kind.is(EMBEDDING) && shape.len() > 2 { Per::Row } else { Per::Parameter };
        let (size, decay) = if scaled {
            // An embedding of one dimension is one row.
            let count = if per == Per::Row { shape[shape.len() - 1] as f64 } else { step.numel };
            let squares = Squares::run(Nothing::default(), X { x: (x, Per::Element) }, X { x: per })?.x;
            (squares.mul_scalar(1.0 / count)?.sqrt()?, h.weight_decay)
        } else {
            (x.full(&shape[..1], 0.5)?, 0.0)
        };
        let now = Now {
            x: (x, Per::Element),
            g: (g, Per::Element),
            exp_avg: (state.exp_avg, Per::Element),
            size: (size, per),
        };
        let numbers = Numbers { lr: h.lr, beta: h.beta, decay };
        let new = Move::run_in_place(numbers, now, New { x: Per::Element, exp_avg: Per::Element })?;
        state.exp_avg = new.exp_avg;
        Ok(new.x)
    }
}

/// The squares of x.
struct Squares;

#[derive(Record)]
struct X<T> {
    x: T,
}

impl Pass for Squares {
    type Numbers<T: Copy> = Nothing<T>;
    type Inputs<T: Copy> = X<T>;
    type Results<T: Copy> = X<T>;

    fn each<L: Lane>(_: Nothing<Scalar<L>>) -> impl Fn(X<L>) -> X<L> {
        |X { x }| X { x: x * x }
    }
}

/// One step, in units of `size`.
struct Move;

#[derive(Record)]
struct Numbers<T> {
    lr: T,
    beta: T,
    decay: T,
}

#[derive(Record)]
struct Now<T> {
    x: T,
    g: T,
    exp_avg: T,
    size: T,
}

#[derive(Record)]
struct New<T> {
    x: T,
    exp_avg: T,
}

impl Pass for Move {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = Now<T>;
    type Results<T: Copy> = New<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(Now<L>) -> New<L> {
        move |Now { x, g, exp_avg, size }| {
            let exp_avg = n.beta * exp_avg + (1.0 - n.beta) * g;
            New { x: x - n.lr * (size * (exp_avg.sign() + n.decay * x)), exp_avg }
        }
    }
}

register!(
    Optimizer TigerAuthors, "tiger-authors",
    summary = "sign of the momentum, in units of the parameter's size",
    paper = "https://github.com/bojone/tiger",
    declares = ["sign symmetric", "gradient scale invariant"]
);
