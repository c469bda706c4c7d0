//! How the learning rate moves: a factor on every group's `lr`.
//! Does not know the learning rates.
//!
//! With `i = step − 1` the 0-based step, `W` the warm-up steps, `D` the step at which the decay ends (`decay_steps`,
//! else all steps) and `m = min_ratio`:
//!
//! ```text
//! i < W           (i + 1)/(W + 1)                          warm-up, every kind
//! i ≥ D           m                                        every kind but constant
//! cosine          m + (1 − m)·½·(1 + cos(π·r))             r = (i − W)/(D − W)
//! linear          1 − (1 − m)·r
//! constant        1
//! wsd             1 − (1 − m)·max(0, (i − S)/(D − S))      S = max(W, D·(1 − decay_fraction))
//! ```
//!
//! Warm-up and cosine are those of Karpathy's nanoGPT (`get_lr` in `train.py`); WSD is Hu et al. 2024, arXiv
//! 2404.06395, with the linear decay of its section 4.

use std::f64::consts::PI;

use crate::config::settings::{LrScheduleKind, LrScheduleSettings};

/// The factor of one step, counted from 1, of a run of `steps`.
pub fn factor(settings: &LrScheduleSettings, step: u64, steps: u64) -> f64 {
    let i = step.saturating_sub(1);
    let warmup = settings.warmup_steps;
    let end = settings.decay_steps.unwrap_or(steps);
    if i < warmup {
        return (i + 1) as f64 / (warmup + 1) as f64;
    }
    if settings.kind == LrScheduleKind::Constant {
        return 1.0;
    }
    if i >= end {
        return settings.min_ratio;
    }
    let min = settings.min_ratio;
    // Since warmup ≤ i < end, no denominator below is zero.
    let (i, warmup, end) = (i as f64, warmup as f64, end as f64);
    let ratio = (i - warmup) / (end - warmup);
    match settings.kind {
        LrScheduleKind::Cosine => min + (1.0 - min) * (0.5 * (1.0 + (PI * ratio).cos())),
        LrScheduleKind::Linear => 1.0 - (1.0 - min) * ratio,
        LrScheduleKind::Constant => 1.0,
        LrScheduleKind::Wsd => {
            let start = (end * (1.0 - settings.decay_fraction)).max(warmup);
            let into = i - start;
            if into <= 0.0 { 1.0 } else { 1.0 - (1.0 - min) * (into / (end - start)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        kind: LrScheduleKind,
        warmup_steps: u64,
        decay_steps: Option<u64>,
        min_ratio: f64,
    ) -> LrScheduleSettings {
        LrScheduleSettings { kind, warmup_steps, decay_steps, min_ratio, decay_fraction: 0.2 }
    }

    #[test]
    fn closed_forms() {
        use LrScheduleKind::*;
        let half = 0.1 + 0.9 * 0.5;
        let eighth = 0.1 + 0.9 * 0.5 * (1.0 + (PI / 8.0).cos());
        // kind, warm-up, decay end, step, steps, factor
        let table: &[(LrScheduleKind, u64, Option<u64>, u64, u64, f64)] = &[
            // nanoGPT: lr·(it + 1)/(warmup_iters + 1), so that neither the first nor the last warm-up step is 0 or full
            (Cosine, 100, None, 1, 2000, 1.0 / 101.0),
            (Cosine, 100, None, 100, 2000, 100.0 / 101.0),
            (Cosine, 100, None, 101, 2000, 1.0),
            (Cosine, 0, Some(8), 1, 8, 1.0),
            (Cosine, 0, Some(8), 2, 8, eighth),
            (Cosine, 0, Some(8), 5, 8, half),
            (Cosine, 0, Some(8), 9, 20, 0.1),
            (Cosine, 0, Some(8), 20, 20, 0.1),
            (Cosine, 4, Some(4), 5, 20, 0.1),
            (Cosine, 30, Some(8), 20, 40, 20.0 / 31.0),
            (Linear, 0, Some(10), 1, 10, 1.0),
            (Linear, 0, Some(10), 6, 10, 0.55),
            (Linear, 2, Some(12), 8, 20, 0.55),
            (Linear, 0, None, 11, 10, 0.1),
            (Constant, 0, Some(5), 1000, 10, 1.0),
            (Constant, 9, None, 5, 10, 0.5),
            (Wsd, 0, None, 1, 100, 1.0),
            (Wsd, 0, None, 81, 100, 1.0),
            (Wsd, 0, None, 91, 100, 0.55),
            (Wsd, 0, None, 101, 100, 0.1),
            (Wsd, 90, None, 91, 100, 1.0),
            (Wsd, 90, None, 96, 100, 0.55),
        ];
        for &(kind, warmup, end, step, steps, expected) in table {
            let found = factor(&settings(kind, warmup, end, 0.1), step, steps);
            assert!((found - expected).abs() < 1e-15, "{kind:?} warm-up {warmup} step {step}: {found} not {expected}");
        }
    }

    #[test]
    fn never_outside_of_its_bounds() {
        for kind in [LrScheduleKind::Cosine, LrScheduleKind::Linear, LrScheduleKind::Constant, LrScheduleKind::Wsd] {
            for (warmup, end) in [(0, None), (5, Some(5)), (7, Some(3)), (3, Some(100))] {
                for step in 1..60 {
                    let found = factor(&settings(kind, warmup, end, 0.0), step, 50);
                    assert!((0.0..=1.0).contains(&found), "{kind:?} {warmup} {end:?} {step}: {found}");
                }
            }
        }
    }
}
