//! Level 5: a rule brings the common problems down, at some learning rate of a ladder.
//! Says nothing about how fast, compared with others.

use super::numbers::norm;
use super::problems::Problem;
use super::safety::LR;
use super::subject::{Subject, Way};
use super::verdict::{Outcome, Trouble};

/// Likely rates first: the ladder is left at the first that does.
const LADDER: [f64; 9] = [0.1, 0.03, 0.3, 0.01, 1.0, 3e-3, 1e-3, 3e-4, 1e-4];
const STEPS: usize = 320;

/// Every problem falls to its share of the first value.
pub fn problems(subject: &dyn Subject) -> Result<Outcome, Trouble> {
    let all = Problem::all(&|shape| subject.accepts(shape));
    if all.is_empty() {
        return Ok(Outcome::failed("it takes none of the problems' shapes"));
    }
    let mut rates = Vec::new();
    for problem in &all {
        let mut best = (f64::INFINITY, 0.0);
        for hyper in ladder(subject) {
            let left = share_left(subject, problem, &hyper)?;
            let rate = subject.index_of(LR).map_or(0.0, |lr| hyper[lr]);
            if left < best.0 {
                best = (left, rate);
            }
            if left <= problem.share {
                break;
            }
        }
        let (left, rate) = best;
        if left > problem.share {
            let text = format!("{}: {left:.3} of the first value is left at best (lr = {rate})", problem.name);
            return Ok(Outcome::failed(format!("{text}, {} is asked for", problem.share)));
        }
        rates.push(format!("{} at {rate}", problem.name));
    }
    Ok(Outcome::passed(rates.join("; ")))
}

/// The defaults with every rate, or as they are where there is none.
fn ladder(subject: &dyn Subject) -> Vec<Vec<f64>> {
    let defaults = subject.defaults();
    let Some(lr) = subject.index_of(LR) else { return vec![defaults] };
    let schema = &subject.schema()[lr];
    let rates = LADDER.into_iter().filter(|rate| (schema.low..=schema.high).contains(rate));
    let with = |rate| {
        let mut hyper = defaults.clone();
        hyper[lr] = rate;
        hyper
    };
    rates.map(with).collect()
}

/// The least share of the first value that was seen; the steps stop once it is enough.
fn share_left(subject: &dyn Subject, problem: &Problem, hyper: &[f64]) -> Result<f64, Trouble> {
    let mut run = subject.begin(hyper, std::slice::from_ref(&problem.start), Way::default())?;
    let (mut x, first) = (problem.start.values.clone(), problem.value(&problem.start.values));
    let mut least = f64::INFINITY;
    for step in 0..STEPS {
        let gradient: Vec<f64> = problem.gradient(&x, step).iter().map(|g| f64::from(*g as f32)).collect();
        if gradient.iter().any(|g| !g.is_finite()) {
            return Ok(f64::INFINITY);
        }
        let norm = norm(std::slice::from_ref(&gradient));
        run.step(&[gradient], norm)?;
        x = run.snapshot().parameters.swap_remove(0);
        let share = problem.value(&x) / first;
        if !share.is_finite() {
            return Ok(f64::INFINITY);
        }
        least = least.min(share);
        if least <= problem.share {
            break;
        }
    }
    Ok(least)
}
