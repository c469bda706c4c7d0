//! Shampoo: the gradient times an inverse root of its second moment, along every dimension.
//!
//! ```text
//! g ← g + weight_decay·x
//! H_a ← H_a + mat_a(g)·mat_a(g)ᵀ,   H_a starts at epsilon·I
//! x ← x − lr · g ×₁ H₁^(−1/2k) … ×ₖ H_k^(−1/2k),   k dimensions
//! ```
//! Gupta, Koren and Singer 2018, "Shampoo: Preconditioned Stochastic Tensor Optimization", arXiv 1802.09568, Algorithms 1
//! and 2; as pytorch_optimizer with momentum 0. Roots are taken by eigendecomposition in the first step, and then
//! whenever t − 1 is a multiple of `update_freq`. torch-optimizer uses −1/k and measures half-preconditioned gradients;
//! Meta's variant with averages and grafting is `shampoo-meta`. Takes up to four dimensions.

use sdk::*;

use crate::kronecker::{self, MOST_DIMS};

/// The rule.
pub struct Shampoo;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    epsilon: T,
    weight_decay: T,
    update_freq: T,
}

/// Its state: H and its inverse root, for each dimension.
#[derive(Record)]
pub struct State<T> {
    moment_0: T,
    moment_1: T,
    moment_2: T,
    moment_3: T,
    root_0: T,
    root_1: T,
    root_2: T,
    root_3: T,
}

fn slots(shape: &[i64]) -> State<Slot> {
    State::build(|k| match shape.get(k % MOST_DIMS) {
        Some(&n) if n <= kronecker::LARGEST => {
            Slot::zeros().shape(ShapeKind::Square(n as u32)).degree(if k < MOST_DIMS { 2 } else { -1 })
        }
        _ => Slot::zeros().only_if(0.0),
    })
}

impl Optimizer for Shampoo {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(0.1, 0.0..=100.0, "step size"),
            epsilon: knob(1e-4, 0.0..=1e3, "start of the second moments, times the identity"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay, added to the gradient"),
            update_freq: knob(1.0, 1.0..=1e6, "steps from one root to the next"),
        }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        let of = |kind, degree| Slot::zeros().shape(kind).degree(degree);
        let off = Slot::zeros().only_if(0.0);
        State {
            moment_0: of(ShapeKind::Left, 2),
            moment_1: of(ShapeKind::Right, 2),
            moment_2: off,
            moment_3: off,
            root_0: of(ShapeKind::Left, -1),
            root_1: of(ShapeKind::Right, -1),
            root_2: off,
            root_3: off,
        }
    }

    fn state_of(_: &Hyper<f64>, shape: &[i64]) -> State<Slot> {
        slots(shape)
    }

    fn accepts(shape: &[i64]) -> Result<()> {
        kronecker::accepts("shampoo", shape)?;
        match shape.iter().find(|&&n| n > kronecker::LARGEST) {
            Some(n) => Err(format!("shampoo keeps a matrix of {n} by {n} for shape {shape:?}").into()),
            None => Ok(()),
        }
    }

    fn update<'t>(
        h: &Hyper<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let g = g.add_scaled(x, h.weight_decay)?;
        let shape = &g.shape()?[1..];
        let mut held: Vec<Tensor<'t>> = Vec::new();
        state.visit(|_, tensor| held.push(tensor));
        let due = (step.t - 1.0) % h.update_freq.round() == 0.0;
        let mut update = g;
        for (a, &n) in shape.iter().enumerate() {
            let before = if step.t == 1.0 { g.eye(n)?.mul_scalar(h.epsilon)? } else { held[a] };
            held[a] = kronecker::second_moment(g, shape, a)?.add(before)?;
            if due {
                held[MOST_DIMS + a] = kronecker::power(held[a], -0.5 / shape.len() as f64, 0.0)?;
            }
            update = kronecker::times(held[MOST_DIMS + a], update, shape, a)?;
        }
        *state = State::build(|k| held[k]);
        x.add_scaled(update, -h.lr)
    }
}

register!(
    Optimizer Shampoo, "shampoo",
    summary = "gradient times an inverse root of its second moment along every dimension",
    paper = "arXiv 1802.09568",
    declares = ["sign symmetric", "gradient scale invariant"]
);
