//! NovoGrad: the gradient over its tensor's running norm, with momentum.
//!
//! ```text
//! v ← β₂·v + (1 − β₂)·Σg²   (first step: v = Σg²)
//! d = g/(√v + eps) + weight_decay·x
//! m ← β₁·m + a·d   (first step: m = d),   a = 1 − β₁ (grad_averaging) or 1,   x ← x − lr·m
//! ```
//! Ginsburg et al. 2019, "Stochastic Gradient Methods with Layer-wise Adaptive Moments", arXiv 1905.11286, Algorithm 1; as
//! pytorch_optimizer. With weight_decouple the parameter decays by lr·weight_decay before. v is one
//! number per tensor, and the sum is over it.

use sdk::*;

/// The rule.
pub struct Novograd;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    weight_decay: T,
    weight_decouple: T,
    grad_averaging: T,
    eps: T,
}

/// Its state: m.
#[derive(Record)]
pub struct State<T> {
    moments: T,
}

/// What it keeps of each tensor: v.
#[derive(Record)]
pub struct Memory<T> {
    grads_ema: T,
}

/// Its sums.
#[derive(Record)]
pub struct Sums<T> {
    squares: T,
}

impl Remembering for Novograd {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.95, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.98, 0.0..=1.0, "decay of the squared norm"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, after normalizing"),
            weight_decouple: flag(false, "decay the parameter, not the gradient"),
            grad_averaging: flag(false, "weigh the new gradient with 1 − beta1"),
            eps: knob(1e-8, 0.0..=1.0, "added to the norm"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { moments: Slot::zeros().mixed().decay(h.beta1) }
    }

    fn memory(_: &Hyper<f64>) -> Memory<Slot> {
        Memory { grads_ema: Slot::zeros().degree(2).mixed() }
    }

    fn measure<L: Lane>(_: Hyper<Scalar<L>>, _: Step<L>, _: Memory<Scalar<L>>) -> impl Fn(L, L, State<L>) -> Sums<L> {
        |_, g, _| Sums { squares: g * g }
    }

    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        sums: Sums<Scalar<L>>,
        memory: Memory<Scalar<L>>,
    ) -> Memory<Scalar<L>> {
        let first = Scalar::from(1.5).gt(step.t);
        let later = h.beta2 * memory.grads_ema + (1.0 - h.beta2) * sums.squares;
        Memory { grads_ema: first.select(sums.squares, later) }
    }

    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        Memory { grads_ema }: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        let keep = 1.0 - h.lr * h.weight_decay;
        let norm = grads_ema.sqrt() + h.eps;
        let first = Scalar::from(1.5).gt(step.t);
        let weight = if h.grad_averaging.is_on() { 1.0 - h.beta1 } else { Scalar::from(1.0) };

        move |x, g, state| {
            let direction = g / L::from(norm);
            let (x, direction) =
                if h.weight_decouple.is_on() { (x * keep, direction) } else { (x, direction + h.weight_decay * x) };
            state.moments = first.choose(direction, h.beta1 * state.moments + weight * direction);
            x - h.lr * state.moments
        }
    }
}

register!(
    Remembering Novograd, "novograd",
    summary = "momentum of gradients over their running norm",
    paper = "arXiv 1905.11286",
    declares = ["sign symmetric", "gradient scale invariant"]
);
