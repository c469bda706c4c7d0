//! MARS: AdamW or Lion on a gradient whose variance is reduced by the one before.
//!
//! ```text
//! c = g + γ·β₁/(1 − β₁)·(g − g₋₁),   c ← c/max(1, ‖c‖)        (first step: c = g before the clipping)
//! m ← β₁·m + (1 − β₁)·c
//! adamw:  v ← β₂·v + (1 − β₂)·c²,   x ← x − lr·(weight_decay·x + m/(1 − β₁ᵗ) / (√v/√(1 − β₂ᵗ) + eps))
//! lion:   x ← x − lr·(weight_decay·x + sign(m))
//! ```
//! Parameters of fewer than two dimensions take plain AdamW on g. Yuan et al. 2024, "MARS: Unleashing the Power of Variance
//! Reduction for Training Large Models", arXiv 2411.10438, Algorithms 2 and 3, in the form that evaluates each gradient
//! once; as timm, whose first step has no change. pytorch_optimizer differs.

use sdk::*;

/// The rule.
pub struct Mars;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    gamma: T,
    mars_type: T,
}

/// Its state: m, v, g₋₁.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    last_grad: T,
}

/// Index of `lion` among the choices of `mars_type`.
const LION: usize = 1;

impl Optimizer for Mars {
    const BY_PASSES: bool = true;

    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(3e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=0.999999, "decay of the first moment"),
            beta2: knob(0.99, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
            gamma: knob(0.025, 0.0..=10.0, "weight of the change of the gradient"),
            mars_type: choice(&["adamw", "lion"], "the rule that the reduced gradient goes to"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).mixed().decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).mixed().decay(h.beta2),
            last_grad: Slot::zeros().degree(1).decay(0.0),
        }
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
        // At the first step there is no gradient before.
        let change = if is_matrix && t > 1.0 { h.gamma * (h.beta1 / (1.0 - h.beta1)) } else { 0.0 };
        let (g, last) = ((g, Per::Element), (state.last_grad, Per::Element));
        let size = if is_matrix {
            let squares = Size::run(Change { change }, Grads { g, last }, Total { squares: Per::Parameter })?.squares;
            squares.sqrt()?.max_scalar(1.0)?
        } else {
            x.full(&shape[..1], 1.0)?
        };
        let (exp_avg, exp_avg_sq) = ((state.exp_avg, Per::Element), (state.exp_avg_sq, Per::Element));
        let now = Now { x: (x, Per::Element), g, last, size: (size, Per::Parameter), exp_avg, exp_avg_sq };
        let numbers = Numbers {
            beta1: h.beta1,
            beta2: h.beta2,
            change,
            lr: h.lr,
            keep: 1.0 - h.lr * h.weight_decay,
            correction1: 1.0 - h.beta1.powf(t),
            correction2: (1.0 - h.beta2.powf(t)).sqrt(),
            eps: h.eps,
        };
        if is_matrix && h.mars_type.is(LION) {
            // Lion has no second moment; what stands in its place is summed and not looked at.
            let kept = New { x: Per::Element, last: Per::Element, exp_avg: Per::Element, exp_avg_sq: Per::Parameter };
            let now = Now { exp_avg_sq: now.size, ..now };
            let new = Move::<true>::run_in_place(numbers, now, kept)?;
            (state.exp_avg, state.last_grad) = (new.exp_avg, new.last);
            return Ok(new.x);
        }
        let kept = New { x: Per::Element, last: Per::Element, exp_avg: Per::Element, exp_avg_sq: Per::Element };
        let new = Move::<false>::run_in_place(numbers, now, kept)?;
        (state.exp_avg, state.exp_avg_sq, state.last_grad) = (new.exp_avg, new.exp_avg_sq, new.last);
        Ok(new.x)
    }
}

/// ‖c‖² of each parameter, before the clipping.
struct Size;

#[derive(Record)]
struct Change<T> {
    change: T,
}

#[derive(Record)]
struct Grads<T> {
    g: T,
    last: T,
}

#[derive(Record)]
struct Total<T> {
    squares: T,
}

impl Pass for Size {
    type Numbers<T: Copy> = Change<T>;
    type Inputs<T: Copy> = Grads<T>;
    type Results<T: Copy> = Total<T>;

    fn each<L: Lane>(n: Change<Scalar<L>>) -> impl Fn(Grads<L>) -> Total<L> {
        move |Grads { g, last }| {
            let c = g + n.change * (g - last);
            Total { squares: c * c }
        }
    }
}

/// A step of AdamW or of Lion.
struct Move<const IS_LION: bool>;

#[derive(Record)]
struct Numbers<T> {
    beta1: T,
    beta2: T,
    change: T,
    lr: T,
    keep: T,
    correction1: T,
    correction2: T,
    eps: T,
}

#[derive(Record)]
struct Now<T> {
    x: T,
    g: T,
    last: T,
    size: T,
    exp_avg: T,
    exp_avg_sq: T,
}

#[derive(Record)]
struct New<T> {
    x: T,
    last: T,
    exp_avg: T,
    exp_avg_sq: T,
}

impl<const IS_LION: bool> Pass for Move<IS_LION> {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = Now<T>;
    type Results<T: Copy> = New<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(Now<L>) -> New<L> {
        move |Now { x, g, last, size, exp_avg, exp_avg_sq }| {
            let c = (g + n.change * (g - last)) / size;
            let exp_avg = n.beta1 * exp_avg + (1.0 - n.beta1) * c;
            if IS_LION {
                return New { x: x * n.keep - n.lr * exp_avg.sign(), last: g, exp_avg, exp_avg_sq };
            }
            let exp_avg_sq = n.beta2 * exp_avg_sq + (1.0 - n.beta2) * (c * c);
            let direction = exp_avg / n.correction1 / (exp_avg_sq.sqrt() / n.correction2 + n.eps);
            New { x: x * n.keep - n.lr * direction, last: g, exp_avg, exp_avg_sq }
        }
    }
}

register!(
    Optimizer Mars, "mars",
    summary = "AdamW on gradients of reduced variance",
    paper = "arXiv 2411.10438",
    declares = ["sign symmetric", "decoupled weight decay"]
);
