//! How long a step takes.
//! Times nothing; the numbers are those of `metrics.jsonl`.

use super::history::TrainPoint;

/// Steps at the beginning that are slower than the rest: memory is taken, kernels are compiled.
const WARM_UP: usize = 10;

/// Median wall time of a step in milliseconds, without the first ten steps (of short runs, without the first half).
pub fn milliseconds_per_step(steps: &[TrainPoint]) -> Option<f64> {
    let mut times: Vec<f64> = steps[WARM_UP.min(steps.len() / 2)..].iter().map(|point| point.milliseconds).collect();
    times.sort_by(f64::total_cmp);
    let middle = times.len().checked_sub(1)? / 2;
    let upper = times.len() / 2;
    Some((times[middle] + times[upper]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_without_the_first_steps() {
        let median = |times: &[f64]| {
            let point = |(step, &milliseconds): (u64, &f64)| TrainPoint {
                step,
                loss: 1.0,
                grad_norm: 1.0,
                lr: 1.0,
                milliseconds,
                tokens: step,
            };
            milliseconds_per_step(&(1..).zip(times).map(point).collect::<Vec<_>>())
        };
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[900.0, 7.0]), Some(7.0));
        assert_eq!(median(&[900.0, 800.0, 9.0, 5.0]), Some(7.0));
        let mut long = vec![900.0; WARM_UP];
        long.extend([3.0, 9.0, 5.0, 4.0, 8.0, 7.0, 6.0, 1.0, 2.0, 1000.0, 5.5]);
        assert_eq!(median(&long), Some(5.5));
    }
}
