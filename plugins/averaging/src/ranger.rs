//! Ranger: rectified Adam on centralized gradients, pulled back to a slow copy every few steps.
//!
//! ```text
//! g ← g − mean(g over all dimensions but the first)      (use_gc; from two dimensions, with gc_conv_only from four)
//! m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²
//! x ← x·(1 − lr·weight_decay)
//! ρ∞ = 2/(1 − β₂) − 1,   ρ = ρ∞ − 2t·β₂ᵗ/(1 − β₂ᵗ)
//! ρ > n_sma_threshold:  x ← x − lr·r·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m/(√v + eps),   r as in RAdam
//! else:                 x ← x − lr/(1 − β₁ᵗ)·m
//! t a multiple of k:    slow ← slow + alpha·(x − slow),   x ← slow
//! ```
//! Wright 2019, "Ranger: a synergistic optimizer", which joins Liu et al. 2020 (arXiv 1908.03265), Zhang et al. 2019,
//! "Lookahead Optimizer: k steps forward, 1 step back" (arXiv 1907.08610, Algorithm 1) and Yong et al. 2020, "Gradient
//! Centralization" (arXiv 2004.01461); as the authors' 20.4.11. Evaluation is at the fast weights, as there.
//! pytorch_optimizer by default walks uphill in the first steps; pytorch-ranger has no centralization; the author's flag
//! that turns it off does nothing.

use sdk::*;

/// The rule.
pub struct Ranger;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
    beta1: T,
    beta2: T,
    eps: T,
    alpha: T,
    k: T,
    n_sma_threshold: T,
    weight_decay: T,
    use_gc: T,
    gc_conv_only: T,
}

/// Its state: m, v, the slow copy.
#[derive(Record)]
pub struct State<T> {
    exp_avg: T,
    exp_avg_sq: T,
    slow: T,
}

impl Optimizer for Ranger {
    const BY_PASSES: bool = true;

    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            lr: knob(1e-3, 0.0..=10.0, "step size"),
            beta1: knob(0.95, 0.0..=1.0, "decay of the first moment"),
            beta2: knob(0.999, 0.0..=1.0, "decay of the second moment"),
            eps: knob(1e-5, 0.0..=1.0, "added to the root, before bias correction"),
            alpha: knob(0.5, 0.0..=1.0, "share of the way that the slow copy follows"),
            k: knob(6.0, 1.0..=1e6, "steps from one pull to the next"),
            n_sma_threshold: knob(5.0, 4.0..=1e6, "length of the average above which steps are adaptive"),
            weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
            use_gc: flag(true, "take the mean out of each gradient"),
            gc_conv_only: flag(false, "only where there are four dimensions"),
        }
    }

    fn state(h: &Hyper<f64>) -> State<Slot> {
        State {
            exp_avg: Slot::zeros().degree(1).mixed().decay(h.beta1),
            exp_avg_sq: Slot::zeros().degree(2).mixed().decay(h.beta2),
            slow: Slot::copy_of_parameter(),
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
        let dims = shape.len() - 1;
        let centers = h.use_gc.is_on() && dims > if h.gc_conv_only.is_on() { 3 } else { 1 };
        // Every parameter as a matrix: one row per index of the first dimension. Where nothing is centred the mean is 0.
        let view = if centers { vec![shape[0], shape[1], shape[2..].iter().product()] } else { shape.clone() };
        let element = |one: Tensor<'t>| Ok::<_, Error>((one.reshape(&view)?, Per::Element));
        let (x, g) = (element(x)?, element(g)?);
        let mean = if centers {
            let sum = Total::run(Nothing::default(), Grad { g }, Grad { g: Per::Row })?.g;
            (sum.mul_scalar(1.0 / view[2] as f64)?, Per::Row)
        } else {
            (g.0.full(&shape[..1], 0.0)?, Per::Parameter)
        };
        let power = h.beta2.powf(t);
        let limit = 2.0 / (1.0 - h.beta2) - 1.0;
        let length = limit - 2.0 * t * power / (1.0 - power);
        let step_size = h.lr / (1.0 - h.beta1.powf(t));
        let adaptive = length > h.n_sma_threshold;
        let rectified = (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length);
        let numbers = Numbers {
            beta1: h.beta1,
            beta2: h.beta2,
            eps: h.eps,
            keep: 1.0 - h.lr * h.weight_decay,
            step_size: if adaptive { step_size * ((1.0 - power) * rectified).sqrt() } else { step_size },
        };
        let now = Now { x, g, mean, exp_avg: element(state.exp_avg)?, exp_avg_sq: element(state.exp_avg_sq)? };
        let kept = New { x: Per::Element, exp_avg: Per::Element, exp_avg_sq: Per::Element };
        let new = if adaptive {
            Fast::<true>::run_in_place(numbers, now, kept)?
        } else {
            Fast::<false>::run_in_place(numbers, now, kept)?
        };
        (state.exp_avg, state.exp_avg_sq) = (new.exp_avg.reshape(&shape)?, new.exp_avg_sq.reshape(&shape)?);
        let moved = new.x.reshape(&shape)?;
        if t % h.k.round() != 0.0 {
            return Ok(moved);
        }
        let both = Both { fast: (moved, Per::Element), slow: (state.slow, Per::Element) };
        let pulled =
            Pull::run_in_place(Share { alpha: h.alpha }, both, Both { fast: Per::Element, slow: Per::Element })?;
        state.slow = pulled.slow;
        Ok(pulled.fast)
    }
}

/// The sum of g over each row.
struct Total;

#[derive(Record)]
struct Grad<T> {
    g: T,
}

impl Pass for Total {
    type Numbers<T: Copy> = Nothing<T>;
    type Inputs<T: Copy> = Grad<T>;
    type Results<T: Copy> = Grad<T>;

    fn each<L: Lane>(_: Nothing<Scalar<L>>) -> impl Fn(Grad<L>) -> Grad<L> {
        |grad| grad
    }
}

/// A step of the fast weights; along m/√v, or along m alone.
struct Fast<const ADAPTIVE: bool>;

#[derive(Record)]
struct Numbers<T> {
    beta1: T,
    beta2: T,
    eps: T,
    keep: T,
    step_size: T,
}

#[derive(Record)]
struct Now<T> {
    x: T,
    g: T,
    mean: T,
    exp_avg: T,
    exp_avg_sq: T,
}

#[derive(Record)]
struct New<T> {
    x: T,
    exp_avg: T,
    exp_avg_sq: T,
}

impl<const ADAPTIVE: bool> Pass for Fast<ADAPTIVE> {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = Now<T>;
    type Results<T: Copy> = New<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(Now<L>) -> New<L> {
        move |Now { x, g, mean, exp_avg, exp_avg_sq }| {
            let g = g - mean;
            let exp_avg = n.beta1 * exp_avg + (1.0 - n.beta1) * g;
            let exp_avg_sq = n.beta2 * exp_avg_sq + (1.0 - n.beta2) * (g * g);
            let direction = if ADAPTIVE { exp_avg / (exp_avg_sq.sqrt() + n.eps) } else { exp_avg };
            New { x: x * n.keep - n.step_size * direction, exp_avg, exp_avg_sq }
        }
    }
}

/// The slow copy, some of the way to the fast weights, which are then the same.
struct Pull;

#[derive(Record)]
struct Share<T> {
    alpha: T,
}

#[derive(Record)]
struct Both<T> {
    fast: T,
    slow: T,
}

impl Pass for Pull {
    type Numbers<T: Copy> = Share<T>;
    type Inputs<T: Copy> = Both<T>;
    type Results<T: Copy> = Both<T>;

    fn each<L: Lane>(n: Share<Scalar<L>>) -> impl Fn(Both<L>) -> Both<L> {
        move |Both { fast, slow }| {
            let pulled = slow + n.alpha * (fast - slow);
            Both { fast: pulled, slow: pulled }
        }
    }
}

register!(
    Optimizer Ranger, "ranger",
    summary = "rectified Adam on centralized gradients, with a slow copy",
    paper = "arXiv 1907.08610",
    declares = ["sign symmetric"]
);
