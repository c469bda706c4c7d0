//! The common problems: functions with gradients that a rule has to bring down.
//! Chooses no learning rate.

use super::numbers::{Numbers, numel};
use super::subject::Start;

/// A function of one parameter.
pub struct Problem {
    /// Its name, with the shape.
    pub name: String,
    /// Where it begins.
    pub start: Start,
    /// What share of its first value is left where a rule has brought it down.
    pub share: f64,
    function: Function,
}

enum Function {
    /// ½·Σ cᵢ·(xᵢ − aᵢ)².
    Parabola { curvature: Vec<f64>, target: Vec<f64> },
    /// Σ over pairs: (1 − a)² + 100·(b − a²)².
    Rosenbrock,
    /// ½·‖X·B − A‖² over k columns.
    Products { right: Vec<f64>, target: Vec<f64>, rows: usize, columns: usize, width: usize },
    /// ½·mean (Zᵀx − y)², measured on other rows at every step.
    Squares { data: Vec<f64>, answers: Vec<f64>, batch: usize },
}

const SEED: u64 = 7;

impl Problem {
    /// All that a rule can take: where it takes no vector they are matrices of one row.
    pub fn all(accepts: &dyn Fn(&[i64]) -> bool) -> Vec<Problem> {
        let flat = |n: i64| if accepts(&[n]) { vec![n] } else { vec![n / 2, 2] };
        let mut all = vec![parabola(&flat(6)), rosenbrock(&flat(4)), products(), squares(&flat(4))];
        all.extend((1..=3).map(of_rank));
        all.retain(|problem| accepts(&problem.start.shape));
        all
    }

    /// Its value.
    pub fn value(&self, x: &[f64]) -> f64 {
        match &self.function {
            Function::Parabola { curvature, target } => {
                x.iter().zip(target).zip(curvature).map(|((x, a), c)| 0.5 * c * (x - a) * (x - a)).sum()
            }
            Function::Rosenbrock => {
                x.chunks_exact(2).map(|p| (1.0 - p[0]).powi(2) + 100.0 * (p[1] - p[0] * p[0]).powi(2)).sum()
            }
            Function::Products { .. } => 0.5 * self.residual(x).iter().map(|r| r * r).sum::<f64>(),
            Function::Squares { data, answers, .. } => {
                let rows = data.chunks_exact(x.len()).zip(answers);
                rows.map(|(z, y)| 0.5 * (dot(z, x) - y).powi(2)).sum::<f64>() / answers.len() as f64
            }
        }
    }

    /// Its gradient at a step, from 0.
    pub fn gradient(&self, x: &[f64], step: usize) -> Vec<f64> {
        match &self.function {
            Function::Parabola { curvature, target } => {
                x.iter().zip(target).zip(curvature).map(|((x, a), c)| c * (x - a)).collect()
            }
            Function::Rosenbrock => x
                .chunks_exact(2)
                .flat_map(|p| {
                    let bend = p[1] - p[0] * p[0];
                    [-2.0 * (1.0 - p[0]) - 400.0 * p[0] * bend, 200.0 * bend]
                })
                .collect(),
            Function::Products { right, rows, columns, width, .. } => {
                let residual = self.residual(x);
                let cell = |i: usize, j: usize| {
                    (0..*width).map(|k| residual[i * width + k] * right[j * width + k]).sum::<f64>()
                };
                (0..rows * columns).map(|at| cell(at / columns, at % columns)).collect()
            }
            Function::Squares { data, answers, batch } => {
                let mut gradient = vec![0.0; x.len()];
                for k in 0..*batch {
                    let row = (step * batch + k) % answers.len();
                    let z = &data[row * x.len()..(row + 1) * x.len()];
                    let off = (dot(z, x) - answers[row]) / *batch as f64;
                    gradient.iter_mut().zip(z).for_each(|(g, z)| *g += off * z);
                }
                gradient
            }
        }
    }

    fn residual(&self, x: &[f64]) -> Vec<f64> {
        let Function::Products { right, target, rows, columns, width } = &self.function else { return Vec::new() };
        let cell = |i: usize, k: usize| {
            (0..*columns).map(|j| x[i * columns + j] * right[j * width + k]).sum::<f64>() - target[i * width + k]
        };
        (0..rows * width).map(|at| cell(at / width, at % width)).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn parabola(shape: &[i64]) -> Problem {
    let mut numbers = Numbers::of(SEED);
    let n = numel(shape);
    let curvature = (0..n).map(|i| [1.0, 4.0, 0.25][i % 3]).collect();
    let function = Function::Parabola { curvature, target: numbers.column(n, 1.0) };
    Problem { name: format!("parabola {shape:?}"), start: numbers.start(shape), share: 0.1, function }
}

fn rosenbrock(shape: &[i64]) -> Problem {
    let values = [-1.2, 1.0].into_iter().cycle().take(numel(shape)).collect();
    let start = Start { shape: shape.to_vec(), values };
    Problem { name: format!("Rosenbrock {shape:?}"), start, share: 0.25, function: Function::Rosenbrock }
}

fn products() -> Problem {
    let (rows, columns, width) = (4, 3, 5);
    let mut numbers = Numbers::of(SEED + 1);
    let (right, target) = (numbers.column(columns * width, 1.0), numbers.column(rows * width, 1.0));
    let mut function = Function::Products { right, target, rows, columns, width };
    // A target that can be reached, so that shares of the value mean something.
    let reached = numbers.column(rows * columns, 1.0);
    let whole = Problem { name: String::new(), start: numbers.start(&[4, 3]), share: 0.2, function };
    let shift = whole.residual(&reached);
    function = whole.function;
    if let Function::Products { target, .. } = &mut function {
        target.iter_mut().zip(shift).for_each(|(target, shift)| *target += shift);
    }
    Problem { name: "matrix parabola [4, 3]".into(), start: whole.start, share: 0.2, function }
}

fn squares(shape: &[i64]) -> Problem {
    let mut numbers = Numbers::of(SEED + 2);
    let (n, rows) = (numel(shape), 32);
    let (data, truth) = (numbers.column(n * rows, 1.0), numbers.column(n, 1.0));
    let answers = data.chunks_exact(n).map(|z| dot(z, &truth) + 0.05 * numbers.unit()).collect();
    let function = Function::Squares { data, answers, batch: 8 };
    let start = Start { shape: shape.to_vec(), values: truth.iter().map(|x| -x).collect() };
    Problem { name: format!("noisy least squares {shape:?}"), start, share: 0.3, function }
}

/// A parabola around the start plus a matrix of this rank, so that every gradient has at most this rank. Its rows have
/// mean 0: rules that take the mean out of a row's gradient never move along it, and say so.
fn of_rank(rank: usize) -> Problem {
    let (rows, columns) = (5, 4);
    let mut numbers = Numbers::of(SEED + 3 + rank as u64);
    let start = numbers.start(&[rows as i64, columns as i64]);
    let (left, mut right) = (numbers.column(rows * rank, 1.0), numbers.column(rank * columns, 1.0));
    for row in right.chunks_exact_mut(columns) {
        let mean = row.iter().sum::<f64>() / columns as f64;
        row.iter_mut().for_each(|value| *value -= mean);
    }
    let off = |i: usize, j: usize| (0..rank).map(|k| left[i * rank + k] * right[k * columns + j]).sum::<f64>();
    let target = start.values.iter().enumerate().map(|(at, x)| x + off(at / columns, at % columns)).collect();
    let function = Function::Parabola { curvature: vec![1.0; rows * columns], target };
    Problem { name: format!("gradients of rank {rank} [{rows}, {columns}]"), start, share: 0.1, function }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_those_of_the_values() {
        let all = Problem::all(&|_| true);
        assert_eq!(all.len(), 7);
        for problem in all.iter().filter(|problem| !matches!(problem.function, Function::Squares { .. })) {
            let x = &problem.start.values;
            let gradient = problem.gradient(x, 0);
            for i in 0..x.len() {
                let shifted = |by: f64| {
                    let mut x = x.clone();
                    x[i] += by;
                    problem.value(&x)
                };
                let slope = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                assert!((slope - gradient[i]).abs() < 1e-4 * (1.0 + slope.abs()), "{} {i}: {slope}", problem.name);
            }
        }
    }
}
