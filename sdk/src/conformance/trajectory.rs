//! Steps along gradients that a seed gives, whatever the parameters do: what bits are compared on.
//! Compares nothing.

use super::numbers::{Numbers, norm, numel, rounded};
use super::subject::{Run, Snapshot, Start, Subject, Way};
use super::verdict::Trouble;

/// Parameters and gradients of some steps.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// Parameters before the first step.
    pub start: Vec<Start>,
    /// Gradients by step and parameter.
    pub grads: Vec<Vec<Vec<f64>>>,
}

impl Trajectory {
    /// Of parameters of these shapes; the gradients of each are multiplied by its factor.
    pub fn of(seed: u64, shapes: &[(&[i64], f64)], steps: usize) -> Trajectory {
        let mut numbers = Numbers::of(seed);
        let start: Vec<Start> = shapes.iter().map(|(shape, _)| numbers.start(shape)).collect();
        let grads = (0..steps)
            .map(|_| shapes.iter().map(|(shape, factor)| numbers.column(numel(shape), *factor)).collect())
            .collect();
        Trajectory { start, grads }
    }

    /// The same with other gradients: each number as `f` has it, by parameter.
    pub fn with_grads(mut self, f: impl Fn(usize, f64) -> f64) -> Trajectory {
        for step in &mut self.grads {
            for (index, column) in step.iter_mut().enumerate() {
                column.iter_mut().for_each(|g| *g = f(index, *g));
            }
        }
        self
    }

    /// Another begin, with the numbers that the way's element type can hold.
    pub fn begin<'a>(&self, subject: &'a dyn Subject, hyper: &[f64], way: Way) -> Result<Box<dyn Run + 'a>, Trouble> {
        let round = |start: &Start| Start {
            shape: start.shape.clone(),
            values: start.values.iter().map(|value| rounded(*value, way.dtype)).collect(),
        };
        subject.begin(hyper, &self.start.iter().map(round).collect::<Vec<_>>(), way)
    }

    /// Makes the steps of a range.
    pub fn steps(&self, run: &mut dyn Run, way: Way, range: std::ops::Range<usize>) -> Result<(), Trouble> {
        for step in &self.grads[range] {
            let rounded: Vec<Vec<f64>> =
                step.iter().map(|column| column.iter().map(|g| rounded(*g, way.dtype)).collect()).collect();
            run.step(&rounded, norm(&rounded))?;
        }
        Ok(())
    }

    /// All steps, and what they make.
    pub fn end(&self, subject: &dyn Subject, hyper: &[f64], way: Way) -> Result<Snapshot, Trouble> {
        let mut run = self.begin(subject, hyper, way)?;
        self.steps(&mut *run, way, 0..self.grads.len())?;
        Ok(run.snapshot())
    }

    /// The parameters at the beginning, as an element type holds them.
    pub fn first(&self, way: Way) -> Vec<Vec<f64>> {
        self.start.iter().map(|start| start.values.iter().map(|v| rounded(*v, way.dtype)).collect()).collect()
    }
}

/// The first difference between two snapshots, in words.
pub fn apart(a: &Snapshot, b: &Snapshot) -> Option<String> {
    let at = |what: String, (place, a, b): (usize, f64, f64)| format!("{what}[{place}] is {a:e} and {b:e}");
    for (index, (a, b)) in a.parameters.iter().zip(&b.parameters).enumerate() {
        if let Some(found) = super::numbers::difference(a, b) {
            return Some(at(format!("parameter {index}"), found));
        }
    }
    for (index, (a, b)) in a.slots.iter().zip(&b.slots).enumerate() {
        for ((name, a), (_, b)) in a.iter().zip(b) {
            if let Some(found) = super::numbers::difference(a, b) {
                return Some(at(format!("slot `{name}` of parameter {index}"), found));
            }
        }
    }
    super::numbers::difference(&a.memory, &b.memory).map(|found| at("memory".into(), found))
}
