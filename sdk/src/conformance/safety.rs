//! Level 2: what a step must leave alone.
//! Looks at a few small parameters; sameness of bits is level 3.

use super::numbers::{difference, finite, norm};
use super::protocol::shape_of;
use super::subject::{Subject, Way, formats};
use super::trajectory::Trajectory;
use super::verdict::{Outcome, Trouble};
use crate::Dtype;

const SEED: u64 = 11;
const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F64, Dtype::Bf16];

fn trajectory(subject: &dyn Subject, steps: usize) -> Trajectory {
    Trajectory::of(SEED, &[(shape_of(subject), 1.0), (&[4, 3], 0.5)], steps)
}

/// The name of the learning rate.
pub const LR: &str = "lr";

/// With lr = 0 no bit of a parameter changes.
pub fn no_rate(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let Some(lr) = subject.index_of(LR) else { return Ok(Outcome::passed("it has no `lr`")) };
    if subject.schema()[lr].low > 0.0 {
        return Ok(Outcome::passed("its `lr` is never 0"));
    }
    let mut hyper = subject.defaults();
    hyper[lr] = 0.0;
    let trajectory = trajectory(subject, 4);
    for dtype in DTYPES {
        let way = Way::of(dtype);
        let end = trajectory.end(subject, &hyper, way)?;
        for (index, (before, after)) in trajectory.first(way).iter().zip(&end.parameters).enumerate() {
            if let Some((place, a, b)) = difference(before, after) {
                let text = format!("{dtype:?} parameter {index}[{place}] went from {a:e} to {b:e} with lr = 0");
                return Ok(Outcome::failed(text).about(LR).seeded(SEED));
            }
        }
    }
    Ok(Outcome::passed("f32, f64, bf16"))
}

/// What a sum that is taken anew every step may lose of a number, relative to it.
const ROUNDING: f64 = 1e-6;

/// A zero gradient without decay changes no parameter.
pub fn no_gradient(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let mut hyper = subject.defaults();
    for (value, schema) in hyper.iter_mut().zip(subject.schema()) {
        let decays = schema.name.contains("decay") || schema.meaning.starts_with("decay of the parameter");
        if decays && schema.kind == "number" && schema.low <= 0.0 {
            *value = 0.0;
        }
    }
    let trajectory = trajectory(subject, 3).with_grads(|_, _| 0.0);
    let way = Way::default();
    let end = trajectory.end(subject, &hyper, way)?;
    let mut rounded = false;
    for (index, (before, after)) in trajectory.first(way).iter().zip(&end.parameters).enumerate() {
        let moved = |(a, b): (&f64, &f64)| b.is_nan() || (a - b).abs() > ROUNDING * a.abs();
        if let Some(place) = before.iter().zip(after).position(moved) {
            let (a, b) = (before[place], after[place]);
            let text = format!("parameter {index}[{place}] went from {a:e} to {b:e} without a gradient");
            return Ok(Outcome::failed(text).seeded(SEED));
        }
        rounded |= difference(before, after).is_some();
    }
    Ok(if rounded { Outcome::warning("parameters move by rounding") } else { Outcome::passed("f32") })
}

/// Small gradients keep parameters finite; huge ones may not, but neither end the process nor write elsewhere.
pub fn extremes(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let hyper = subject.defaults();
    for size in [1e-30, 1e-42, 1e30] {
        let trajectory = trajectory(subject, 3).with_grads(|_, g| if g < 0.0 { -size } else { size });
        let end = match trajectory.end(subject, &hyper, Way::default()) {
            Err(trouble) if !trouble.panicked && size > 1.0 => {
                return Ok(Outcome::warning(format!("gradients of {size:e} are an error: {}", trouble.text)));
            }
            end => end?,
        };
        if !finite(&end.parameters) {
            let text = format!("gradients of ±{size:e} make parameters that are not finite");
            let outcome = if size > 1.0 { Outcome::warning(text) } else { Outcome::failed(text) };
            return Ok(outcome.seeded(SEED));
        }
    }
    Ok(Outcome::passed("1e-30, 1e-42, 1e30"))
}

/// A tensor whose gradient is not finite is left out, and the others are not.
pub fn non_finite(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let hyper = subject.defaults();
    if !subject.skips_non_finite() {
        return Ok(Outcome::skipped("not run: the host leaves such tensors out, and there is no host here"));
    }
    let way = Way::default();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let trajectory = trajectory(subject, 3);
        let mut run = trajectory.begin(subject, &hyper, way)?;
        trajectory.steps(&mut *run, way, 0..1)?;
        let before = run.snapshot();
        let mut grads = trajectory.grads[1].clone();
        grads[0][1] = bad;
        run.step(&grads, norm(&trajectory.grads[1]))?;
        let after = run.snapshot();
        let kept = difference(&before.parameters[0], &after.parameters[0]).is_none()
            && before.slots[0].iter().zip(&after.slots[0]).all(|(a, b)| difference(&a.1, &b.1).is_none())
            && before.counts[0] == after.counts[0];
        if !kept {
            return Ok(Outcome::failed(format!("a gradient with {bad} changed its tensor or state")).seeded(SEED));
        }
        if before.counts[1] + 1 != after.counts[1] {
            return Ok(Outcome::failed(format!("a gradient with {bad} kept another tensor from its step")));
        }
    }
    Ok(Outcome::passed("NaN, inf, -inf"))
}

/// Element type, shape and device stay, in f32, f64 and bf16, with state in bf16 where that can be.
pub fn form(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let hyper = subject.defaults();
    for way in formats(subject, &hyper)? {
        let trajectory = trajectory(subject, 3);
        let mut run = trajectory.begin(subject, &hyper, way)?;
        trajectory.steps(&mut *run, way, 0..3)?;
        if let Some(what) = run.changed_form() {
            return Ok(Outcome::failed(format!("{}: {what}", way.format())).seeded(SEED));
        }
        if !finite(&run.snapshot().parameters) {
            let text = format!("{}: parameters are not finite after 3 steps", way.format());
            return Ok(Outcome::failed(text).seeded(SEED));
        }
    }
    Ok(Outcome::passed("f32, f64, bf16"))
}
