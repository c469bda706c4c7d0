//! Rules as people read them.

use sdk::{Record, tape};

use crate::rule_set::{AdamW, Lion, Portable, Sgd, rule};

fn formula<R: sdk::Elementwise>(hyper: &[f64]) -> String {
    let nodes = tape::record::<R>(hyper).unwrap();
    tape::formula(&nodes, <R::Hyper<f64> as Record<f64>>::NAMES, <R::State<f64> as Record<f64>>::NAMES)
}

#[test]
fn lion() {
    assert_eq!(
        formula::<Lion>(&[1e-4, 0.9, 0.99, 0.0]),
        "x ← x·(1 − lr·weight_decay) − lr·sign(beta1·exp_avg + (1 − beta1)·g)\n\
         exp_avg ← beta2·exp_avg + (1 − beta2)·g"
    );
}

#[test]
fn adamw_with_and_without_amsgrad() {
    let moments = "exp_avg ← beta1·exp_avg + (1 − beta1)·g\n\
                   exp_avg_sq ← beta2·exp_avg_sq + (1 − beta2)·(g·g)\n";
    assert_eq!(
        formula::<AdamW>(&[1e-3, 0.9, 0.999, 1e-8, 0.01, 0.0]),
        format!(
            "{moments}x ← x·(1 − lr·weight_decay) − \
             (lr / (1 − beta1^t))·(exp_avg′ / (√exp_avg_sq′·(1 / √(1 − beta2^t)) + eps))"
        )
    );
    assert_eq!(
        formula::<AdamW>(&[1e-3, 0.9, 0.999, 1e-8, 0.01, 1.0]),
        format!(
            "{moments}max_exp_avg_sq ← max(max_exp_avg_sq, exp_avg_sq′)\n\
             x ← x·(1 − lr·weight_decay) − \
             (lr / (1 − beta1^t))·(exp_avg′ / (√max_exp_avg_sq′·(1 / √(1 − beta2^t)) + eps))"
        )
    );
}

#[test]
fn every_operation_has_a_text() {
    let text = formula::<Portable>(&[0.5, 0.5, 0.5, 1.0]);
    for part in ["floor(", "fma(", "not(", "|g|", " if ", " else ", "≥", " and ", " or ", "exp(ln("] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

rule!(Grouped(lr: knob(0.5, 0.0..=1.0, "")), (m: Slot::zeros()), h, step, [], |x, g, s| {
    s.m = -(x - g) * (x / g / (x * g));
    x + (g + x) - (g - x)
});

#[test]
fn brackets_stand_where_bits_depend_on_them() {
    assert_eq!(formula::<Grouped>(&[0.5]), "x ← x + (g + x) − (g − x)\nm ← (−(x − g))·((x / g) / (x·g))");
}

#[test]
fn a_slot_that_is_off_is_not_mentioned() {
    assert_eq!(formula::<Sgd>(&[0.1]), "x ← x − lr·g");
}

rule!(Kept(lr: knob(0.5, 0.0..=1.0, "")), (start: Slot::copy_of_parameter()), h, step, [], |x, g, s| {
    x - g.max(s.start).gt(0.0).select(1.0, 2.5) * 1e-8
});

#[test]
fn a_slot_that_only_keeps_its_value_is_not_assigned() {
    assert_eq!(formula::<Kept>(&[0.5]), "x ← x − (1 if max(g, start) > 0 else 2.5)·1e-8");
}
