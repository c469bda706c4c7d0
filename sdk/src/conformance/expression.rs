//! Level 6: kernels against the recorded expression, element by element, bit for bit.
//! The expression is run by the tape's interpreter; other devices are compared with the CPU.

use super::interpreted::Interpreted;
use super::numbers::Numbers;
use super::settings;
use super::subject::{Snapshot, Subject, Way, formats};
use super::trajectory::{Trajectory, apart};
use super::verdict::{Outcome, Trouble};
use crate::{Device, tape};

const SEED: u64 = 53;
/// Whole tiles of a kernel and a rest.
const N: i64 = 321;
/// How far apart what is not portable may be, relative to its size.
const NEAR: f64 = 1e-2;

fn trajectory() -> Trajectory {
    let mut trajectory = Trajectory::of(SEED, &[(&[N], 1.0), (&[7], 0.25)], 4);
    let mut numbers = Numbers::of(SEED + 1);
    // One in sixteen from the corners.
    for value in trajectory.grads.iter_mut().flatten().flatten() {
        if numbers.below(16) == 0 {
            *value = [0.0, -0.0, 1e-6, 64.0][numbers.below(4)];
        }
    }
    trajectory
}

/// The kernel has the bits of the expression, at every setting of flags and choices and in every storage format.
pub fn kernel(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let expression = Interpreted::of(subject);
    against(subject, &expression, Device::Cpu, "kernel and expression")
}

/// A CUDA card has the bits of the CPU.
pub fn cuda(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let way = Way { device: Device::Cuda, ..Way::default() };
    if let Err(trouble) = trajectory_for(subject).begin(subject, &subject.defaults(), way) {
        return if trouble.panicked {
            Err(trouble)
        } else {
            Ok(Outcome::skipped(format!("not run: {}", trouble.text)))
        };
    }
    against(subject, subject, Device::Cuda, "CPU and card")
}

fn trajectory_for(subject: &dyn Subject) -> Trajectory {
    if subject.accepts(&[7]) { trajectory() } else { Trajectory::of(SEED, &[(&[4, 3], 1.0)], 4) }
}

/// Compares the subject on a device with a reference on the CPU.
fn against(subject: &dyn Subject, reference: &dyn Subject, device: Device, what: &str) -> Result<Outcome, Trouble> {
    let (all, trajectory) = (settings::switched(subject), trajectory_for(subject));
    let mut portable = true;
    for hyper in &all {
        let exact = match subject.record(hyper)? {
            Some(nodes) => tape::portable(&nodes),
            None if device == Device::Cpu => {
                return Ok(Outcome::skipped("a rule over whole tensors has no recorded expression"));
            }
            None => false,
        };
        portable &= exact;
        for usual in formats(subject, hyper)? {
            let way = Way { device, ..usual };
            let a = trajectory.end(subject, hyper, way)?;
            let b = trajectory.end(reference, hyper, usual)?;
            let found = if exact { apart(&a, &b) } else { far_apart(&a, &b) };
            if let Some(found) = found {
                let setting = settings::text(subject, hyper);
                return Ok(Outcome::failed(format!("{found} by {what}, {} at {setting}", usual.format())).seeded(SEED));
            }
        }
    }
    let bits = if portable { "the same bits" } else { "nearly the same numbers: the rule is not portable" };
    Ok(Outcome::passed(format!("{bits} at {} settings", all.len())))
}

/// The first parameter's element that is not near.
fn far_apart(a: &Snapshot, b: &Snapshot) -> Option<String> {
    for (index, (a, b)) in a.parameters.iter().zip(&b.parameters).enumerate() {
        let far = |(a, b): (&f64, &f64)| (a - b).abs() > NEAR * (1.0 + a.abs().max(b.abs()));
        if let Some(place) = a.iter().zip(b).position(far) {
            return Some(format!("parameter {index}[{place}] is {:e} and {:e}", a[place], b[place]));
        }
    }
    None
}
