//! Level 4: what is declared is true: hyper-parameters matter, slots scale as they say, state is as large as it says.
//! Knows no rule's formula.

use super::kernels::width;
use super::numbers::numel;
use super::protocol::shape_of;
use super::settings;
use super::subject::{Snapshot, Start, Subject, Way, formats};
use super::trajectory::Trajectory;
use super::verdict::{Outcome, Trouble};
use crate::abi::SlotDescriptor;
use crate::{Dtype, SQUARE};

const SEED: u64 = 37;
/// Steps in which a hyper-parameter must show: beyond warm-ups and intervals of a dozen steps.
const STEPS: usize = 24;
/// Draws of settings, where none of the plain ones shows an effect.
const DRAWS: usize = 60;

/// Parameters with gradients of several sizes, some of them nearly constant, so that caps, floors and cosines bite.
fn varied(subject: &dyn Subject) -> Trajectory {
    let flat = shape_of(subject);
    let wide: &[(&[i64], f64)] =
        &[(flat, 1.0), (flat, 1e-9), (flat, 64.0), (&[4, 3], 1.0), (&[6, 4], 1e-2), (&[3, 2, 2], 1.0), (&[4, 3], 1.0)];
    let taken: Vec<(&[i64], f64)> = wide.iter().copied().filter(|(shape, _)| subject.accepts(shape)).collect();
    let mut trajectory = Trajectory::of(SEED, &taken, STEPS);
    // The last one always goes the same way, and its first element has no gradient at all.
    let (first, last) = (trajectory.grads[0].last().cloned().unwrap_or_default(), taken.len() - 1);
    for step in &mut trajectory.grads {
        step[last].clone_from(&first);
        step[last][0] = 0.0;
    }
    trajectory
}

/// Every hyper-parameter changes a bit of a parameter, in some setting of the others.
pub fn effects(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let trajectory = varied(subject);
    let bases = settings::bases(subject, DRAWS);
    let mut ends: Vec<Option<Option<Snapshot>>> = vec![None; bases.len()];
    // What cannot be run at odd settings shows no effect there; a panic is one anyway.
    let end = |hyper: &[f64]| match trajectory.end(subject, hyper, Way::default()) {
        Ok(end) => Ok(super::numbers::finite(&end.parameters).then_some(end)),
        Err(trouble) if trouble.panicked => Err(trouble),
        Err(_) => Ok(None),
    };
    let (mut far, mut of_state) = (Vec::new(), Vec::new());
    for (k, schema) in subject.schema().iter().enumerate() {
        let (mut found, mut in_state) = (false, false);
        'search: for (base, known) in bases.iter().zip(&mut ends) {
            if known.is_none() {
                *known = Some(end(base)?);
            }
            let Some(Some(usual)) = known else { continue };
            for value in settings::others(schema, base[k]) {
                let mut other = base.clone();
                other[k] = value;
                let Some(end) = end(&other)? else { continue };
                in_state |= end != *usual;
                if end.parameters != usual.parameters {
                    if base != &bases[0] {
                        far.push(schema.name.to_string());
                    }
                    found = true;
                    break 'search;
                }
            }
        }
        if !found && in_state {
            of_state.push(schema.name.as_str());
        } else if !found {
            let text = format!("no value of it changed a bit in {STEPS} steps at {} settings", bases.len());
            return Ok(Outcome::failed(text).about(schema.name.as_str()).seeded(SEED));
        }
    }
    if !of_state.is_empty() {
        return Ok(Outcome::warning(format!("shown by the state alone: {}", of_state.join(", "))).seeded(SEED));
    }
    let all = format!("{} hyper-parameters", subject.schema().len());
    Ok(Outcome::passed(if far.is_empty() { all } else { format!("{all}; not at defaults: {}", far.join(", ")) }))
}

/// The host allocates what the slots add up to.
pub fn state_bytes(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let shapes: Vec<&[i64]> = [shape_of(subject), &[4, 3]].into_iter().filter(|shape| subject.accepts(shape)).collect();
    let all = settings::switched(subject);
    for hyper in &all {
        for way in formats(subject, hyper)? {
            let mut declared = 0;
            for shape in &shapes {
                let narrow = subject.narrow(hyper, shape)?;
                let bytes = |slot: &SlotDescriptor| width(way.slot(narrow, slot.index)) as u64 * elements(slot, shape);
                declared += subject.slots(hyper, shape)?.iter().map(bytes).sum::<u64>();
            }
            let start: Vec<(&[i64], f64)> = shapes.iter().map(|shape| (*shape, 1.0)).collect();
            let run = Trajectory::of(SEED, &start, 0).begin(subject, hyper, way)?;
            if run.state_bytes() != declared {
                let (found, setting) = (run.state_bytes(), settings::text(subject, hyper));
                let text = format!("{declared} bytes are declared, {found} are kept, {} at {setting}", way.format());
                return Ok(Outcome::failed(text));
            }
        }
    }
    Ok(Outcome::passed(format!("{} settings", all.len())))
}

/// Elements of a slot of a parameter of this shape.
fn elements(slot: &SlotDescriptor, shape: &[i64]) -> u64 {
    let (rest, last) = shape.split_at(shape.len().saturating_sub(1));
    let c = last.first().copied().unwrap_or(1) as u64;
    let r = rest.last().copied().unwrap_or(1) as u64;
    let leading = (numel(shape) as u64) / (r * c).max(1);
    match slot.shape_kind {
        0 => numel(shape) as u64,
        1 => leading * r,
        2 => leading * c,
        3 => leading * r * r,
        4 => leading * c * c,
        5 => 1,
        square => u64::from(square.saturating_sub(SQUARE)).pow(2),
    }
}

/// How much gradients and values are scaled.
const SCALE: f64 = 16.0;

/// Slots scale with gradients and values as their degrees say. Measured in f64, with large and with small gradients: in
/// one of them what is no power (eps, decay, a cap on the norm) is small beside what is.
pub fn degrees(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let shape: &[i64] = if subject.accepts(&[4, 3]) { &[4, 3] } else { shape_of(subject) };
    let (mut checked, mut unclear) = (0, Vec::new());
    for hyper in settings::switched(subject) {
        for slot in subject.slots(&hyper, shape)? {
            // What follows the parameter is hidden by large gradients, and the other way round.
            let sizes =
                if slot.value_degree != 0 { [(1024.0, 1e-3), (1.0, 1e-6)] } else { [(1.0, 4096.0), (1.0, 0.0156)] };
            let mut found = Vec::new();
            for (value, grad) in sizes {
                let usual = size(subject, &hyper, &slot, shape, (value, grad))?;
                let scaled = [(value * SCALE, grad), (value, grad * SCALE)]
                    .map(|scales| size(subject, &hyper, &slot, shape, scales));
                let [by_value, by_grad] = scaled;
                found.push([by_value?, by_grad?].map(|scaled| (scaled / usual).log2() / SCALE.log2()));
            }
            for (k, (what, declared)) in
                [("value", slot.value_degree), ("gradient", slot.grad_degree)].into_iter().enumerate()
            {
                let near = |measured: f64| (measured - f64::from(declared)).abs() < 0.25;
                let whole = |measured: f64| (measured - measured.round()).abs() < 0.25;
                let [a, b] = [found[0][k], found[1][k]];
                if near(a) || near(b) {
                    checked += 1;
                } else if whole(a) || whole(b) {
                    let setting = settings::text(subject, &hyper);
                    let text = format!(
                        "declares degree {declared} in the {what}, scales with {a:.2} and {b:.2}, at {setting}"
                    );
                    return Ok(Outcome::failed(text).about(slot.name.as_str()).seeded(SEED));
                } else {
                    unclear.push(format!("`{}` in the {what} ({a:.2}, {b:.2})", slot.name));
                }
            }
        }
    }
    unclear.sort();
    unclear.dedup();
    Ok(match (checked, unclear.is_empty()) {
        (0, true) => Outcome::skipped("it has no state"),
        (_, true) => Outcome::passed(format!("{checked} degrees")),
        _ => Outcome::warning(format!("no power of anything: {}", unclear.join(", "))),
    })
}

/// The norm of a slot after some steps with values and gradients of these sizes.
fn size(
    subject: &dyn Subject,
    hyper: &[f64],
    slot: &SlotDescriptor,
    shape: &[i64],
    (value, grad): (f64, f64),
) -> Result<f64, Trouble> {
    let mut trajectory = Trajectory::of(SEED, &[(shape, grad)], 3);
    let Start { values, .. } = &mut trajectory.start[0];
    values.iter_mut().for_each(|x| *x *= value);
    let end = trajectory.end(subject, hyper, Way::of(Dtype::F64))?;
    let found = end.slots[0].iter().find(|(name, _)| slot.name == name.as_str());
    Ok(found.map_or(0.0, |(_, values)| values.iter().map(|v| v * v).sum::<f64>().sqrt()))
}
