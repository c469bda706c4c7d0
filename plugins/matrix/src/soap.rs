//! SOAP: Adam in the eigenbasis of Shampoo's second moments.
//!
//! ```text
//! first step:  L_a = (1 − β_s)·mat_a(g)·mat_a(g)ᵀ,   Q_a = eigenvectors of L_a, largest first;   x stays
//! then, n = 1, 2, …:
//! ĝ = g ×_a Q_aᵀ,   m ← β₁·m + (1 − β₁)·ĝ,   v ← β₂·v + (1 − β₂)·ĝ²
//! u = (m / (√v + eps)) ×_a Q_a
//! x ← x − lr·√(1 − β₂ⁿ)/(1 − β₁ⁿ)·u,   then x ← x − lr·weight_decay·x
//! L_a ← β_s·L_a + (1 − β_s)·mat_a(g)·mat_a(g)ᵀ
//! n a multiple of precondition_frequency:  columns of Q_a by falling diag(QᵀLQ), v with them;   Q_a ← qr(L_a·Q_a);
//!                                          m ← m ×_a Q_aᵀ·Q_a′,   Q_a′ the basis before
//! ```
//! Vyas et al. 2024, "SOAP: Improving and Stabilizing Shampoo using Adam", arXiv 2409.11321, Algorithm 3; as the authors'
//! code. m is kept in the basis and turned with it, so that a step rotates the gradient and the update alone. Vectors are
//! rotated only with `precondition_1d`, dimensions above `max_precond_dim` never. Where an unfolding has not full rank in
//! the first step, the basis of its null space is arbitrary, and so is the trajectory. Takes up to four dimensions.

use sdk::*;

use crate::kronecker::{self, MOST_DIMS};

/// The rule.
pub struct Soap;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    shampoo_beta: T,
    eps: T,
    weight_decay: T,
    precondition_frequency: T,
    max_precond_dim: T,
    merge_dims: T,
    precondition_1d: T,
    normalize_grads: T,
    correct_bias: T,
}

/// Its state: m, v, and for each dimension L and Q.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    moment_0: T,
    moment_1: T,
    moment_2: T,
    moment_3: T,
    basis_0: T,
    basis_1: T,
    basis_2: T,
    basis_3: T,
}

/// Slots before the first L.
const MOMENTS: usize = 2;

/// The shape that is worked on, and which of its dimensions have a basis.
fn plan(h: &Hyper<f64>, shape: &[i64]) -> (Vec<i64>, Vec<bool>) {
    let fits = |n: i64| n as f64 <= h.max_precond_dim && n <= kronecker::LARGEST;
    if shape.len() == 1 {
        return (shape.to_vec(), vec![h.precondition_1d.is_on() && fits(shape[0])]);
    }
    let work = if h.merge_dims.is_on() && shape.len() > 1 { merged(shape, h.max_precond_dim) } else { shape.to_vec() };
    let on = work.iter().map(|&n| fits(n)).collect();
    (work, on)
}

/// Neighbouring dimensions joined while their product is at most `most`.
fn merged(shape: &[i64], most: f64) -> Vec<i64> {
    let (mut all, mut current) = (Vec::new(), 1);
    for &n in shape {
        if (current * n) as f64 <= most {
            current *= n;
        } else if current > 1 {
            all.push(current);
            current = n;
        } else {
            all.push(n);
            current = 1;
        }
    }
    if current > 1 || all.is_empty() {
        all.push(current);
    }
    all
}

fn slots(h: &Hyper<f64>, of_dim: impl Fn(usize) -> Option<ShapeKind>) -> State<Slot> {
    State::build(|k| match k {
        0 => Slot::zeros().degree(1).decay(h.beta1),
        1 => Slot::zeros().degree(2).decay(h.beta2),
        k => match of_dim((k - MOMENTS) % MOST_DIMS) {
            Some(kind) => Slot::zeros().shape(kind).degree(if k < MOMENTS + MOST_DIMS { 2 } else { 0 }),
            None => Slot::zeros().only_if(0.0),
        },
    })
}

impl Optimizer for Soap {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(3e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.95, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.95, 0.0..=1.0, "decay of the second moment"),
            shampoo_beta: knob(0.0, 0.0..=1.0, "decay of the dimensions' second moments; 0 stands for beta2"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decoupled decay, times lr, after the step"),
            precondition_frequency: knob(10.0, 1.0..=1e6, "steps from one basis to the next"),
            max_precond_dim: knob(10_000.0, 1.0..=16_384.0, "largest dimension with a basis"),
            merge_dims: flag(false, "join neighbouring dimensions while they fit"),
            precondition_1d: flag(false, "give vectors a basis, too"),
            normalize_grads: flag(false, "scale each step to a root mean square of 1"),
            correct_bias: flag(true, "correct the moments' start"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        slots(h, |a| [ShapeKind::Left, ShapeKind::Right].get(a).copied())
    }

    fn state_of(h: &Hyper<f64>, shape: &[i64]) -> State<Slot> {
        let (work, on) = plan(h, shape);
        slots(h, |a| on.get(a).filter(|on| **on).map(|_| ShapeKind::Square(work[a] as u32)))
    }

    fn accepts(shape: &[i64]) -> Result<()> {
        kronecker::accepts("soap", shape)
    }

    fn update<'t>(
        h: &Hyper<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let shape = x.shape()?;
        let (work, on) = plan(h, &shape[1..]);
        let dims: Vec<usize> = (0..work.len()).filter(|&a| on[a]).collect();
        let beta = if h.shampoo_beta > 0.0 { h.shampoo_beta } else { h.beta2 };
        let mut held: Vec<Tensor<'t>> = Vec::new();
        state.visit(|_, tensor| held.push(tensor));
        let (moment, basis) = (|a: usize| MOMENTS + a, |a: usize| MOMENTS + MOST_DIMS + a);

        if step.t == 1.0 {
            for &a in &dims {
                held[moment(a)] = kronecker::second_moment(g, &work, a)?.mul_scalar(1.0 - beta)?;
                let tiny = g.eye(work[a])?.mul_scalar(1e-30)?;
                let (_, vectors) = held[moment(a)].add(tiny)?.eigh()?;
                let falling: Vec<i64> = (0..work[a]).rev().collect();
                held[basis(a)] = vectors.index_select(-1, &falling)?;
            }
            *state = State::build(|k| held[k]);
            return Ok(x);
        }
        let n = step.t - 1.0;
        let rotated = |tensor: Tensor<'t>, held: &[Tensor<'t>], back: bool| {
            dims.iter().try_fold(tensor, |tensor, &a| {
                let q = held[basis(a)];
                kronecker::times(if back { q } else { q.t()? }, tensor, &work, a)
            })
        };
        let seen = rotated(g, &held, false)?.reshape(&shape)?;
        held[0] = held[0].lerp(seen, h.beta1)?;
        held[1] = held[1].lerp(seen.mul(seen)?, h.beta2)?;
        let scaled = held[0].div(held[1].sqrt()?.add_scalar(h.eps)?)?;
        let mut update = rotated(scaled, &held, true)?.reshape(&shape)?;
        if h.normalize_grads.is_on() {
            update = update.div(update.mul(update)?.mean_each()?.sqrt()?.add_scalar(1e-30)?)?;
        }
        let corrections = (1.0 - h.beta2.powf(n)).sqrt() / (1.0 - h.beta1.powf(n));
        let step_size = h.lr * if h.correct_bias.is_on() { corrections } else { 1.0 };
        let new_x = x.add_scaled(update, -step_size)?.mul_scalar(1.0 - h.lr * h.weight_decay)?;

        for &a in &dims {
            held[moment(a)] = held[moment(a)].lerp(kronecker::second_moment(g, &work, a)?, beta)?;
        }
        if n % h.precondition_frequency.round() == 0.0 {
            for &a in &dims {
                let (q, second) = refreshed(held[moment(a)], held[basis(a)], held[1], &work, a)?;
                let turn = q.t()?.matmul(held[basis(a)])?;
                held[0] = kronecker::times(turn, held[0], &work, a)?.reshape(&shape)?;
                held[basis(a)] = q;
                held[1] = second.reshape(&shape)?;
            }
        }
        *state = State::build(|k| held[k]);
        Ok(new_x)
    }
}

/// The next basis of dimension `a`, and `v` with its elements in the order of the basis.
fn refreshed<'t>(
    moment: Tensor<'t>,
    basis: Tensor<'t>,
    v: Tensor<'t>,
    work: &[i64],
    a: usize,
) -> Result<(Tensor<'t>, Tensor<'t>)> {
    let (batch, n) = (v.size(0)?, work[a]);
    let in_basis = moment.matmul(basis)?;
    let estimates = basis.mul(in_basis)?.sum(&[-2])?; // diag(QᵀLQ), [batch, 1, n]
    let shape = [&[batch], work].concat();
    let v = v.reshape(&shape)?;
    let (mut sorted, mut second) = (Vec::new(), Vec::new());
    for b in 0..batch {
        let row = estimates.narrow(0, b, 1)?;
        let values = (0..n).map(|i| row.narrow(-1, i, 1)?.item()).collect::<Result<Vec<f64>>>()?;
        let mut order: Vec<i64> = (0..n).collect();
        order.sort_by(|&i, &k| values[k as usize].total_cmp(&values[i as usize]));
        sorted.push(basis.narrow(0, b, 1)?.index_select(-1, &order)?);
        second.push(v.narrow(0, b, 1)?.index_select(a as i64 + 1, &order)?);
    }
    let (q, _) = moment.matmul(Tensor::concat(&sorted, 0)?)?.qr()?;
    Ok((q, Tensor::concat(&second, 0)?))
}

register!(
    Optimizer Soap, "soap",
    summary = "Adam in the eigenbasis of Shampoo's second moments",
    paper = "arXiv 2409.11321",
    declares = ["sign symmetric", "gradient scale invariant"]
);
