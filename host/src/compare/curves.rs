//! Curves over steps for every arm: mean and spread over seeds.
//! Draws nothing.

use super::{
    comparison::{Comparison, Row},
    run::Run,
    statistics::Summary,
};
use crate::metrics::plot::smoothed;

/// More points than this in a curve are not seen, only stored.
const POINTS: usize = 240;

/// What is drawn of one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Name of the arm.
    pub name: String,
    /// Over the seeds that have finished, at the steps that all of them have.
    pub points: Vec<Point>,
    /// Each run that has not finished, on its own.
    pub unfinished: Vec<Vec<(f64, f64)>>,
}

/// Mean and spread at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The step.
    pub step: f64,
    /// Mean over seeds.
    pub mean: f64,
    /// One sample standard deviation below and above; none of a single seed.
    pub band: Option<(f64, f64)>,
}

/// Bits per byte of the evaluations.
pub fn validation(comparison: &Comparison) -> Vec<Curve> {
    curves(comparison, &|run| finite(run.history.val.iter().map(|point| (point.step as f64, point.bpb))))
}

/// Training loss in nats per token, smoothed within each run.
pub fn training(comparison: &Comparison) -> Vec<Curve> {
    curves(comparison, &|run| smoothed(&finite(run.history.train.iter().map(|point| (point.step as f64, point.loss)))))
}

fn finite(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    points.filter(|point| point.1.is_finite()).collect()
}

fn curves(comparison: &Comparison, of: &dyn Fn(&Run) -> Vec<(f64, f64)>) -> Vec<Curve> {
    let curve = |row: &Row| {
        let units = row.arm.units.values();
        let first = |unit: &Vec<usize>| unit.iter().copied().find(|run| row.finished.contains(run));
        let runs: Vec<Vec<(f64, f64)>> = units.filter_map(first).map(|run| of(&comparison.runs[run])).collect();
        Curve {
            name: row.arm.name.clone(),
            points: averaged(&runs),
            unfinished: row.unfinished.iter().map(|&run| thinned(&of(&comparison.runs[run]))).collect(),
        }
    };
    comparison.rows.iter().map(curve).collect()
}

/// Steps ascend in every run.
fn averaged(runs: &[Vec<(f64, f64)>]) -> Vec<Point> {
    let Some((first, rest)) = runs.split_first() else { return Vec::new() };
    let mut at = vec![0; rest.len()];
    let mut points = Vec::new();
    for &(step, value) in first {
        let mut values = vec![value];
        for (run, at) in rest.iter().zip(&mut at) {
            while run.get(*at).is_some_and(|point| point.0 < step) {
                *at += 1;
            }
            values.extend(run.get(*at).filter(|point| point.0 == step).map(|point| point.1));
        }
        if values.len() == runs.len()
            && let Some(Summary { mean, std, .. }) = Summary::of(&values)
        {
            points.push(Point { step, mean, band: std.map(|std| (mean - std, mean + std)) });
        }
    }
    thinned(&points)
}

/// Evenly taken, ends included.
fn thinned<T: Copy>(points: &[T]) -> Vec<T> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let last = points.len() - 1;
    (0..POINTS).map(|at| points[at * last / (POINTS - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_band_at_the_steps_that_all_have() {
        let runs = [vec![(1.0, 4.0), (2.0, 3.0), (4.0, 1.0)], vec![(1.0, 6.0), (3.0, 9.0), (4.0, 1.0)]];
        let spread = 2.0_f64.sqrt();
        let expected = [
            Point { step: 1.0, mean: 5.0, band: Some((5.0 - spread, 5.0 + spread)) },
            Point { step: 4.0, mean: 1.0, band: Some((1.0, 1.0)) },
        ];
        assert_eq!(averaged(&runs), expected);
        assert_eq!(averaged(&runs[..1])[1], Point { step: 2.0, mean: 3.0, band: None });
        assert_eq!(averaged(&[]), []);
    }

    #[test]
    fn thinning_keeps_the_ends() {
        let points: Vec<u32> = (0..10_000).collect();
        let thin = thinned(&points);
        assert_eq!((thin.len(), thin[0], thin[POINTS - 1]), (POINTS, 0, 9_999));
        assert!(thin.is_sorted());
        assert_eq!(thinned(&points[..7]), points[..7]);
    }
}
