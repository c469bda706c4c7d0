//! LAMB: AdamW with a step as long as the tensor.
//!
//! ```text
//! g ← g / max(1, ‖all gradients‖/max_grad_norm)
//! m ← β₁·m + a·g,   a = 1 − β₁ (grad_averaging) or 1,   v ← β₂·v + (1 − β₂)·g²
//! u = m/(1 − β₁ᵗ) / (√v/√(1 − β₂ᵗ) + eps) + weight_decay·x
//! r = ‖x‖/‖u‖ where both are above 0, else 1;  at most 1 with trust_clip;  1 without decay unless always_adapt
//! x ← x − lr·r·u
//! ```
//! You et al. 2020, "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", arXiv 1904.00962, Algorithm
//! 2; as timm's Lamb, NVIDIA's variant, which clips by the norm of all gradients; the paper's is `max_grad_norm = 0`,
//! `always_adapt`. pytorch_optimizer divides by the bias correction after the ratio; torch-optimizer has no correction and
//! caps ‖x‖ at 10.

use sdk::*;

/// The rule.
pub struct Lamb;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    weight_decay: T,
    bias_correction: T,
    grad_averaging: T,
    max_grad_norm: T,
    always_adapt: T,
    trust_clip: T,
}

/// Its state: m, v.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
}

/// Its sums.
#[derive(Record)]
pub struct Sums<T> {
    parameter: T,
    update: T,
}

/// What both passes share.
#[derive(Clone, Copy)]
struct Moments<L: Lane> {
    clip: Scalar<L>,
    weight: Scalar<L>,
    correction1: Scalar<L>,
    correction2: Scalar<L>,
}

impl<L: Lane> Moments<L> {
    fn of(h: Hyper<Scalar<L>>, step: Step<L>) -> Self {
        let corrected = h.bias_correction.is_on();
        let one = Scalar::from(1.0);
        let largest = h.max_grad_norm.gt(0.0).select(step.grad_norm / h.max_grad_norm, 1.0);
        Moments {
            clip: 1.0 / largest.max(1.0),
            weight: if h.grad_averaging.is_on() { 1.0 - h.beta1 } else { one },
            correction1: if corrected { 1.0 - h.beta1.pow(step.t) } else { one },
            correction2: if corrected { (1.0 - h.beta2.pow(step.t)).sqrt() } else { one },
        }
    }

    /// m, v and u.
    #[inline(always)]
    fn update(self, h: Hyper<Scalar<L>>, x: L, g: L, state: State<L>) -> (L, L, L) {
        let g = g * self.clip;
        let m = h.beta1 * state.exp_avg + self.weight * g;
        let v = h.beta2 * state.exp_avg_sq + (1.0 - h.beta2) * (g * g);
        let step = m / self.correction1 / (v.sqrt() / self.correction2 + h.eps);
        (m, v, step + h.weight_decay * x)
    }
}

impl Reducing for Lamb {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.9, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-6, 0.0..=1.0, "added to the root"),
            weight_decay: knob(1e-2, 0.0..=10.0, "decay, before the ratio"),
            bias_correction: flag(true, "correct the moments' start"),
            grad_averaging: flag(true, "weigh the new gradient with 1 − beta1"),
            max_grad_norm: knob(1.0, 0.0..=1e9, "norm of all gradients that is clipped to; 0 stands for no clipping"),
            always_adapt: flag(false, "take the ratio also without decay"),
            trust_clip: flag(false, "a ratio of at most 1"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        // The clip by the norm of all gradients.
        State {
            exp_avg: Slot::zeros().degree(1).mixed().decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).mixed().decay(h.beta2),
        }
    }

    fn measure<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, State<L>) -> Sums<L> {
        let now = Moments::of(h, step);
        move |x, g, state| {
            let (_, _, update) = now.update(h, x, g, state);
            Sums { parameter: x * x, update: update * update }
        }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>, sums: Sums<Scalar<L>>) -> impl Fn(L, L, &mut State<L>) -> L {
        let now = Moments::of(h, step);
        let sizes = sums.parameter.gt(0.0) & sums.update.gt(0.0);
        let ratio = sizes.select(sums.parameter.sqrt() / sizes.select(sums.update, 1.0).sqrt(), 1.0);
        let ratio = if h.trust_clip.is_on() { ratio.min(1.0) } else { ratio };
        let ratio = if h.always_adapt.is_on() { ratio } else { h.weight_decay.gt(0.0).select(ratio, 1.0) };
        let step_size = h.lr * ratio;

        move |x, g, state| {
            let (m, v, update) = now.update(h, x, g, *state);
            state.exp_avg = m;
            state.exp_avg_sq = v;
            x - step_size * update
        }
    }
}

register!(
    Reducing Lamb, "lamb",
    summary = "AdamW with steps as long as the tensor",
    paper = "arXiv 1904.00962",
    declares = ["sign symmetric"]
);
