//! Level 4: what a slot holds follows from its own element, row or column, or its plugin says `mixed()`.
//! Knows no rule's formula.

use std::collections::{BTreeMap, BTreeSet};

use super::protocol::shape_of;
use super::settings;
use super::subject::{Snapshot, Subject, Way};
use super::trajectory::Trajectory;
use super::verdict::{Outcome, Trouble};
use crate::abi::{Descriptor, SlotDescriptor};
use crate::{Dtype, NUMBER};

const SEED: u64 = 47;
/// Beyond warm-ups and intervals of a dozen steps.
const STEPS: usize = 14;
/// What is done to values and gradients elsewhere.
const FACTOR: f64 = -1024.0;
/// What rounding may leave of a difference, relative to the slot's largest number.
const TOLERANCE: f64 = 1e-12;
/// Kinds of shapes, as [`SlotDescriptor`] has them.
const ELEMENTWISE: u32 = 0;
const ROW: u32 = 1;
const COLUMN: u32 = 2;
const SCALAR: u32 = 5;
/// Kinds that follow the parameter where a network grows. With a slot of another kind all of a parameter's state restarts,
/// so nothing is asked of it.
const CARRIED: [u32; 5] = [ELEMENTWISE, ROW, COLUMN, SCALAR, NUMBER];

/// Names of the slots that depend on the tensor as a whole, as the plugin says.
fn mixed(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    descriptor.facts.iter().filter(|fact| fact.0 == "mixed").map(|fact| fact.1.as_str())
}

/// Other values and gradients elsewhere leave a slot's element as it is, unless the slot is declared mixed; and somewhere
/// they do not, if it is.
pub fn own_elements(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let shapes: Vec<&[i64]> = [shape_of(subject), &[4, 3]].into_iter().filter(|shape| subject.accepts(shape)).collect();
    let declared: BTreeSet<&str> = mixed(subject.descriptor()).collect();
    let (mut seen, mut mixes, mut restarted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for hyper in settings::bases(subject, 0) {
        for shape in &shapes {
            let slots = subject.slots(&hyper, shape)?;
            // A copy of the parameter goes wherever the parameter goes.
            let asked = slots.iter().filter(|slot| (slot.value_degree, slot.grad_degree) != (1, 0));
            let (carried, others): (Vec<_>, Vec<_>) = asked.partition(|slot| CARRIED.contains(&slot.shape_kind));
            if !others.is_empty() {
                restarted.extend(slots.iter().map(|slot| slot.name.to_string()));
                continue;
            }
            seen.extend(carried.iter().map(|slot| slot.name.to_string()));
            for (name, what) in followed(subject, &hyper, shape, &carried)? {
                if !declared.contains(name.as_str()) {
                    let setting = settings::text(subject, &hyper);
                    let text = format!("not declared mixed, and follows other elements: {what}, at {setting}");
                    return Ok(Outcome::failed(text).about(name).seeded(SEED));
                }
                mixes.insert(name);
            }
        }
    }
    if let Some(name) = declared.iter().find(|name| !mixes.contains(**name) && !restarted.contains(**name)) {
        let text = format!("declared mixed, and follows its own element in {STEPS} steps at every setting");
        return Ok(Outcome::failed(text).about(*name).seeded(SEED));
    }
    let mixed: Vec<&str> = mixes.iter().map(String::as_str).collect();
    Ok(match (seen.is_empty(), mixed.is_empty()) {
        (true, _) => Outcome::skipped("it has no such slot"),
        (_, true) => Outcome::passed(format!("{} slots, none of them mixed", seen.len())),
        _ => Outcome::passed(format!("{} slots; mixed: {}", seen.len(), mixed.join(", "))),
    })
}

/// The slots that follow what is not their own, and where. Beside the usual run there is one per part of the tensor with
/// other values and gradients there. All others are put back to the usual values before each step: what a parameter took
/// from other elements is not asked about, what its state took is.
fn followed(
    subject: &dyn Subject,
    hyper: &[f64],
    shape: &[i64],
    slots: &[&SlotDescriptor],
) -> Result<BTreeMap<String, String>, Trouble> {
    let way = Way::of(Dtype::F64);
    let usual = Trajectory::of(SEED, &[(shape, 1.0)], STEPS);
    let mut run = usual.begin(subject, hyper, way)?;
    let mut others = Vec::new();
    for part in Part::ALL {
        let looked: Vec<_> = slots.iter().filter(|slot| part.leaves_some_of(slot.shape_kind)).collect();
        if !looked.is_empty() {
            let mut along = usual.clone();
            along.grads.iter_mut().for_each(|grads| part.change(&mut grads[0], shape));
            others.push((part, looked, along, usual.begin(subject, hyper, way)?));
        }
    }
    let mut all = BTreeMap::new();
    for step in 0..STEPS {
        let before = run.snapshot();
        usual.steps(&mut *run, way, step..step + 1)?;
        let after = run.snapshot();
        for (part, looked, along, other) in &mut others {
            let mut from = Snapshot { parameters: before.parameters.clone(), ..other.snapshot() };
            part.change(&mut from.parameters[0], shape);
            other.resume(&from)?;
            along.steps(&mut **other, way, step..step + 1)?;
            let found = other.snapshot();
            for slot in looked {
                let numbers = |end: &Snapshot| part.left(slot, end, shape);
                if let Some(what) = apart(&numbers(&after), &numbers(&found)) {
                    all.entry(slot.name.to_string()).or_insert(format!("step {}, {what}", step + 1));
                }
            }
        }
    }
    Ok(all)
}

/// The first place where numbers differ.
fn apart(usual: &[f64], found: &[f64]) -> Option<String> {
    let largest = usual.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let near = |a: f64, b: f64| a == b || (a - b).abs() <= TOLERANCE * largest;
    let place = usual.iter().zip(found).position(|(a, b)| !near(*a, *b))?;
    Some(format!("place {place}: {:e} instead of {:e}", found[place], usual[place]))
}

/// The part of a tensor that is changed.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// The later rows of a matrix; of a vector the later elements.
    Rows,
    /// The later columns of a matrix; of a vector the later elements.
    Columns,
    /// All of it: what is no element's, row's or column's own follows from all.
    All,
}

impl Part {
    const ALL: [Part; 3] = [Part::Rows, Part::Columns, Part::All];

    /// Whether a slot of this kind of shape has elements that are no part of it.
    fn leaves_some_of(self, shape_kind: u32) -> bool {
        match shape_kind {
            ROW => self == Part::Rows,
            COLUMN => self == Part::Columns,
            SCALAR | NUMBER => self == Part::All,
            _ => self != Part::All,
        }
    }

    /// Whether it has this element of a parameter.
    fn changes(self, element: usize, shape: &[i64]) -> bool {
        let (rows, columns) = sizes(shape);
        match self {
            Part::Columns if columns > 1 => element % columns >= columns / 2,
            Part::Rows | Part::Columns => element / columns >= rows / 2,
            Part::All => true,
        }
    }

    /// Changes a parameter's numbers where they are of this part.
    fn change(self, numbers: &mut [f64], shape: &[i64]) {
        let changed = numbers.iter_mut().enumerate().filter(|(element, _)| self.changes(*element, shape));
        changed.for_each(|(_, number)| *number *= FACTOR);
    }

    /// What a slot holds at places that are not its own.
    fn left(self, slot: &SlotDescriptor, end: &Snapshot, shape: &[i64]) -> Vec<f64> {
        let (_, columns) = sizes(shape);
        let is_left = |place: usize| match slot.shape_kind {
            ROW => !self.changes(place * columns, shape),
            COLUMN => !self.changes(place, shape),
            SCALAR | NUMBER => true,
            _ => !self.changes(place, shape),
        };
        let found = end.slots[0].iter().find(|(name, _)| slot.name == name.as_str());
        let numbers = found.iter().flat_map(|(_, values)| values.iter().enumerate());
        numbers.filter(|(place, _)| is_left(*place)).map(|(_, number)| *number).collect()
    }
}

/// Rows and columns; a vector is one column.
fn sizes(shape: &[i64]) -> (usize, usize) {
    match shape {
        [rows, columns] => (*rows as usize, *columns as usize),
        _ => (shape.iter().product::<i64>() as usize, 1),
    }
}
