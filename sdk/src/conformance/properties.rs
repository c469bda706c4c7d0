//! Level 4: properties that a plugin declares of a rule, `declares = ["sign symmetric"]`.
//! Knows no rule's formula; of hyper-parameters it knows `lr`, `weight_decay`, and names that begin with `eps`.

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
/// What rounding and eps may leave of a difference, relative to the largest number it is among.
const TOLERANCE: f64 = 1e-6;
/// What rounding leaves of one step in f64, relative to the largest number.
const ROUNDED: f64 = 8.0 * f64::EPSILON;
/// Of a smaller step rounding leaves too little to compare.
const LEAST_STEP: f64 = 1e-12;
/// Sizes of gradients, on both sides of a clip at norm 1.
const SIZES: [f64; 2] = [0.25, 4.0];
/// An eps that is small beside such gradients, squared too.
const TINY: f64 = 1e-14;
/// The decay that is compared with none.
const DECAY: f64 = 0.125;

/// Where a property fails: which number, and what is wrong with it.
type Broken = Option<String>;

/// A property that may be declared.
struct Property {
    name: &'static str,
    /// The settings of the hyper-parameters at which it is looked for.
    settings: fn(&dyn Subject) -> Vec<Vec<f64>>,
    /// Where it fails at one of them.
    look: fn(&dyn Subject, &[f64]) -> Result<Broken, Trouble>,
}

const ALL: [Property; 3] = [
    Property { name: PROPERTIES[0], settings: everywhere, look: sign_symmetric },
    Property { name: PROPERTIES[1], settings: without_eps, look: scale_invariant },
    Property { name: PROPERTIES[2], settings: as_decay_is, look: decoupled_decay },
];

/// Names of the properties that may be declared. A rule that stands still has none of them.
///
/// - `sign symmetric`: mirrored values and gradients give the mirrored trajectory; bit by bit, for rules over whole tensors
///   to 1e-6 in f64. At the defaults, at every flag and choice, and with what is 0 by default switched on.
/// - `gradient scale invariant`: gradients that are all multiplied by one number give the same steps, to 1e-6 in f64. At
///   the defaults and at every flag and choice, without decay and with a tiny eps, as both have a size of their own.
/// - `decoupled weight decay`: from the same state a step is the step without decay minus `lr·weight_decay·x`, x being the
///   value before, to a few roundings; and the state after it is the same, bit by bit (Loshchilov and Hutter, arXiv
///   1711.05101, Algorithm 2). As the first, but flags and choices that are named after decay stay at their defaults.
pub const PROPERTIES: [&str; 3] = ["sign symmetric", "gradient scale invariant", "decoupled weight decay"];

/// The properties that a label declares, in the order it names them.
pub fn declared(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    descriptor.facts.iter().filter(|fact| fact.0 == "declares").map(|fact| fact.1.as_str())
}

/// Where a property does not hold: number and setting; none where it holds.
///
/// # Errors
/// The plugin's; a property of another name.
pub fn broken_at(subject: &dyn Subject, property: &str) -> Result<Option<String>, Trouble> {
    let known = ALL.iter().find(|known| known.name == property);
    let known = known.ok_or_else(|| Trouble::error(format!("there is no property {property:?}")))?;
    for hyper in (known.settings)(subject) {
        if let Some(what) = (known.look)(subject, &hyper)? {
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

/// The defaults, what is off by default on, and every flag and choice.
fn everywhere(subject: &dyn Subject) -> Vec<Vec<f64>> {
    settings::bases(subject, 0)
}

/// Every flag and choice, with what has a size of its own out of the way.
fn without_eps(subject: &dyn Subject) -> Vec<Vec<f64>> {
    let mut all = settings::switched(subject);
    for (k, hyper) in subject.schema().iter().enumerate() {
        for values in &mut all {
            if hyper.name.starts_with("eps") {
                values[k] = values[k].min(TINY).max(hyper.low);
            } else if hyper.name == "weight_decay" {
                values[k] = hyper.low;
            }
        }
    }
    all
}

/// Everywhere but at flags and choices that say how a parameter decays.
fn as_decay_is(subject: &dyn Subject) -> Vec<Vec<f64>> {
    let mut all = everywhere(subject);
    for (k, hyper) in subject.schema().iter().enumerate().filter(|(_, hyper)| settings::is_switch(hyper)) {
        if hyper.name.contains("decay") || hyper.name.contains("decouple") {
            all.retain(|values| values[k] == hyper.default);
        }
    }
    all
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

/// What each step of a path adds to the parameters.
fn steps_of(path: &[Vec<f64>]) -> Vec<Vec<f64>> {
    path.windows(2).map(|pair| pair[1].iter().zip(&pair[0]).map(|(new, old)| new - old).collect()).collect()
}

/// That a path leads nowhere: whatever holds of it says nothing.
fn stands_still(path: &[Vec<f64>]) -> Broken {
    let moves = steps_of(path).iter().flatten().any(|step| step.abs() > LEAST_STEP);
    (!moves).then(|| "no step moves a parameter, so nothing is shown".to_string())
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// The first element that is further from the usual one than it may be.
fn apart(step: usize, usual: &[f64], other: &[f64], allowed: f64) -> Broken {
    let near = |a: f64, b: f64| a == b || (a - b).abs() <= allowed;
    let place = usual.iter().zip(other).position(|(a, b)| !near(*a, *b))?;
    Some(format!("step {step}, element {place}: {:e} instead of {:e}", other[place], usual[place]))
}

fn sign_symmetric(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let along = trajectory(subject, 1.0);
    let mut back = along.clone().with_grads(|_, g| -g);
    back.start.iter_mut().flat_map(|start| &mut start.values).for_each(|x| *x = -*x);
    // Products and decompositions of whole tensors are libtorch's: equal to rounding.
    let (dtype, tolerance) = if subject.is_over_elements() { (Dtype::F32, 0.0) } else { (Dtype::F64, TOLERANCE) };
    let usual = path(subject, hyper, &along, Way::of(dtype))?;
    let mut mirrored = path(subject, hyper, &back, Way::of(dtype))?;
    mirrored.iter_mut().flatten().for_each(|x| *x = -*x);
    let pairs = || usual.iter().zip(&mirrored).enumerate();
    let differs = || pairs().find_map(|(step, (a, b))| apart(step, a, b, tolerance * largest(a)));
    Ok(stands_still(&usual).or_else(differs))
}

fn scale_invariant(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let [small, large] = SIZES.map(|size| path(subject, hyper, &trajectory(subject, size), Way::of(Dtype::F64)));
    let (small, large) = (small?, large?);
    let (usual, scaled) = (steps_of(&small), steps_of(&large));
    let differs = || {
        let mut steps = (0..STEPS).map(|step| {
            let allowed = TOLERANCE * largest(&usual[step]) + ROUNDED * largest(&small[step]);
            apart(step + 1, &usual[step], &scaled[step], allowed)
        });
        steps.find_map(|broken| broken)
    };
    Ok(stands_still(&small).or_else(differs))
}

fn decoupled_decay(subject: &dyn Subject, hyper: &[f64]) -> Result<Broken, Trouble> {
    let (Some(lr), Some(decay)) = (subject.index_of("lr"), subject.index_of("weight_decay")) else {
        return Ok(Some("there is no `lr`, or no `weight_decay`".to_string()));
    };
    let most = subject.schema()[decay].high;
    let [without, with] = [0.0, DECAY.min(most)].map(|value| {
        let mut hyper = hyper.to_vec();
        hyper[decay] = value;
        hyper
    });
    let share = with[lr] * with[decay];
    if share == 0.0 {
        return Ok(Some("there is no decay at this setting, so nothing is shown".to_string()));
    }
    let (along, way) = (trajectory(subject, 1.0), Way::of(Dtype::F64));
    let mut run = along.begin(subject, &with, way)?;
    let mut undecayed = Vec::new();
    for step in 0..STEPS {
        let before = run.snapshot();
        let mut plain = along.begin(subject, &without, way)?;
        plain.resume(&before)?;
        along.steps(&mut *plain, way, step..step + 1)?;
        along.steps(&mut *run, way, step..step + 1)?;
        let (plain, decayed) = (plain.snapshot(), run.snapshot());
        let (old, new) = (before.parameters.concat(), plain.parameters.concat());
        let expected: Vec<f64> = new.iter().zip(&old).map(|(new, old)| new - share * old).collect();
        let allowed = ROUNDED * largest(&old).max(largest(&new));
        if let Some(what) = apart(step + 1, &expected, &decayed.parameters.concat(), allowed) {
            return Ok(Some(what));
        }
        if (&plain.slots, &plain.memory) != (&decayed.slots, &decayed.memory) {
            return Ok(Some(format!("step {}: the state differs from that of a step without decay", step + 1)));
        }
        undecayed.extend(stands_still(&[old, new]));
    }
    // Where not one of the steps goes anywhere by itself.
    Ok(undecayed.into_iter().nth(STEPS - 1))
}
