//! Level 3: the same bits, whatever the way they are made.
//! Compares a rule with itself only; with its expression is level 6.

use super::settings;
use super::subject::{Subject, Way, formats};
use super::trajectory::{Trajectory, apart};
use super::verdict::{Outcome, Trouble};
use crate::Dtype;
use crate::cpu::Isa;

const SEED: u64 = 23;
/// One element, around a vector register, and beyond a block of sums.
const LENGTHS: [i64; 5] = [1, 7, 8, 9, 4097];
const MATRICES: [&[i64]; 4] = [&[1, 1], &[7, 1], &[8, 9], &[17, 33]];
/// Enough that threads are woken.
const MANY: i64 = 40_000;

fn shapes(subject: &dyn Subject) -> Vec<Vec<i64>> {
    if subject.is_over_elements() {
        LENGTHS.iter().map(|&n| vec![n]).collect()
    } else {
        MATRICES.iter().filter(|shape| subject.accepts(shape)).map(|shape| shape.to_vec()).collect()
    }
}

fn trajectory(subject: &dyn Subject, steps: usize) -> Trajectory {
    let shapes = shapes(subject);
    let shapes: Vec<(&[i64], f64)> = shapes.iter().map(|shape| (&shape[..], 1.0)).collect();
    Trajectory::of(SEED, &shapes, steps)
}

/// Ends of the usual way and of another, compared.
fn compare(subject: &dyn Subject, trajectory: &Trajectory, ways: &[(Way, Way)]) -> Result<Option<Outcome>, Trouble> {
    let hyper = subject.defaults();
    for (usual, other) in ways {
        let (a, b) = (trajectory.end(subject, &hyper, *usual)?, trajectory.end(subject, &hyper, *other)?);
        if let Some(what) = apart(&a, &b) {
            return Ok(Some(Outcome::failed(format!("{what}, by {usual:?} and {other:?}")).seeded(SEED)));
        }
    }
    Ok(None)
}

/// Two runs of the same steps.
pub fn repeats(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let trajectory = trajectory(subject, 4);
    let ways: Vec<(Way, Way)> = formats(subject, &subject.defaults())?.into_iter().map(|way| (way, way)).collect();
    Ok(compare(subject, &trajectory, &ways)?.unwrap_or_else(|| Outcome::passed(format!("{:?}", shapes(subject)))))
}

/// Chunks of any size.
pub fn chunks(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    if !subject.is_over_elements() {
        return Ok(Outcome::passed("a rule over whole tensors is not cut into chunks"));
    }
    let sizes = [1, 5, 64, 1000, 4096];
    let formats = formats(subject, &subject.defaults())?.into_iter().filter(|way| way.dtype == Dtype::F32);
    let ways: Vec<(Way, Way)> = formats.flat_map(|way| sizes.map(|chunk| (way, Way { chunk, ..way }))).collect();
    Ok(compare(subject, &trajectory(subject, 3), &ways)?.unwrap_or_else(|| Outcome::passed(format!("{sizes:?}"))))
}

/// Every instruction set of this machine, in every storage format.
pub fn instruction_sets(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    if !subject.is_over_elements() {
        return Ok(Outcome::passed("a rule over whole tensors has no kernel of its own"));
    }
    let sets: Vec<Isa> = Isa::all_of_this_machine().collect();
    let ways: Vec<(Way, Way)> = formats(subject, &subject.defaults())?
        .into_iter()
        .flat_map(|way| sets.iter().map(move |&isa| (way, Way { isa, ..way })))
        .collect();
    let names: Vec<String> = sets.iter().map(|isa| isa.to_string()).collect();
    Ok(compare(subject, &trajectory(subject, 3), &ways)?.unwrap_or_else(|| Outcome::passed(names.join(", "))))
}

/// Any number of threads.
pub fn threads(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let usual = Way { chunk: 4096, ..Way::default() };
    let many =
        if subject.is_over_elements() { Trajectory::of(SEED, &[(&[MANY], 1.0)], 2) } else { trajectory(subject, 2) };
    let ways = [2, 3].map(|threads| (usual, Way { threads, ..usual }));
    Ok(match compare(subject, &many, &ways)? {
        None => Outcome::passed("1, 2, 3"),
        Some(apart) if subject.is_over_elements() => apart,
        // Not the rule's doing: its operations are libtorch's, and products of matrices are added up by thread.
        Some(apart) => Outcome::warning(format!("libtorch's operations follow the threads: {}", apart.detail)),
    })
}

/// Saved in the middle and loaded into another run.
pub fn save_and_load(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let trajectory = trajectory(subject, 6);
    let all = settings::switched(subject);
    let mut ways = Vec::new();
    for hyper in &all {
        ways.extend(formats(subject, hyper)?.into_iter().filter(|way| way.dtype == Dtype::F32).map(|way| (hyper, way)));
    }
    for (hyper, way) in ways {
        let mut whole = trajectory.begin(subject, hyper, way)?;
        trajectory.steps(&mut *whole, way, 0..3)?;
        let saved = whole.snapshot();
        trajectory.steps(&mut *whole, way, 3..6)?;
        let mut resumed = trajectory.begin(subject, hyper, way)?;
        resumed.resume(&saved)?;
        trajectory.steps(&mut *resumed, way, 3..6)?;
        if let Some(what) = apart(&whole.snapshot(), &resumed.snapshot()) {
            let setting = settings::text(subject, hyper);
            return Ok(Outcome::failed(format!("{what}, in one go and resumed, at {setting}")).seeded(SEED));
        }
    }
    Ok(Outcome::passed(format!("{} settings", all.len())))
}

/// Nothing is written but the elements of the chunk, and the gradient is read only.
pub fn stays_inside(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let hyper = subject.defaults();
    for shape in shapes(subject) {
        for way in formats(subject, &hyper)? {
            if let Some(what) = subject.writes_outside(&hyper, &shape, way)? {
                return Ok(Outcome::failed(format!("{what}, {} of shape {shape:?}", way.format())).seeded(SEED));
            }
        }
    }
    Ok(Outcome::passed(format!("{:?}", shapes(subject))))
}
