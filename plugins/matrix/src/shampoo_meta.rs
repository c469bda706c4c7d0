//! Shampoo as it is used: averaged second moments, filtered gradients, a step length grafted from Adam.
//!
//! ```text
//! L_a ← β₂·L_a + (1 − β₂)·mat_a(g)·mat_a(g)ᵀ           (β₂ = 1: a sum)
//! m ← β₁·m + (1 − β₁)·g,   m̂ = m/(1 − β₁ᵗ)
//! P = m̂ ×_a (L_a/(1 − β₂ᵗ) + epsilon·I)^(−1/2k)
//! A = m̂ / (√(v/(1 − β₂ᵗ)) + 10⁻⁸),   v ← β₂·v + (1 − β₂)·g²          (grafting = "adam")
//! x ← x − lr·(P·‖A‖/‖P‖ + weight_decay·x);   P alone without grafting, A alone before start_preconditioning_step
//! ```
//! Shi et al. 2023, "A Distributed Data-Parallel PyTorch Implementation of the Distributed Shampoo Optimizer", arXiv
//! 2309.06497, Algorithm 2; as DistributedShampoo of facebookresearch/optimizers. Roots are taken at
//! `start_preconditioning_step` and at every multiple of `precondition_frequency` after it. A dimension above
//! `max_preconditioner_dim` gets no matrix; there it is cut into blocks. Dimensions are never merged. Takes up to four.

use sdk::*;

use crate::kronecker::{self, MOST_DIMS};

/// The rule.
pub struct ShampooMeta;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    epsilon: T,
    weight_decay: T,
    use_bias_correction: T,
    precondition_frequency: T,
    start_preconditioning_step: T,
    max_preconditioner_dim: T,
    grafting: T,
}

/// Its state: m, v, and for each dimension L and its inverse root.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    moment_0: T,
    moment_1: T,
    moment_2: T,
    moment_3: T,
    root_0: T,
    root_1: T,
    root_2: T,
    root_3: T,
}

/// Index of `adam` among the choices of `grafting`.
const ADAM: usize = 1;
/// Added to the root in the grafted step.
const GRAFTING_EPS: f64 = 1e-8;
/// Slots before the first L.
const MOMENTS: usize = 2;

/// 1 − βᵗ in f32, as there: beside 1 it has few digits left, and they show.
fn correction(beta: f64, t: f64) -> f64 {
    f64::from(1.0 - (beta as f32).powf(t as f32))
}

fn has_matrix(h: &Hyper<f64>, n: i64) -> bool {
    n as f64 <= h.max_preconditioner_dim && n <= kronecker::LARGEST
}

fn slots(h: &Hyper<f64>, of_dim: impl Fn(usize) -> Option<ShapeKind>) -> State<Slot> {
    State::build(|k| match k {
        0 => Slot::zeros().degree(1).decay(h.beta1).only_if(h.beta1),
        1 => Slot::zeros().degree(2).decay(h.beta2).only_if(h.grafting),
        k => match of_dim((k - MOMENTS) % MOST_DIMS) {
            Some(kind) => Slot::zeros().shape(kind).degree(if k < MOMENTS + MOST_DIMS { 2 } else { -1 }),
            None => Slot::zeros().only_if(0.0),
        },
    })
}

impl Optimizer for ShampooMeta {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-2, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the gradient's average"),
            beta2: knob(1.0, 0.0..=1.0, "decay of the second moments; 1 is a sum"),
            epsilon: knob(1e-12, 0.0..=1e3, "added to the second moments' diagonal"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
            use_bias_correction: flag(true, "correct the averages' start"),
            precondition_frequency: knob(1.0, 1.0..=1e6, "steps from one root to the next"),
            start_preconditioning_step: knob(0.0, 0.0..=1e9, "first step with roots; 0 stands for the frequency"),
            max_preconditioner_dim: knob(1024.0, 1.0..=16384.0, "largest dimension with a matrix"),
            grafting: choice(&["none", "adam"], "whose step length is taken"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        slots(h, |a| [ShapeKind::Left, ShapeKind::Right].get(a).copied())
    }

    fn state_of(h: &Hyper<f64>, shape: &[i64]) -> State<Slot> {
        slots(h, |a| shape.get(a).filter(|&&n| has_matrix(h, n)).map(|&n| ShapeKind::Square(n as u32)))
    }

    fn accepts(shape: &[i64]) -> Result<()> {
        kronecker::accepts("shampoo-meta", shape)
    }

    fn update<'t>(
        h: &Hyper<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let t = step.t;
        let shape = &g.shape()?[1..];
        let frequency = h.precondition_frequency.round();
        let start = if h.start_preconditioning_step > 0.0 { h.start_preconditioning_step.round() } else { frequency };
        let corrected = h.use_bias_correction.is_on();
        let correction2 = if corrected && h.beta2 < 1.0 { correction(h.beta2, t) } else { 1.0 };
        let share = if h.beta2 < 1.0 { 1.0 - h.beta2 } else { 1.0 };

        let mut held: Vec<Tensor<'t>> = Vec::new();
        state.visit(|_, tensor| held.push(tensor));
        let along = if h.beta1 > 0.0 {
            held[0] = held[0].lerp(g, h.beta1)?;
            held[0].mul_scalar(if corrected { 1.0 / correction(h.beta1, t) } else { 1.0 })?
        } else {
            g
        };
        let grafted = if h.grafting.is(ADAM) {
            held[1] = held[1].mul_scalar(h.beta2)?.add_scaled(g.mul(g)?, share)?;
            Some(along.div(held[1].mul_scalar(1.0 / correction2)?.sqrt()?.add_scalar(GRAFTING_EPS)?)?)
        } else {
            None
        };
        let due = t == start || (t > start && t % frequency == 0.0);
        let mut update = along;
        for (a, _) in shape.iter().enumerate().filter(|&(_, &n)| has_matrix(h, n)) {
            let (moment, root) = (MOMENTS + a, MOMENTS + MOST_DIMS + a);
            let second = kronecker::second_moment(g, shape, a)?;
            held[moment] = held[moment].mul_scalar(h.beta2)?.add_scaled(second, share)?;
            if due {
                let average = held[moment].mul_scalar(1.0 / correction2)?;
                held[root] = kronecker::power(average, -0.5 / shape.len() as f64, h.epsilon)?;
            }
            if t >= start {
                update = kronecker::times(held[root], update, shape, a)?;
            }
        }
        *state = State::build(|k| held[k]);
        if let Some(grafted) = grafted {
            update = if t < start {
                grafted
            } else {
                let length = |tensor: Tensor<'t>| tensor.mul(tensor)?.sum_each()?.sqrt();
                update.mul(length(grafted)?.div(length(update)?.add_scalar(1e-16)?)?)?
            };
        }
        x.mul_scalar(1.0 - h.lr * h.weight_decay)?.add_scaled(update, -h.lr)
    }
}

register!(
    Optimizer ShampooMeta, "shampoo-meta",
    summary = "Shampoo with averaged moments and the step length of Adam",
    paper = "arXiv 2309.06497",
    declares = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"]
);
