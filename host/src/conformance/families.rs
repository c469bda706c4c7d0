//! Families by observation: rules that make the same steps along fixed gradients, as they are or with one hyper-parameter
//! otherwise. For rules over whole tensors, which are no expressions and so have no family on paper.

use std::sync::Arc;

use sdk::{
    Dtype,
    abi::HyperDescriptor,
    conformance::{Subject, Trajectory, Trouble, Way},
};

use super::Hosted;
use crate::registry::{
    Kind, Loaded,
    families::{Member, ordered, settings},
};

const SEED: u64 = 67;
/// Beyond a lookahead of six steps; a matrix method that refreshes its basis every ten does so once, at the first.
const STEPS: usize = 7;
/// Matrices alone, so that every rule takes part.
const SHAPES: [(&[i64], f64); 2] = [(&[4, 3], 1.0), (&[5, 5], 0.125)];
/// How near steps are that are the same, relative to the longest. In f64, so what is left is rounding.
const TOLERANCE: f64 = 1e-9;

/// Values that hyper-parameters of these names have everywhere, so that rules can be compared whose defaults differ.
const COMMON: [(&str, f64); 8] = [
    ("lr", 0.01),
    ("momentum", 0.9),
    ("beta", 0.9),
    ("beta1", 0.9),
    ("beta2", 0.99),
    ("eps", 1e-8),
    ("weight_decay", 0.1),
    ("max_grad_norm", 0.0),
];

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Families of several labels, of which one at least is a rule over whole tensors.
    pub found: Vec<Vec<Member>>,
    /// Rules over whole tensors that were compared with all others.
    pub compared: usize,
    /// Settings within their ranges with which a rule makes no step, and why.
    pub failed: Vec<(Member, String)>,
}

/// Compares the rules over whole tensors with all optimizers that are evaluated where they train.
pub fn observed<'a>(loaded: impl Iterator<Item = &'a Arc<Loaded>>) -> Observed {
    let mut observed = Observed::default();
    let mut ends: Vec<(Vec<f64>, Vec<Member>)> = Vec::new();
    let mut over_tensors: Vec<&String> = Vec::new();
    for loaded in loaded.filter(|one| one.kind == Kind::Optimizer && one.evaluation().is_none()) {
        over_tensors.extend(loaded.optimizer().map(|_| &loaded.label));
        let (hosted, mut own): (_, Option<Vec<f64>>) = (Hosted::new(loaded.clone()), None);
        for (setting, values) in settings(loaded.schema(), &common(loaded.schema(), loaded.defaults())) {
            let by_default = setting.is_none();
            let member = Member { label: loaded.label.clone(), setting };
            let steps = match steps(&hosted, &values) {
                Ok(steps) => steps,
                Err(trouble) => {
                    observed.failed.push((member, trouble.text));
                    continue;
                }
            };
            // What a setting does not change is told once.
            let Some(steps) = steps.filter(|steps| by_default || own.as_ref().is_none_or(|own| !are_near(own, steps)))
            else {
                continue;
            };
            if by_default {
                own = Some(steps.clone());
            }
            match ends.iter_mut().find(|(known, _)| are_near(known, &steps)) {
                Some((_, members)) => members.push(member),
                None => ends.push((steps, vec![member])),
            }
        }
    }
    let is_one = |member: &Member| over_tensors.contains(&&member.label);
    let found = ordered(ends).into_iter().map(|(_, members)| members);
    observed.found = found.filter(|members| members.iter().any(is_one)).collect();
    observed.compared = over_tensors.len();
    observed
}

/// Values that are common to all rules, where a rule has them and takes them.
fn common(schema: &[HyperDescriptor], mut values: Vec<f64>) -> Vec<f64> {
    for (value, hyper) in values.iter_mut().zip(schema).filter(|(_, hyper)| hyper.kind == "number") {
        let known = COMMON.iter().find(|(name, _)| hyper.name == *name);
        if let Some((_, common)) = known.filter(|(_, common)| (hyper.low..=hyper.high).contains(common)) {
            *value = *common;
        }
    }
    values
}

/// By how much every element has moved; none where gradients do not matter, as without steps, or where something is no
/// number.
fn steps(subject: &dyn Subject, hyper: &[f64]) -> Result<Option<Vec<f64>>, Trouble> {
    let (trajectory, way) = (Trajectory::of(SEED, &SHAPES, STEPS), Way::of(Dtype::F64));
    let begin = trajectory.first(way);
    let moved = |trajectory: &Trajectory| -> Result<Vec<f64>, Trouble> {
        let end = trajectory.end(subject, hyper, way)?;
        Ok(end.parameters.iter().flatten().zip(begin.iter().flatten()).map(|(new, old)| new - old).collect())
    };
    let (along, against) = (moved(&trajectory)?, moved(&trajectory.clone().with_grads(|_, g| -g))?);
    let counts = along.iter().all(|step| step.is_finite()) && !are_near(&along, &against);
    Ok(counts.then_some(along))
}

fn are_near(a: &[f64], b: &[f64]) -> bool {
    let longest = a.iter().chain(b).fold(0.0_f64, |most, step| most.max(step.abs()));
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= TOLERANCE * longest)
}
