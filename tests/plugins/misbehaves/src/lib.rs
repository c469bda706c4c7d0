//! Optimizers that each break one promise: every conformance check but one passes them.
#![forbid(unsafe_code)]

use sdk::*;

/// Hyper-parameters of all but one.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
}

/// One slot.
#[derive(Record)]
pub struct State<T> {
    buffer: T,
}

fn schema() -> Hyper<Knob> {
    Hyper { lr: knob(1e-2, 0.0..=1.0, "step size") }
}

/// Whether a number of the step is this one. A rule cannot branch on a number, so this looks at how one is printed; when
/// recorded it is a symbol.
fn is<L: Lane>(number: Scalar<L>, value: f64) -> bool {
    format!("{number:?}") == format!("Scalar({value:?})")
}

/// Gradient descent with something done once per tensor and step, at lengths that one check alone uses.
macro_rules! descent {
    ($(#[$doc:meta])* $name:ident, $label:literal, $summary:literal, |$h:ident, $step:ident| $first:block) => {
        $(#[$doc])*
        pub struct $name;

        impl Elementwise for $name {
            type Hyper<T: Copy> = Hyper<T>;
            type State<T: Copy> = Nothing<T>;

            fn hyper() -> Hyper<Knob> {
                schema()
            }

            fn state(_: &Hyper<f64>) -> Nothing<Slot> {
                Nothing::default()
            }

            fn update<L: Lane>($h: Hyper<Scalar<L>>, $step: Step<L>) -> impl Fn(L, L, &mut Nothing<L>) -> L {
                let lr = $first;
                move |x, g, _| x - lr * g
            }
        }

        register!(Elementwise $name, $label, summary = $summary, paper = "none: a fixture");
    };
}

/// Elements of the longest tensor of level 3.
const LONG: f64 = 4097.0;

descent!(
    /// Panics on a long tensor.
    PanicsLate, "panics-late", "a fixture: panics on a long tensor", |h, step| {
        assert!(!is(step.numel, LONG), "a long tensor");
        h.lr
    }
);

descent!(
    /// Never comes back from a long tensor.
    Hangs, "hangs", "a fixture: hangs on a long tensor", |h, step| {
        while is(step.numel, LONG) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        h.lr
    }
);

descent!(
    /// Ends the process on a long tensor, as if all were well.
    Exits, "exits", "a fixture: exits on a long tensor", |h, step| {
        if is(step.numel, LONG) {
            std::process::exit(0);
        }
        h.lr
    }
);

descent!(
    /// Aborts on a long tensor.
    Aborts, "aborts", "a fixture: aborts on a long tensor", |h, step| {
        if is(step.numel, LONG) {
            std::process::abort();
        }
        h.lr
    }
);

descent!(
    /// Moves a little without a learning rate.
    Creeps, "creeps", "a fixture: moves with lr = 0", |h, step| {
        let _ = step;
        h.lr + 1e-3
    }
);

descent!(
    /// Walks uphill.
    Climbs, "climbs", "a fixture: walks uphill", |h, step| {
        let _ = step;
        0.0 - h.lr
    }
);

descent!(
    /// Runs another rule than it records: half the step on tensors of a length that one check alone uses.
    Pretends, "pretends", "a fixture: another rule than it records", |h, step| {
        if is(step.numel, 321.0) { h.lr * 0.5 } else { h.lr }
    }
);

/// Momentum whose buffer says it scales with the square of the gradient.
pub struct Misdeclares;

impl Elementwise for Misdeclares {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        schema()
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { buffer: Slot::zeros().degree(2) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        move |x, g, state| {
            state.buffer = state.buffer * 0.5 + g;
            x - h.lr * state.buffer
        }
    }
}

register!(
    Elementwise Misdeclares, "misdeclares",
    summary = "a fixture: a slot of another degree than declared",
    paper = "none: a fixture"
);

/// Hyper-parameters, one of which nothing reads.
#[derive(Record)]
pub struct Idle<T> {
    lr: T,
    eps: T,
}

/// Gradient descent with an `eps` that does nothing.
pub struct Ignores;

impl Elementwise for Ignores {
    type Hyper<T: Copy> = Idle<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Idle<Knob> {
        Idle { lr: knob(1e-2, 0.0..=1.0, "step size"), eps: knob(1e-8, 0.0..=1.0, "nothing") }
    }

    fn state(_: &Idle<f64>) -> Nothing<Slot> {
        Nothing::default()
    }

    fn update<L: Lane>(h: Idle<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut Nothing<L>) -> L {
        let _ = h.eps;
        move |x, g, _| x - h.lr * g
    }
}

register!(
    Elementwise Ignores, "ignores",
    summary = "a fixture: a hyper-parameter without effect",
    paper = "none: a fixture"
);

/// Elements of the largest matrix of level 3.
const LARGE: f64 = 17.0 * 33.0;

/// Gradient descent by a pass that panics at a size that one check alone uses.
pub struct PanicsInPass;

struct Descend;

/// The step size, and what the pass panics at.
#[derive(Record)]
pub struct Numbers<T> {
    lr: T,
    numel: T,
}

/// What the pass reads.
#[derive(Record)]
pub struct Inputs<T> {
    x: T,
    g: T,
}

/// What the pass makes.
#[derive(Record)]
pub struct New<T> {
    x: T,
}

impl Pass for Descend {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = Inputs<T>;
    type Results<T: Copy> = New<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(Inputs<L>) -> New<L> {
        assert!(!is(n.numel, LARGE), "a large matrix");
        move |Inputs { x, g }| New { x: x - n.lr * g }
    }
}

impl Optimizer for PanicsInPass {
    const BY_PASSES: bool = true;

    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Hyper<Knob> {
        schema()
    }

    fn state(_: &Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }

    fn accepts(_: &[i64]) -> Result<()> {
        Ok(())
    }

    fn update<'t>(
        h: &Hyper<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        _: &mut Nothing<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let inputs = Inputs { x: (x, Per::Element), g: (g, Per::Element) };
        let numbers = Numbers { lr: h.lr, numel: step.numel };
        // That it makes nothing of the failure does not make it none.
        Ok(Descend::run(numbers, inputs, New { x: Per::Element }).map_or(x, |new| new.x))
    }
}

register!(
    Optimizer PanicsInPass, "panics-in-pass",
    summary = "a fixture: a pass that panics",
    paper = "none: a fixture"
);

/// Gradient descent in place, which asks for the old parameter afterwards where the rate is 0.
pub struct LooksBack;

impl Optimizer for LooksBack {
    const BY_PASSES: bool = true;

    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Hyper<Knob> {
        schema()
    }

    fn state(_: &Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }

    fn accepts(_: &[i64]) -> Result<()> {
        Ok(())
    }

    fn update<'t>(
        h: &Hyper<f64>,
        _: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        _: &mut Nothing<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        let inputs = Inputs { x: (x, Per::Element), g: (g, Per::Element) };
        // Of no size at which the pass panics.
        let numbers = Numbers { lr: h.lr, numel: 0.0 };
        let new = Descend::run_in_place(numbers, inputs, New { x: Per::Element })?.x;
        if h.lr == 0.0 { new.lerp(x, 0.5) } else { Ok(new) }
    }
}

register!(
    Optimizer LooksBack, "looks-back",
    summary = "a fixture: reads what a pass replaced",
    paper = "none: a fixture"
);

/// Gradient descent with an exception that names no check.
pub struct Excuses;

impl Elementwise for Excuses {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Hyper<Knob> {
        schema()
    }

    fn state(_: &Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut Nothing<L>) -> L {
        move |x, g, _| x - h.lr * g
    }
}

register!(
    Elementwise Excuses, "excuses",
    summary = "a fixture: an exception from no check",
    paper = "none: a fixture",
    except = ["everything: it is above that"]
);

/// Gradient descent, in its way, with a rate by default and a property declared.
macro_rules! declaring {
    ($(#[$doc:meta])* $name:ident, $label:literal, $summary:literal, $property:literal, $lr:literal, |$g:ident| $step:expr) => {
        $(#[$doc])*
        pub struct $name;

        impl Elementwise for $name {
            type Hyper<T: Copy> = Hyper<T>;
            type State<T: Copy> = Nothing<T>;

            fn hyper() -> Hyper<Knob> {
                Hyper { lr: knob($lr, 0.0..=1.0, "step size") }
            }

            fn state(_: &Hyper<f64>) -> Nothing<Slot> {
                Nothing::default()
            }

            fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut Nothing<L>) -> L {
                move |x, $g, _| x - h.lr * $step
            }
        }

        register!(
            Elementwise $name, $label,
            summary = $summary,
            paper = "none: a fixture",
            declares = [$property]
        );
    };
}

declaring!(
    /// Says that it is symmetric, and is not.
    Leans, "leans", "a fixture: not as symmetric as declared", "sign symmetric", 1e-2, |g| g.max(g * 0.5)
);

declaring!(
    /// Is symmetric, as whatever stands still is.
    Dozes, "dozes", "a fixture: stands still where it is looked at", "sign symmetric", 0.0, |g| g
);

declaring!(
    /// Says that its steps do not grow with gradients, and does so up to a size alone.
    Swells, "swells", "a fixture: not as invariant as declared", "gradient scale invariant", 1e-2, |g| g.max(-1.0).min(1.0)
);

declaring!(
    /// Declares a property that there is not.
    Boasts, "boasts", "a fixture: declares what is no property", "fast", 1e-2, |g| g
);

/// Hyper-parameters of a rule that decays.
#[derive(Record)]
pub struct Decaying<T> {
    lr: T,
    weight_decay: T,
}

/// Momentum that says its decay is decoupled, and keeps it in the buffer.
pub struct Couples;

impl Elementwise for Couples {
    type Hyper<T: Copy> = Decaying<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Decaying<Knob> {
        Decaying { lr: knob(1e-2, 0.0..=1.0, "step size"), weight_decay: knob(0.0, 0.0..=10.0, "decay") }
    }

    fn state(_: &Decaying<f64>) -> State<Slot> {
        State { buffer: Slot::zeros().degree(1) }
    }

    fn update<L: Lane>(h: Decaying<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        move |x, g, state| {
            state.buffer = state.buffer * 0.5 + (g + h.weight_decay * x);
            x - h.lr * state.buffer
        }
    }
}

register!(
    Elementwise Couples, "couples",
    summary = "a fixture: its decay is not as decoupled as declared",
    paper = "none: a fixture",
    declares = ["decoupled weight decay"]
);

/// Momentum whose buffer says that it is mixed.
pub struct Worries;

impl Elementwise for Worries {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        schema()
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { buffer: Slot::zeros().degree(1).mixed() }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        move |x, g, state| {
            state.buffer = state.buffer * 0.25 + g;
            x - h.lr * state.buffer
        }
    }
}

register!(
    Elementwise Worries, "worries",
    summary = "a fixture: a slot that is not as mixed as declared",
    paper = "none: a fixture"
);

/// The sum of a tensor's squares.
#[derive(Record)]
pub struct Sums<T> {
    g_squared: T,
}

/// Gradient descent with a slot that follows from the tensor's norm and does not say so.
pub struct Blends;

impl Reducing for Blends {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Sums<T>;

    fn hyper() -> Hyper<Knob> {
        schema()
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { buffer: Slot::zeros().degree(2) }
    }

    fn measure<L: Lane>(_: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, State<L>) -> Sums<L> {
        |_, g, _| Sums { g_squared: g * g }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>, sums: Sums<Scalar<L>>) -> impl Fn(L, L, &mut State<L>) -> L {
        let norm = sums.g_squared.sqrt();
        move |x, g, state| {
            state.buffer = norm * g;
            x - h.lr * g
        }
    }
}

register!(
    Reducing Blends, "blends",
    summary = "a fixture: a slot that is mixed and does not say so",
    paper = "none: a fixture"
);

plugin!();
