//! Rules to test with.

use sdk::{Knob, knob};

/// A rule with so many hyper-parameters, written by a closure-like body: `rule!(Name(lr, beta), (exp_avg), |h, step, x,
/// g, s| …)`.
macro_rules! rule {
    ($(#[$doc:meta])* $name:ident($($hyper:ident: $knob:expr),*), ($($slot:ident: $start:expr),*),
     $h:ident, $step:ident, [$($once:stmt;)*], |$x:ident, $g:ident, $s:ident| $body:expr) => {
        $(#[$doc])*
        pub struct $name;

        const _: () = {
            #[allow(unused_imports)]
            use sdk::*;

            #[derive(Record)]
            pub struct Hyper<T> { $($hyper: T),* }
            #[derive(Record)]
            pub struct State<T> { $($slot: T),* }

            impl Elementwise for $name {
                type Hyper<T: Copy> = Hyper<T>;
                type State<T: Copy> = State<T>;
                fn hyper() -> Hyper<Knob> {
                    Hyper { $($hyper: $knob),* }
                }
                #[allow(unused_variables)]
                fn state($h: &Hyper<f64>) -> State<Slot> {
                    State { $($slot: $start),* }
                }
                #[allow(unused_variables)]
                fn update<L: Lane>($h: Hyper<Scalar<L>>, $step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
                    $($once)*
                    move |$x, $g, $s| $body
                }
            }
        };
    };
}
pub(crate) use rule;

fn number() -> Knob {
    knob(0.5, 0.0..=1.0, "a number")
}

rule!(
    /// As in the crate's example.
    Lion(lr: number(), beta1: number(), beta2: number(), weight_decay: number()),
    (exp_avg: Slot::zeros().degree(1)), h, step,
    [let keep = 1.0 - h.lr * h.weight_decay;],
    |x, g, s| {
        let direction = (h.beta1 * s.exp_avg + (1.0 - h.beta1) * g).sign();
        s.exp_avg = h.beta2 * s.exp_avg + (1.0 - h.beta2) * g;
        x * keep - h.lr * direction
    }
);

rule!(
    /// Bias corrections, a flag, a slot that may be off.
    AdamW(lr: number(), beta1: number(), beta2: number(), eps: number(), weight_decay: number(),
          amsgrad: flag(false, "")),
    (exp_avg: Slot::zeros(), exp_avg_sq: Slot::zeros(), max_exp_avg_sq: Slot::zeros().only_if(h.amsgrad)), h, step,
    [
        let keep = 1.0 - h.lr * h.weight_decay;
        let step_size = h.lr / (1.0 - h.beta1.pow(step.t));
        let correction2 = (1.0 - h.beta2.pow(step.t)).sqrt();
    ],
    |x, g, s| {
        s.exp_avg = h.beta1 * s.exp_avg + (1.0 - h.beta1) * g;
        s.exp_avg_sq = h.beta2 * s.exp_avg_sq + (1.0 - h.beta2) * (g * g);
        let mut second = s.exp_avg_sq;
        if h.amsgrad.is_on() {
            s.max_exp_avg_sq = s.max_exp_avg_sq.max(second);
            second = s.max_exp_avg_sq;
        }
        x * keep - step_size * (s.exp_avg / (second.sqrt() / correction2 + h.eps))
    }
);

rule!(
    /// Every portable operation of lanes and scalars.
    Portable(lr: number(), a: number(), b: number(), way: choice(&["left", "right"], "")),
    (one: Slot::fill(h.a), two: Slot::copy_of_parameter()), h, step,
    [
        let early = step.t.gt(h.a * 10.0) & !step.numel.ge(1e6) | step.grad_norm.gt(1.0);
        let scale = early.select((h.a + 2.0).ln().exp().min(3.0), h.b.max(0.1).sqrt() + (step.t / 3.0).floor());
        let negative = -h.b;
    ],
    |x, g, s| {
        let inside = g.abs().gt(h.a) & !(x.ge(s.one) | s.two.gt(1.0));
        let clipped = g.max(negative).min(h.b);
        s.one = inside.select(s.one.fma(h.b, g), clipped / scale);
        s.two = early.choose(-s.two, s.two / 3.0 - 1.0);
        let way = if h.way.is(1) { s.two / (g * g + 1.0).sqrt() } else { s.one };
        x + h.lr * way.sign() * (x - way)
    }
);

rule!(
    /// The operations that other devices may round otherwise.
    Approximate(lr: number()), (m: Slot::zeros()), h, step, [],
    |x, g, s| {
        s.m = s.m + g.tanh() * (-g.abs()).exp();
        x - h.lr * s.m * (g * g + 1.0).rsqrt() * (x * x + 2.0).ln()
    }
);

rule!(
    /// No state; a step that depends on nothing of the step.
    Sgd(lr: number()), (unused: Slot::zeros().only_if(0.0)), h, step, [], |x, g, _s| x - h.lr * g
);
