//! Which rules are the same.

use sdk::{Elementwise, Knob, Record, knob, tape};

use crate::rule_set::{AdamW, Lion, Portable, rule};

fn number() -> Knob {
    knob(0.5, 0.0..=1.0, "a number")
}

fn defaults<R: Elementwise>() -> Vec<f64> {
    let mut all = Vec::new();
    R::hyper().visit(|_, knob: Knob| all.push(knob.default()));
    all
}

fn print_with<R: Elementwise>(hyper: &[f64]) -> String {
    let slots = sdk::slot_descriptors(&R::state(&R::Hyper::build(|k| hyper[k])));
    tape::fingerprint(&tape::record::<R>(hyper).unwrap(), &slots)
}

fn print<R: Elementwise>() -> String {
    print_with::<R>(&defaults::<R>())
}

rule!(
    /// Lion: renamed, reordered, commuted.
    LionTwin(decay: number(), memory: number(), rate: number(), mix: number()),
    (velocity: Slot::zeros()), h, step, [let keep = 1.0 - h.decay * h.rate;],
    |x, g, s| {
        let old = s.velocity;
        s.velocity = (1.0 - h.memory) * g + old * h.memory;
        keep * x - ((1.0 - h.mix) * g + h.mix * old).sign() * h.rate
    }
);

rule!(
    /// Lion with one number for two.
    LionOneBeta(lr: number(), beta: number(), weight_decay: number()),
    (exp_avg: Slot::zeros()), h, step, [let keep = 1.0 - h.lr * h.weight_decay;],
    |x, g, s| {
        let direction = (h.beta * s.exp_avg + (1.0 - h.beta) * g).sign();
        s.exp_avg = h.beta * s.exp_avg + (1.0 - h.beta) * g;
        x * keep - h.lr * direction
    }
);

rule!(
    /// Lion from another start.
    LionFilled(lr: number(), beta1: number(), beta2: number(), weight_decay: number()),
    (exp_avg: Slot::fill(1e-3)), h, step, [let keep = 1.0 - h.lr * h.weight_decay;],
    |x, g, s| {
        let direction = (h.beta1 * s.exp_avg + (1.0 - h.beta1) * g).sign();
        s.exp_avg = h.beta2 * s.exp_avg + (1.0 - h.beta2) * g;
        x * keep - h.lr * direction
    }
);

rule!(
    /// Lion that steps along the momentum after it moved.
    LionLate(lr: number(), beta1: number(), beta2: number(), weight_decay: number()),
    (exp_avg: Slot::zeros()), h, step, [let keep = 1.0 - h.lr * h.weight_decay;],
    |x, g, s| {
        s.exp_avg = h.beta2 * s.exp_avg + (1.0 - h.beta2) * g;
        let direction = (h.beta1 * s.exp_avg + (1.0 - h.beta1) * g).sign();
        x * keep - h.lr * direction
    }
);

rule!(
    /// AdamW with its slots in another order.
    AdamWTwin(eps: number(), lr: number(), b2: number(), b1: number(), wd: number(), ams: flag(false, "")),
    (top: Slot::zeros().only_if(h.ams), second: Slot::zeros(), first: Slot::zeros()), h, step,
    [
        let keep = 1.0 - h.wd * h.lr;
        let correction2 = (1.0 - h.b2.pow(step.t)).sqrt();
        let step_size = h.lr / (1.0 - h.b1.pow(step.t));
    ],
    |x, g, s| {
        s.second = (1.0 - h.b2) * (g * g) + h.b2 * s.second;
        s.first = (1.0 - h.b1) * g + h.b1 * s.first;
        let mut v = s.second;
        if h.ams.is_on() {
            s.top = s.top.max(v);
            v = s.top;
        }
        x * keep - step_size * (s.first / (h.eps + v.sqrt() / correction2))
    }
);

#[test]
fn twins_are_equal_whatever_the_names_the_order_and_the_side() {
    assert_eq!(print::<Lion>(), print::<LionTwin>());
    assert_eq!(print::<AdamW>(), print::<AdamWTwin>());
    for amsgrad in [0.0, 1.0] {
        let (one, other) = ([0.5, 0.5, 0.5, 0.5, 0.5, amsgrad], [0.5, 0.5, 0.5, 0.5, 0.5, amsgrad]);
        assert_eq!(print_with::<AdamW>(&one), print_with::<AdamWTwin>(&other), "amsgrad {amsgrad}");
    }
}

#[test]
fn what_changes_bits_changes_the_fingerprint() {
    let mut all = vec![
        print::<Lion>(),
        print::<LionOneBeta>(),
        print::<LionFilled>(),
        print::<LionLate>(),
        print::<AdamW>(),
        print_with::<AdamW>(&[0.5, 0.5, 0.5, 0.5, 0.5, 1.0]),
        print::<Portable>(),
        print_with::<Portable>(&[0.5, 0.5, 0.5, 1.0]),
        // an initial value that is a hyper-parameter's
        print_with::<Portable>(&[0.5, 0.25, 0.5, 0.0]),
    ];
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn numbers_of_hyper_parameters_do_not_count() {
    assert_eq!(print::<Lion>(), print_with::<Lion>(&[0.1, 0.2, 0.3, 0.4]));
}

rule!(OnePlusTwo(a: number(), b: number()), (m: Slot::zeros()), h, step, [], |x, g, s| (x + g) + s.m);
rule!(OnePlusTwoRight(a: number(), b: number()), (m: Slot::zeros()), h, step, [], |x, g, s| x + (g + s.m));
rule!(OnePlusTwoTurned(a: number(), b: number()), (n: Slot::zeros()), h, step, [], |x, g, s| s.n + (g + x));
rule!(Halved(lr: number()), (m: Slot::zeros()), h, step, [], |x, g, s| x - g * 0.5 + s.m);
rule!(HalvedAgain(lr: number()), (m: Slot::zeros()), h, step, [], |x, g, s| x - g * 0.25 + s.m);
rule!(Subtracted(lr: number()), (m: Slot::zeros()), h, step, [], |x, g, s| s.m - (x - g));
rule!(SubtractedTurned(lr: number()), (m: Slot::zeros()), h, step, [], |x, g, s| s.m - (g - x));

#[test]
fn nothing_is_reassociated_and_constants_and_sides_count() {
    assert_ne!(print::<OnePlusTwo>(), print::<OnePlusTwoRight>());
    assert_eq!(print::<OnePlusTwo>(), print::<OnePlusTwoTurned>());
    assert_ne!(print::<Halved>(), print::<HalvedAgain>());
    assert_ne!(print::<Subtracted>(), print::<SubtractedTurned>());
}

rule!(
    /// Three slots of which two do the same and a third something else.
    Alike(a: number(), b: number(), c: number()),
    (one: Slot::zeros(), two: Slot::zeros(), three: Slot::zeros()), h, step, [],
    |x, g, s| {
        s.one = h.a * s.one + g;
        s.two = h.b * s.two + g;
        s.three = h.c * s.three - g;
        x - s.one.max(s.three) * s.two.max(s.three)
    }
);
rule!(
    /// The same with all names turned round.
    AlikeTurned(r: number(), q: number(), p: number()),
    (u: Slot::zeros(), v: Slot::zeros(), w: Slot::zeros()), h, step, [],
    |x, g, s| {
        s.u = s.u * h.q - g;
        s.w = g + s.w * h.p;
        s.v = s.v * h.r + g;
        x - s.w.max(s.u) * s.v.max(s.u)
    }
);
rule!(
    /// One decay for both: another rule.
    AlikeShared(a: number(), b: number(), c: number()),
    (one: Slot::zeros(), two: Slot::zeros(), three: Slot::zeros()), h, step, [],
    |x, g, s| {
        s.one = h.a * s.one + g;
        s.two = h.a * s.two + g;
        s.three = h.c * s.three - g;
        x - s.one.max(s.three) * s.two.max(s.three)
    }
);
rule!(
    /// Slots that change places in a round of three and a round of two: each alone looks like every other.
    ThreeAndTwo(lr: number()),
    (a: Slot::zeros(), b: Slot::zeros(), c: Slot::zeros(), d: Slot::zeros(), e: Slot::zeros()), h, step, [],
    |x, g, s| {
        let old = *s;
        (s.a, s.b, s.c, s.d, s.e) = (old.b, old.c, old.a, old.e, old.d);
        x - h.lr * g
    }
);
rule!(
    /// The same, the round of two first.
    TwoAndThree(lr: number()),
    (a: Slot::zeros(), b: Slot::zeros(), c: Slot::zeros(), d: Slot::zeros(), e: Slot::zeros()), h, step, [],
    |x, g, s| {
        let old = *s;
        (s.a, s.b, s.c, s.d, s.e) = (old.b, old.a, old.d, old.e, old.c);
        x - h.lr * g
    }
);
rule!(
    /// One round of five: another rule.
    Five(lr: number()),
    (a: Slot::zeros(), b: Slot::zeros(), c: Slot::zeros(), d: Slot::zeros(), e: Slot::zeros()), h, step, [],
    |x, g, s| {
        let old = *s;
        (s.a, s.b, s.c, s.d, s.e) = (old.b, old.c, old.d, old.e, old.a);
        x - h.lr * g
    }
);

#[test]
fn names_that_look_alike_are_told_apart_by_trying() {
    assert_eq!(print::<Alike>(), print::<AlikeTurned>());
    assert_ne!(print::<Alike>(), print::<AlikeShared>());
    assert_eq!(print::<ThreeAndTwo>(), print::<TwoAndThree>());
    assert_ne!(print::<ThreeAndTwo>(), print::<Five>());
}

rule!(WithDead(lr: number(), idle: number()), (m: Slot::zeros()), h, step, [], |x, g, s| {
    let _unused = g.max(x).gt(h.idle).select(x, g);
    s.m = s.m + g;
    x - h.lr * s.m
});
rule!(WithoutDead(lr: number()), (m: Slot::zeros()), h, step, [], |x, g, s| {
    s.m = s.m + g;
    x - h.lr * s.m
});

#[test]
fn what_reaches_no_result_does_not_count() {
    assert_eq!(print::<WithDead>(), print::<WithoutDead>());
}
