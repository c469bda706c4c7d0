//! NAdam: Adam with Nesterov's momentum, on a schedule of its own.
//!
//! ```text
//! μₜ = β₁·(1 − 0.96^(t·momentum_decay)/2),   P ← P·μₜ
//! m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²,   d = √(v/(1 − β₂ᵗ)) + eps
//! x ← x − lr·(1 − μₜ)/(1 − P) · g/d − lr·μₜ₊₁/(1 − P·μₜ₊₁) · m/d
//! ```
//! Dozat 2016, "Incorporating Nesterov Momentum into Adam", Algorithm 2; as `torch.optim.NAdam`. Decay goes through the
//! gradient, or is decoupled. P is one number per tensor, rounded to f32 as in torch, also for f64 parameters. timm's `nadamw`
//! is another rule, without the schedule.

use sdk::*;

/// The rule.
pub struct NAdam;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    momentum_decay: T,
    decoupled_weight_decay: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

/// What it keeps of each tensor: P.
#[derive(Record)]
pub struct Memory<T> {
    mu_product: T,
}

/// μₜ.
fn momentum<L: Lane>(h: Hyper<Scalar<L>>, t: Scalar<L>) -> Scalar<L> {
    h.beta1 * (1.0 - 0.5 * Scalar::from(0.96).pow(t * h.momentum_decay))
}

impl Remembering for NAdam {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Nothing<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(2e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-8, 0.0..=1.0, "added to the root"),
            weight_decay: knob(0.0, 0.0..=10.0, "decay"),
            momentum_decay: knob(4e-3, 0.0..=10.0, "how fast the momentum comes up"),
            decoupled_weight_decay: flag(false, "decay the parameter, not the gradient"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1).decay(h.beta1), exp_avg_sq: Slot::zeros().degree(2).decay(h.beta2) }
    }

    fn memory(_: &Hyper<f64>) -> Memory<Slot> {
        Memory { mu_product: Slot::fill(1.0) }
    }

    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        _: Nothing<Scalar<L>>,
        memory: Memory<Scalar<L>>,
    ) -> Memory<Scalar<L>> {
        Memory { mu_product: (memory.mu_product * momentum(h, step.t).in_f32()).in_f32() }
    }

    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        Memory { mu_product }: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        let (now, next) = (momentum(h, step.t), momentum(h, step.t + 1.0));
        let correction2 = 1.0 - h.beta2.pow(step.t);
        let of_gradient = h.lr * (1.0 - now) / (1.0 - mu_product);
        let of_average = h.lr * next / (1.0 - mu_product * next);
        let keep = 1.0 - h.lr * h.weight_decay;

        move |x, g, state| {
            let (x, g) = if h.decoupled_weight_decay.is_on() { (x * keep, g) } else { (x, g + h.weight_decay * x) };
            state.exp_avg = h.beta1 * state.exp_avg + (1.0 - h.beta1) * g;
            state.exp_avg_sq = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);

            let denominator = (state.exp_avg_sq / correction2).sqrt() + h.eps;
            x - g / denominator * of_gradient - state.exp_avg / denominator * of_average
        }
    }
}

register!(
    Remembering NAdam, "nadam",
    summary = "Adam with Nesterov momentum",
    paper = "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
    declares = ["sign symmetric", "gradient scale invariant"]
);
