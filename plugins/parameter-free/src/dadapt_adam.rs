//! D-Adaptation for Adam: a lower bound d of the distance to the solution is the step size.
//!
//! ```text
//! δ = d·lr·√(1 − β₂ᵏ⁺¹)/(1 − β₁ᵏ⁺¹)                (use_bias_correction; else δ = d·lr)
//! n ← √β₂·n + (1 − √β₂)·δ·Σ g·s/(√v + eps)         (s and v of before)
//! m ← β₁·m + δ·(1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²
//! s ← √β₂·s + δ·(1 − √β₂)·g
//! d ← max(d, n / ((1 − √β₂)·Σ|s|))
//! x ← x − weight_decay·δ·x                         (decouple; else g ← g + weight_decay·x before all)
//! x ← x − m / (√v + eps)
//! ```
//! Sums go over all tensors. Defazio and Mishchenko 2023, "Learning-Rate-Free Learning by D-Adaptation", arXiv
//! 2301.07733, Algorithm 5; as `DAdaptAdam` of dadaptation, the authors' package, without its layer scales and its limit
//! on growth. k counts the steps of the rule, not of a tensor, and stays where nothing was summed. Groups have one `lr`,
//! or 0: a group at 0 adds to no sum and its state waits, but it is decayed and moved along what it holds.

use sdk::*;

/// The rule.
pub struct DAdaptAdam;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    decouple: T,
    use_bias_correction: T,
    d0: T,
}

/// Its state: m, v, s.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    s: T,
}

/// Its sums: the step in n, and Σ|s|.
#[derive(Record)]
pub struct Sums<T> {
    numerator: T,
    denominator: T,
}

/// Its memory: d, n, k, and the step's δ, 0 where nothing was summed.
#[derive(Record)]
pub struct Memory<T> {
    d: T,
    numerator_weighted: T,
    k: T,
    delta: T,
}

/// The step size δ of a group.
fn delta<L: Lane>(h: Hyper<Scalar<L>>, memory: Memory<Scalar<L>>) -> Scalar<L> {
    let plain = memory.d * h.lr;
    if !h.use_bias_correction.is_on() {
        return plain;
    }
    let next = memory.k + 1.0;
    plain * ((1.0 - h.beta2.pow(next)).sqrt() / (1.0 - h.beta1.pow(next)))
}

impl Global for DAdaptAdam {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1.0, 0.0..=10.0, "factor on the estimated step size; 1 is meant"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            decouple: flag(true, "decay the parameter, not the gradient"),
            use_bias_correction: flag(false, "correct the moments' start"),
            d0: knob(1e-6, 1e-30..=1.0, "first estimate"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        // m and s have been multiplied by d, which follows from all tensors.
        State {
            exp_avg: Slot::zeros().degree(1).mixed().decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2),
            s: Slot::zeros().degree(1).mixed(),
        }
    }

    fn memory(h: &Hyper<f64>) -> Memory<f64> {
        Memory { d: h.d0, numerator_weighted: 0.0, k: 0.0, delta: 0.0 }
    }

    fn measure<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        memory: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, State<L>) -> Sums<L> {
        let delta = delta(h, memory);
        let root = h.beta2.sqrt();
        let learns = h.lr.gt(0.0);
        move |x, g, state| {
            let g = if h.decouple.is_on() { g } else { g + h.weight_decay * x };
            let along = g * (state.s / (state.exp_avg_sq.sqrt() + h.eps));
            let s = root * state.s + delta * (1.0 - root) * g;
            Sums { numerator: learns.choose(delta * along, 0.0), denominator: learns.choose(s.abs(), 0.0) }
        }
    }

    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        sums: Sums<Scalar<L>>,
        memory: Memory<Scalar<L>>,
    ) -> Memory<Scalar<L>> {
        let moves = sums.denominator.gt(0.0);
        let root = h.beta2.sqrt();
        let numerator = root * memory.numerator_weighted + (1.0 - root) * sums.numerator;
        let estimate = numerator / ((1.0 - root) * sums.denominator);
        Memory {
            d: moves.select(memory.d.max(estimate), memory.d),
            numerator_weighted: moves.select(numerator, memory.numerator_weighted),
            k: moves.select(memory.k + 1.0, memory.k),
            delta: moves.select(delta(h, memory), 0.0),
        }
    }

    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        memory: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        let delta = memory.delta;
        let root = h.beta2.sqrt();
        let moves = delta.gt(0.0);
        let learns = h.lr.gt(0.0) & moves;
        let keep = if h.decouple.is_on() { 1.0 - h.weight_decay * delta } else { Scalar::from(1.0) };
        move |x, g, state| {
            let g = if h.decouple.is_on() { g } else { g + h.weight_decay * x };
            let m = h.beta1 * state.exp_avg + delta * (1.0 - h.beta1) * g;
            let v = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);
            state.exp_avg = learns.choose(m, state.exp_avg);
            state.exp_avg_sq = learns.choose(v, state.exp_avg_sq);
            state.s = learns.choose(root * state.s + delta * (1.0 - root) * g, state.s);
            moves.choose(x * keep - state.exp_avg / (state.exp_avg_sq.sqrt() + h.eps), x)
        }
    }
}

register!(
    Global DAdaptAdam, "dadapt-adam",
    summary = "Adam whose step size is a bound of the distance to go; lr stays at 1",
    paper = "arXiv 2301.07733",
    declares = ["sign symmetric", "gradient scale invariant"]
);
