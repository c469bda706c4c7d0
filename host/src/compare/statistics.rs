//! Mean and spread over seeds, and whether two arms differ: a paired t-test, and Holm's correction for many of them.
//! Knows nothing of runs.

use super::student_t::{two_sided_p, two_sided_t};

/// What an interval holds of the mean, in the long run.
pub const CONFIDENCE: f64 = 0.95;

/// Mean and spread of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Sample standard deviation, with n − 1; none of a single value.
    pub std: Option<f64>,
}

impl Summary {
    /// Of values; none where there are none.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares = || values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let std = (n > 1).then(|| (squares() / (n - 1) as f64).sqrt());
        (n > 0).then_some(Summary { n, mean, std })
    }
}

/// What a paired test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Paired {
    /// Fewer than two pairs.
    TooFew {
        /// Pairs.
        pairs: usize,
    },
    /// All differences are the same number, so that their spread says nothing.
    Constant {
        /// Pairs.
        pairs: usize,
        /// That number.
        difference: f64,
    },
    /// A test.
    Tested(Tested),
}

/// A two-sided paired t-test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// Pairs.
    pub pairs: usize,
    /// Mean difference.
    pub difference: f64,
    /// The interval of the mean difference, at [`CONFIDENCE`].
    pub interval: (f64, f64),
    /// Mean difference over its standard error.
    pub t: f64,
    /// Probability of a |t| at least as large where the arms do not differ.
    pub p: f64,
}

/// Tests whether the mean of paired differences is zero (Student 1908).
pub fn paired(differences: &[f64]) -> Paired {
    let pairs = differences.len();
    let Some(Summary { mean: difference, std: Some(std), .. }) = Summary::of(differences) else {
        return Paired::TooFew { pairs };
    };
    if differences.iter().all(|other| *other == differences[0]) {
        return Paired::Constant { pairs, difference: differences[0] };
    }
    let (error, degrees) = (std / (pairs as f64).sqrt(), (pairs - 1) as f64);
    let t = difference / error;
    let half = two_sided_t(1.0 - CONFIDENCE, degrees) * error;
    let interval = (difference - half, difference + half);
    Paired::Tested(Tested { pairs, difference, interval, t, p: two_sided_p(t, degrees) })
}

/// Probabilities corrected for their number: the k-th smallest of m is multiplied by m − k + 1, and is at least the one
/// before it (Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure").
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut corrected = vec![0.0; probabilities.len()];
    let mut least = 0.0_f64;
    for (before, &index) in order.iter().enumerate() {
        let factor = (probabilities.len() - before) as f64;
        least = least.max((factor * probabilities[index]).min(1.0));
        corrected[index] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= 1e-10 * expected.abs().max(1.0)
    }

    #[test]
    fn mean_and_sample_deviation() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[3.0]), Some(Summary { n: 1, mean: 3.0, std: None }));
        // python3: statistics.stdev([2, 4, 4, 4, 5, 5, 7, 9])
        let summary = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((summary.n, summary.mean), (8, 5.0));
        assert!(near(summary.std.unwrap(), 2.138_089_935_299_395));
    }

    #[test]
    fn the_test_is_that_of_scipy() {
        // python3: r = scipy.stats.ttest_rel(a, b); r, r.confidence_interval(0.95)
        let cases: [(&[f64], &[f64], [f64; 5]); 2] = [
            (
                &[2.101, 2.115, 2.094, 2.12, 2.108],
                &[2.131, 2.122, 2.119, 2.155, 2.129],
                [-0.0236, -4.946817336173719, 0.007778840932058799, -0.03684570931769008, -0.010354290682309695],
            ),
            (&[1.0, 2.0], &[1.5, 2.1], [-0.3, -1.5, 0.3743340836219975, -2.8412409472349385, 2.241240947234938]),
        ];
        for (a, b, [difference, t, p, low, high]) in cases {
            let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            let Paired::Tested(found) = paired(&differences) else { panic!("{differences:?}") };
            assert_eq!(found.pairs, a.len());
            for (found, expected) in [
                (found.difference, difference),
                (found.t, t),
                (found.p, p),
                (found.interval.0, low),
                (found.interval.1, high),
            ] {
                assert!(near(found, expected), "{found}, expected {expected}");
            }
        }
    }

    #[test]
    fn no_test_without_pairs_or_spread() {
        assert_eq!(paired(&[]), Paired::TooFew { pairs: 0 });
        assert_eq!(paired(&[0.5]), Paired::TooFew { pairs: 1 });
        assert_eq!(paired(&[0.0, 0.0, 0.0]), Paired::Constant { pairs: 3, difference: 0.0 });
        assert_eq!(paired(&[0.25, 0.25]), Paired::Constant { pairs: 2, difference: 0.25 });
        assert!(matches!(paired(&[0.25, 0.26]), Paired::Tested(_)));
    }

    #[test]
    fn holm_by_hand() {
        let assert = |given: &[f64], expected: &[f64]| {
            let found = holm(given);
            assert!(
                found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| near(*a, *b)),
                "{found:?}"
            );
        };
        assert(&[], &[]);
        assert(&[0.03], &[0.03]);
        assert(&[0.01, 0.04, 0.03, 0.005], &[0.03, 0.06, 0.06, 0.02]);
        assert(&[0.5, 0.9, 0.6], &[1.0, 1.0, 1.0]);
        assert(&[0.02, 0.02], &[0.04, 0.04]);
    }
}
