//! Prodigy: Adam whose step size is an estimate d of the distance from the start to the solution.
//!
//! ```text
//! δ = d·lr·√(1 − β₂ᵏ⁺¹)/(1 − β₁ᵏ⁺¹)                (use_bias_correction; else δ = d·lr)
//! m ← β₁·m + d·(1 − β₁)·g,   v ← β₂·v + d²·(1 − β₂)·g²
//! s ← β₃·s + (d/d0)·δ·g                            (safeguard_warmup: (d/d0)·d·g)
//! n ← β₃·n + (d/d0)·δ·Σ g·(x₀ − x),   d̂ = d_coef·n / Σ|s|
//! d_max ← max(d_max, d̂),   d ← min(d_max, growth_rate·max(d, d̂ while d is d0))
//! x ← x − weight_decay·δ·x                         (decouple; else g ← g + weight_decay·x before all)
//! x ← x − δ·m / (√v + d·eps)                       (δ of before, d of now)
//! ```
//! Sums go over all tensors. Mishchenko and Defazio 2023, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner",
//! arXiv 2306.06101, Algorithm 4; as prodigyopt, the authors' package. k counts the steps of the rule, not of a tensor,
//! and stays where nothing was summed. Groups have one `lr`, or 0: a group at 0 adds to no sum and its state waits, but
//! it is decayed and moved along what it holds, as in the package. pytorch_optimizer sums in f32.

use sdk::*;

/// The rule.
pub struct Prodigy;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    beta3: T,
    eps: T,
    weight_decay: T,
    decouple: T,
    use_bias_correction: T,
    safeguard_warmup: T,
    d0: T,
    d_coef: T,
    growth_rate: T,
}

/// Its state: m, v, s, x₀.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    s: T,
    p0: T,
}

/// Its sums: the step in n, and Σ|s|.
#[derive(Record)]
pub struct Sums<T> {
    numerator: T,
    denominator: T,
}

/// Its memory: d now and in the step before, d_max, n, k, and the step's δ, 0 where nothing was summed.
#[derive(Record)]
pub struct Memory<T> {
    d: T,
    d_before: T,
    d_max: T,
    d_numerator: T,
    k: T,
    delta: T,
}

/// The step size δ of a group.
fn delta<L: Lane>(h: Hyper<Scalar<L>>, d: Scalar<L>, k: Scalar<L>) -> Scalar<L> {
    let plain = d * h.lr;
    if !h.use_bias_correction.is_on() {
        return plain;
    }
    let next = k + 1.0;
    plain * ((1.0 - h.beta2.pow(next)).sqrt() / (1.0 - h.beta1.pow(next)))
}

/// β₃, and the factor of the gradient in s.
fn of_s<L: Lane>(h: Hyper<Scalar<L>>, d: Scalar<L>, delta: Scalar<L>) -> (Scalar<L>, Scalar<L>) {
    let beta3 = h.beta3.gt(0.0).select(h.beta3, h.beta2.sqrt());
    (beta3, d / h.d0 * if h.safeguard_warmup.is_on() { d } else { delta })
}

impl Global for Prodigy {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1.0, 0.0..=10.0, "factor on the estimated step size; 1 is meant"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            beta3: knob(0.0, 0.0..=1.0, "decay of the estimate's sums; 0 stands for √beta2"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root, times d"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            decouple: flag(true, "decay the parameter, not the gradient"),
            use_bias_correction: flag(false, "correct the moments' start"),
            safeguard_warmup: flag(false, "leave lr out of s, so that a warmup does not inflate d"),
            d0: knob(1e-6, 1e-30..=1.0, "first estimate"),
            d_coef: knob(1.0, 0.0..=100.0, "factor on every estimate"),
            growth_rate: knob(0.0, 0.0..=1e6, "largest factor by which d grows in a step; 0 stands for any"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        // All but the start have been multiplied by d, which follows from all tensors.
        State {
            exp_avg: Slot::zeros().degree(1).mixed().decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).mixed().decay(h.beta2),
            s: Slot::zeros().degree(1).mixed(),
            p0: Slot::copy_of_parameter(),
        }
    }

    fn memory(h: &Hyper<f64>) -> Memory<f64> {
        Memory { d: h.d0, d_before: h.d0, d_max: h.d0, d_numerator: 0.0, k: 0.0, delta: 0.0 }
    }

    fn measure<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        memory: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, State<L>) -> Sums<L> {
        let delta = delta(h, memory.d, memory.k);
        let (beta3, share) = of_s(h, memory.d, delta);
        let scale = memory.d / h.d0 * delta;
        let learns = h.lr.gt(0.0);
        move |x, g, state| {
            let g = if h.decouple.is_on() { g } else { g + h.weight_decay * x };
            let s = beta3 * state.s + share * g;
            Sums {
                numerator: learns.choose(scale * (g * (state.p0 - x)), 0.0),
                denominator: learns.choose(s.abs(), 0.0),
            }
        }
    }

    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        sums: Sums<Scalar<L>>,
        memory: Memory<Scalar<L>>,
    ) -> Memory<Scalar<L>> {
        let moves = sums.denominator.gt(0.0);
        let delta = delta(h, memory.d, memory.k);
        let (beta3, _) = of_s(h, memory.d, delta);
        let numerator = beta3 * memory.d_numerator + sums.numerator;
        let estimate = h.d_coef * numerator / sums.denominator;
        let is_first = !(memory.d.gt(h.d0) | h.d0.gt(memory.d));
        let d = is_first.select(memory.d.max(estimate), memory.d);
        let d_max = memory.d_max.max(estimate);
        let grown = h.growth_rate.gt(0.0).select(d_max.min(d * h.growth_rate), d_max);
        Memory {
            d: moves.select(grown, memory.d),
            d_before: memory.d,
            d_max: moves.select(d_max, memory.d_max),
            d_numerator: moves.select(numerator, memory.d_numerator),
            k: moves.select(memory.k + 1.0, memory.k),
            delta: moves.select(delta, 0.0),
        }
    }

    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        memory: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        let (d, delta) = (memory.d_before, memory.delta);
        let (beta3, share) = of_s(h, d, delta);
        let learns = h.lr.gt(0.0) & delta.gt(0.0);
        let keep = if h.decouple.is_on() { 1.0 - h.weight_decay * delta } else { Scalar::from(1.0) };
        let eps = memory.d * h.eps;
        move |x, g, state| {
            let g = if h.decouple.is_on() { g } else { g + h.weight_decay * x };
            let m = h.beta1 * state.exp_avg + d * (1.0 - h.beta1) * g;
            let v = h.beta2 * state.exp_avg_sq + d * d * (1.0 - h.beta2) * (g * g);
            state.exp_avg = learns.choose(m, state.exp_avg);
            state.exp_avg_sq = learns.choose(v, state.exp_avg_sq);
            state.s = learns.choose(beta3 * state.s + share * g, state.s);
            x * keep - delta * (state.exp_avg / (state.exp_avg_sq.sqrt() + eps))
        }
    }
}

register!(
    Global Prodigy, "prodigy",
    summary = "Adam with an estimated step size; lr stays at 1",
    paper = "arXiv 2306.06101",
    declares = ["sign symmetric", "gradient scale invariant"]
);
