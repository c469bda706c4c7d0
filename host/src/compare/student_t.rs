//! Student's t distribution: how likely a difference as large as the one seen is by chance, and how wide an interval is.
//! Knows nothing of runs.

use libm::lgamma;

/// Probability that |T| is at least |t| with `degrees` degrees of freedom: I_x(ν/2, 1/2) with x = ν/(ν + t²)
/// (Abramowitz and Stegun 26.7.1 and 26.5.27).
pub fn two_sided_p(t: f64, degrees: f64) -> f64 {
    let square = t * t;
    if square.is_infinite() {
        return 0.0;
    }
    // Both sides of x are given, so that neither is found by subtraction.
    let sum = degrees + square;
    incomplete_beta(degrees / 2.0, 0.5, degrees / sum, square / sum)
}

/// The t whose [`two_sided_p`] is `p`, for p in (0, 1).
pub fn two_sided_t(p: f64, degrees: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while two_sided_p(high, degrees) > p && high < f64::MAX / 2.0 {
        (low, high) = (high, 2.0 * high);
    }
    // The probability falls as t grows; halving ends where two numbers have none between them.
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return high;
        }
        if two_sided_p(middle, degrees) > p { low = middle } else { high = middle }
    }
}

/// The regularized incomplete beta function I_x(a, b), with y = 1 − x.
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    // The fraction converges fast below this; above it the mirrored one does.
    if x <= (a + 1.0) / (a + b + 2.0) { by_fraction(a, b, x, y) } else { 1.0 - by_fraction(b, a, y, x) }
}

fn by_fraction(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let front = a * x.ln() + b * y.ln() - (lgamma(a) + lgamma(b) - lgamma(a + b));
    front.exp() / (a * fraction(a, b, x))
}

/// 1 + d₁/(1 + d₂/(1 + …)) of DLMF 8.17.22, by Lentz's method: numerators and denominators of the convergents as ratios.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const ENOUGH: f64 = 1e-16;
    const TERMS: u32 = 10_000;
    let not_zero = |value: f64| if value == 0.0 { f64::MIN_POSITIVE } else { value };
    let (mut value, mut above, mut below) = (1.0, 1.0, 0.0);
    for term in 1..=TERMS {
        let m = f64::from(term / 2);
        let d = match term % 2 {
            0 => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        below = 1.0 / not_zero(1.0 + d * below);
        above = not_zero(1.0 + d / above);
        value *= above * below;
        if (above * below - 1.0).abs() < ENOUGH {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-11 * expected.abs().max(1e-300), "{found:e}, expected {expected:e}");
    }

    #[test]
    fn probabilities_are_those_of_scipy() {
        // python3, scipy 1.x: 2 * scipy.stats.t.sf(abs(t), df)
        for (t, degrees, p) in [
            (0.0, 5.0, 1.0),
            (1.0, 1.0, 0.5),
            (2.0, 2.0, 0.18350341907227397),
            (2.5, 3.0, 0.08770664700806556),
            (4.6, 4.0, 0.010030893170196247),
            (-3.2, 6.0, 0.018600059024840136),
            (0.1, 9.0, 0.9225364479566812),
            (1e-3, 30.0, 0.9992087357664851),
            (25.0, 7.0, 4.179697117659435e-08),
            (6.0, 100.0, 3.172491502802852e-08),
        ] {
            assert_near(two_sided_p(t, degrees), p);
        }
        assert_eq!(two_sided_p(f64::INFINITY, 3.0), 0.0);
    }

    #[test]
    fn quantiles_are_those_of_scipy() {
        // python3: scipy.stats.t.isf(p / 2, df)
        for (p, degrees, t) in [
            (0.05, 1.0, 12.706204736174705),
            (0.05, 2.0, 4.302652729749464),
            (0.05, 4.0, 2.7764451051977943),
            (0.05, 9.0, 2.2621571627982053),
            (0.01, 30.0, 2.749995653567226),
        ] {
            assert_near(two_sided_t(p, degrees), t);
        }
    }

    #[test]
    fn the_incomplete_beta_function_is_that_of_scipy() {
        // python3: scipy.special.betainc(a, b, x)
        for (a, b, x, value) in [
            (0.5, 0.5, 0.3, 0.36901011956554536),
            (2.0, 3.0, 0.4, 0.5248),
            (50.0, 0.5, 0.9, 0.001204149832559813),
            (10.0, 10.0, 0.5, 0.5),
            (1.0, 1.0, 0.25, 0.25),
            (4.5, 0.5, 0.01, 2.597549811426686e-10),
        ] {
            assert_near(incomplete_beta(a, b, x, 1.0 - x), value);
        }
    }

    proptest! {
        /// With one and with two degrees of freedom the distribution is elementary.
        #[test]
        fn closed_forms(t in 1e-6..1e6_f64) {
            let cauchy = 2.0 / std::f64::consts::PI * (1.0 / t).atan();
            prop_assert!((two_sided_p(t, 1.0) - cauchy).abs() < 1e-12);
            let two = 2.0 / ((t * t + 2.0) * (1.0 + t / (t * t + 2.0).sqrt()));
            prop_assert!((two_sided_p(t, 2.0) - two).abs() < 1e-12);
        }

        #[test]
        fn quantiles_invert_probabilities(p in 1e-9..0.999_f64, degrees in 1_u32..200) {
            let degrees = f64::from(degrees);
            prop_assert!((two_sided_p(two_sided_t(p, degrees), degrees) - p).abs() < 1e-9 * p);
        }
    }
}
