//! Level 4: properties that a plugin declares of a rule, `declares = ["sign symmetric"]`.
//! Knows no rule's formula.

use super::protocol::shape_of;
use super::settings;
use super::subject::{Subject, Way};
use super::trajectory::Trajectory;
use super::verdict::{Outcome, Trouble};
use crate::Dtype;
use crate::abi::Descriptor;

const SEED: u64 = 43;
/// Beyond warm-ups and intervals of a dozen steps.
const STEPS: usize = 14;
const ROUNDED: f64 = 8.0 * f64::EPSILON;
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
    for step in 0..STEPS {
        along.steps(&mut *run, way, step..step + 1)?;
        all.push(run.snapshot().parameters.concat());
    }
    Ok(all)
}

/// The steps of a path: what is added to the parameters.
fn steps_of(path: &[Vec<f64>]) -> Vec<Vec<f64>> {
    path.windows(2).map(|pair| pair[1].iter().zip(&pair[0]).map(|(new, old)| new - old).collect()).collect()
}

/// The first number that differs by more than rounding leaves, relative to the largest one of its step.
fn first_apart(usual: &[Vec<f64>], other: &[Vec<f64>], tolerance: f64) -> Broken {
    for (step, (usual, other)) in usual.iter().zip(other).enumerate() {
        let largest = usual.iter().chain(other).fold(0.0_f64, |most, value| most.max(value.abs()));
        let near = |a: f64, b: f64| a == b || (a - b).abs() <= tolerance * largest;
        if let Some(place) = usual.iter().zip(other).position(|(a, b)| !near(*a, *b)) {
            return Some(format!("step {}, element {place}: {:e} instead of {:e}", step + 1, other[place], usual[place]));
        }
    }
    None
}

/// Whatever holds of a rule that stands still says nothing.
fn moves(path: &[Vec<f64>]) -> bool {
    steps_of(path).iter().flatten().any(|step| *step != 0.0)
}

const STILL: &str = "no step moves a parameter, so nothing is shown";

fn sign_symmetric(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let usual = trajectory(subject, 1.0);
    let mut mirrored = usual.clone().with_grads(|_, g| -g);
    mirrored.start.iter_mut().flat_map(|start| &mut start.values).for_each(|x| *x = -*x);
    // Products and decompositions of whole tensors are libtorch's: equal to rounding.
    let (dtype, tolerance) = if subject.is_over_elements() { (Dtype::F32, 0.0) } else { (Dtype::F64, TOLERANCE) };
    let [usual, mut mirrored] = [path(subject, hyper, &usual, Way::of(dtype))?, path(subject, hyper, &mirrored, Way::of(dtype))?];
    mirrored.iter_mut().flatten().for_each(|x| *x = -*x);
    Ok(if moves(&usual) { first_apart(&usual[1..], &mirrored[1..], tolerance) } else { Some(STILL.to_string()) })
}

fn scale_invariant(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let way = Way::of(Dtype::F64);
    let usual = path(subject, hyper, &trajectory(subject, LARGE), way)?;
    let scaled = path(subject, hyper, &trajectory(subject, LARGE * SCALE), way)?;
    Ok(if moves(&usual) { first_apart(&steps_of(&usual), &steps_of(&scaled), TOLERANCE) } else { Some(STILL.to_string()) })
}

pub fn scale_small(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let way = Way::of(Dtype::F64);
    let mut hyper = hyper.to_vec();
    for (k, schema) in subject.schema().iter().enumerate() {
        if schema.name.starts_with("eps") { hyper[k] = 1e-16_f64.clamp(schema.low, schema.high); }
        if schema.name == "weight_decay" { hyper[k] = 0.0; }
    }
    let usual = path(subject, &hyper, &trajectory(subject, 1.0), way)?;
    for scale in [256.0, 1.0 / 256.0] {
    let scaled = path(subject, &hyper, &trajectory(subject, scale), way)?;
    if let Some(x) = if moves(&usual) { first_apart(&steps_of(&usual), &steps_of(&scaled), TOLERANCE) } else { Some(STILL.to_string()) } { return Ok(Some(format!("{scale}: {x}"))) }
    }
    Ok(None)
}

fn decoupled_decay(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let (Some(lr), Some(decay)) = (subject.index_of("lr"), subject.index_of("weight_decay")) else {
        return Ok(Some("there is no `lr`, or no `weight_decay`".to_string()));
    };
    let (along, way) = (trajectory(subject, 1.0), Way::of(Dtype::F64));
    let [without, with] = [0.0, DECAY].map(|decayed| {
        let mut hyper = hyper.to_vec();
        hyper[decay] = decayed;
        hyper
    });
    let share = with[lr] * DECAY;
    let mut run = along.begin(subject, &with, way)?;
    let mut is_still = true;
    for step in 0..STEPS {
        let before = run.snapshot();
        let mut plain = along.begin(subject, &without, way)?;
        plain.resume(&before)?;
        along.steps(&mut *plain, way, step..step + 1)?;
        along.steps(&mut *run, way, step..step + 1)?;
        let (plain, decayed, old) = (plain.snapshot(), run.snapshot(), before.parameters.concat());
        is_still &= plain.parameters.concat() == old || share == 0.0;
        let expected = plain.parameters.concat().iter().zip(&old).map(|(new, old)| new - share * old).collect();
        if let Some(what) = first_apart(&[expected], &[decayed.parameters.concat()], ROUNDED) {
            return Ok(Some(format!("of {}: {what}", step + 1)));
        }
        if (&plain.slots, &plain.memory) != (&decayed.slots, &decayed.memory) {
            return Ok(Some(format!("step {}: the state changes with the decay", step + 1)));
        }
    }
    Ok(is_still.then(|| STILL.to_string()))
}
