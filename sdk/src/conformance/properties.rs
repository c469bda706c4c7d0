//! Level 4: properties that a plugin declares of a rule, `declares = ["sign symmetric"]`, and slots that follow from their own
//! element alone. Knows no rule's formula.

use super::protocol::shape_of;
use super::settings;
use super::subject::{Snapshot, Subject, Way};
use super::trajectory::Trajectory;
use super::verdict::{Outcome, Trouble};
use crate::Dtype;
use crate::abi::Descriptor;

const SEED: u64 = 43;
const STEPS: usize = 6;
/// What rounding and eps may leave of a difference, relative to what is compared.
const TOLERANCE: f64 = 1e-6;
/// How much gradients are scaled.
const SCALE: f64 = 1024.0;
/// Gradients so large that eps is small beside them.
const LARGE: f64 = 1048576.0;
/// The decay that is compared with none.
const DECAY: f64 = 0.125;

/// Where a property fails: which number, and what is wrong with it.
type Broken = Option<String>;
/// Looks for where a property fails at one setting of the hyper-parameters.
type Look = fn(&dyn Subject, &[f64]) -> Result<Broken, Trouble>;

/// Properties that may be declared.
///
/// - `sign symmetric`: mirrored values and gradients give the mirrored trajectory; bit by bit for rules over elements.
/// - `gradient scale invariant`: gradients that are all multiplied by one power of two give the same steps, where they are
///   large beside eps and a decay that is added to them.
/// - `decoupled weight decay`: along the same gradients, each step is the step without decay minus `lr·weight_decay·x`
///   (Loshchilov and Hutter, arXiv 1711.05101).
pub const PROPERTIES: [&str; 3] = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"];

const LOOKS: [Look; 3] = [sign_symmetric, scale_invariant, decoupled_decay];

/// The properties that a label declares, in the order it names them.
pub fn declared(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    descriptor.facts.iter().filter(|fact| fact.0 == "declares").map(|fact| fact.1.as_str())
}

/// Where a property does not hold: setting and number; none where it holds.
///
/// # Errors
/// The plugin's; a property of another name.
pub fn broken_at(subject: &dyn Subject, property: &str) -> Result<Option<String>, Trouble> {
    let place = PROPERTIES.iter().position(|known| *known == property);
    let place = place.ok_or_else(|| Trouble::error(format!("there is no property {property:?}")))?;
    for hyper in settings::bases(subject, 0) {
        if let Some(what) = LOOKS[place](subject, &hyper)? {
            return Ok(Some(format!("{what}, at {}", settings::text(subject, &hyper))));
        }
    }
    Ok(None)
}

/// Every declared property holds.
pub fn properties(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    // Other names are refused at level 1.
    let all: Vec<&str> = declared(subject.descriptor()).filter(|text| PROPERTIES.contains(text)).collect();
    for property in &all {
        if let Some(what) = broken_at(subject, property)? {
            return Ok(Outcome::failed(what).about(*property).seeded(SEED));
        }
    }
    Ok(if all.is_empty() { Outcome::skipped("it declares none") } else { Outcome::passed(all.join(", ")) })
}

/// Parameters that the rule takes, with gradients of this size.
fn trajectory(subject: &dyn Subject, size: f64) -> Trajectory {
    let shapes: [&[i64]; 2] = [shape_of(subject), &[4, 3]];
    let taken: Vec<(&[i64], f64)> =
        shapes.into_iter().filter(|shape| subject.accepts(shape)).map(|shape| (shape, size)).collect();
    Trajectory::of(SEED, &taken, STEPS)
}

/// The parameters before the first step and after each.
fn path(subject: &dyn Subject, hyper: &[f64], along: &Trajectory, way: Way) -> Result<Vec<Vec<f64>>, Trouble> {
    let mut run = along.begin(subject, hyper, way)?;
    let mut all = vec![run.snapshot().parameters.concat()];
    for step in 0..along.grads.len() {
        along.steps(&mut *run, way, step..step + 1)?;
        all.push(run.snapshot().parameters.concat());
    }
    Ok(all)
}

/// The first place where two paths are further apart than they may be, relative to the largest number.
fn first_apart(a: &[Vec<f64>], b: &[Vec<f64>], tolerance: f64) -> Broken {
    for (step, (a, b)) in a.iter().zip(b).enumerate() {
        let largest = a.iter().chain(b).fold(0.0_f64, |most, value| most.max(value.abs()));
        let far = |a: f64, b: f64| a != b && !((a - b).abs() <= tolerance * largest);
        if let Some(place) = (0..a.len()).find(|&place| far(a[place], b[place])) {
            return Some(format!("step {step}, element {place}: {:e} instead of {:e}", b[place], a[place]));
        }
    }
    None
}

fn sign_symmetric(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let usual = trajectory(subject, 1.0);
    let mut mirrored = usual.clone().with_grads(|_, g| -g);
    mirrored.start.iter_mut().flat_map(|start| &mut start.values).for_each(|x| *x = -*x);
    // Products and decompositions of whole tensors are libtorch's: equal to rounding.
    let (dtype, tolerance) = if subject.is_over_elements() { (Dtype::F32, 0.0) } else { (Dtype::F64, TOLERANCE) };
    let mut back = path(subject, hyper, &mirrored, Way::of(dtype))?;
    back.iter_mut().flatten().for_each(|x| *x = -*x);
    Ok(first_apart(&path(subject, hyper, &usual, Way::of(dtype))?, &back, tolerance))
}

/// Each step of a path: what is added to the parameters.
fn steps_of(path: &[Vec<f64>], kept: f64) -> Vec<Vec<f64>> {
    path.windows(2).map(|pair| pair[1].iter().zip(&pair[0]).map(|(new, old)| new - kept * old).collect()).collect()
}

fn scale_invariant(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let way = Way::of(Dtype::F64);
    let [usual, scaled] = [LARGE, LARGE * SCALE].map(|size| path(subject, hyper, &trajectory(subject, size), way));
    Ok(first_apart(&steps_of(&usual?, 1.0), &steps_of(&scaled?, 1.0), TOLERANCE))
}

fn decoupled_decay(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let (Some(lr), Some(decay)) = (subject.index_of("lr"), subject.index_of("weight_decay")) else {
        return Ok(Some("there is no `lr`, or no `weight_decay`".to_string()));
    };
    let along = trajectory(subject, 1.0);
    let mut hyper = hyper.to_vec();
    let mut steps = |w: f64| {
        hyper[decay] = w;
        let path = path(subject, &hyper, &along, Way::of(Dtype::F64))?;
        Ok(steps_of(&path, 1.0 - hyper[lr] * w))
    };
    Ok(first_apart(&steps(0.0)?, &steps(DECAY)?, TOLERANCE))
}

/// An element of a slot that is not declared mixed follows from its own element: larger gradients elsewhere leave it alone.
pub fn own_elements(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let shape: &[i64] = if subject.accepts(&[4, 3]) { &[4, 3] } else { shape_of(subject) };
    let mut names = Vec::new();
    for hyper in settings::switched(subject) {
        let slots = subject.slots(&hyper, shape)?;
        let plain = slots.iter().filter(|slot| slot.kind() == 0 && !slot.is_mixed());
        let plain: Vec<&str> = plain.map(|slot| slot.name.as_str()).collect();
        if plain.is_empty() {
            continue;
        }
        let usual = Trajectory::of(SEED, &[(shape, 1.0)], STEPS);
        let mut scaled = usual.clone();
        for column in scaled.grads.iter_mut().flatten() {
            let half = column.len() / 2;
            column[half..].iter_mut().for_each(|g| *g *= SCALE);
        }
        let way = Way::of(Dtype::F64);
        let (usual, scaled) = (usual.end(subject, &hyper, way)?, scaled.end(subject, &hyper, way)?);
        for name in plain {
            let of = |end: &Snapshot| {
                let found = end.slots[0].iter().find(|(slot, _)| slot == name);
                found.map_or(Vec::new(), |(_, values)| values[..values.len() / 2].to_vec())
            };
            if let Some(what) = first_apart(&[of(&usual)], &[of(&scaled)], TOLERANCE) {
                let setting = settings::text(subject, &hyper);
                let text = format!("not declared mixed, and follows other elements' gradients: {what}, at {setting}");
                return Ok(Outcome::failed(text).about(name).seeded(SEED));
            }
            names.push(name.to_string());
        }
    }
    names.sort();
    names.dedup();
    Ok(match names.is_empty() {
        true => Outcome::skipped("it has no such slot"),
        false => Outcome::passed(names.join(", ")),
    })
}
