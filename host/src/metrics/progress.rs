//! How far training has come, on standard error: one bar where it is a terminal, now and then a line elsewhere.
//! Does not log and does not keep numbers.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::Screen;

/// A bar that is drawn more often than this is not read better.
const REDRAW: Duration = Duration::from_millis(60);

/// Without a terminal, a line comes at least this often.
const SILENCE: Duration = Duration::from_secs(30);

/// What is shown of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// From 1.
    pub step: u64,
    /// Nats per token.
    pub loss: f64,
    /// Bits per byte, where known.
    pub bpb: Option<f64>,
    /// Throughput.
    pub tokens_per_second: f64,
}

/// Progress of one run. Dropped, the bar is taken away.
#[derive(Debug)]
pub struct Progress {
    screen: Screen,
    bar: Option<ProgressBar>,
    done_before: u64,
    steps: u64,
    begun: Instant,
    last: Option<Instant>,
}

impl Progress {
    /// Begins after `done` of `steps` steps.
    pub fn begin(screen: &Screen, done: u64, steps: u64) -> Progress {
        let bar = screen.is_terminal().then(|| {
            let style = ProgressStyle::with_template("{pos}/{len} [{wide_bar}] {msg}");
            let bar = ProgressBar::new(steps).with_position(done);
            screen.bar(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")))
        });
        Progress { screen: screen.clone(), bar, done_before: done, steps, begun: Instant::now(), last: None }
    }

    /// Shows a step, if it is time.
    pub fn step(&mut self, shown: &Shown) {
        let since = self.last.map_or(Duration::MAX, |last| last.elapsed());
        let due = match &self.bar {
            Some(_) => since >= REDRAW || shown.step == self.steps,
            None => line_due(shown.step, self.done_before, self.steps, since),
        };
        if !due {
            return;
        }
        self.last = Some(Instant::now());
        let here = shown.step.saturating_sub(self.done_before).max(1);
        let left = self.steps.saturating_sub(shown.step);
        let eta = self.begun.elapsed().mul_f64(left as f64 / here as f64);
        match &self.bar {
            Some(bar) => {
                bar.set_message(numbers(shown, eta));
                bar.set_position(shown.step);
            }
            None => self.screen.line(&format!("step {}/{}  {}", shown.step, self.steps, numbers(shown, eta))),
        }
    }

    /// Takes the bar away; what was shown is in the metrics.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The first step, the last, every twentieth of the way, and whenever it was quiet for long.
fn line_due(step: u64, done_before: u64, steps: u64, since: Duration) -> bool {
    let twentieth = |step: u64| u128::from(step) * 20 / u128::from(steps.max(1));
    step == done_before + 1 || twentieth(step) != twentieth(step.saturating_sub(1)) || since >= SILENCE
}

fn numbers(shown: &Shown, eta: Duration) -> String {
    let bpb = shown.bpb.map_or(String::new(), |bpb| format!("  bpb {bpb:.4}"));
    format!("loss {:.4}{bpb}  {} tokens/s  eta {}", shown.loss, short(shown.tokens_per_second), duration(eta))
}

/// Three significant digits: `950`, `12.3k`, `4.56M`.
fn short(number: f64) -> String {
    let (value, unit) = match number {
        n if n >= 999.5e6 => (n / 1e9, "G"),
        n if n >= 999.5e3 => (n / 1e6, "M"),
        n if n >= 999.5 => (n / 1e3, "k"),
        n => return format!("{n:.0}"),
    };
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}{unit}")
}

/// `7s`, `3m05s`, `2h07m`, `3d04h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_sensible_intervals() {
        let due = |done, steps| (done + 1..=steps).filter(|&s| line_due(s, done, steps, Duration::ZERO)).count();
        for (done, steps, expected) in [(0, 2000, 21), (1000, 2000, 11), (0, 3, 3), (0, 1_000_000, 21), (3, 3, 0)] {
            assert_eq!(due(done, steps), expected, "{done}..{steps}");
        }
        assert!(line_due(2000, 0, 2000, Duration::ZERO), "the last");
        assert!(line_due(1234, 0, 2000, SILENCE), "after a long silence");
        assert!(!line_due(1234, 0, 2000, Duration::from_secs(1)));
    }

    #[test]
    fn numbers_for_people() {
        for (number, text) in [
            (0.0, "0"),
            (950.4, "950"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (4_560_000.0, "4.56M"),
            (99.96e6, "100M"),
        ] {
            assert_eq!(short(number), text);
        }
        for (seconds, text) in [(0, "0s"), (59, "59s"), (185, "3m05s"), (7620, "2h07m"), (273_600, "3d04h")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        let shown = Shown { step: 7, loss: 1.23456, bpb: Some(1.7811), tokens_per_second: 45_600.0 };
        assert_eq!(numbers(&shown, Duration::from_secs(62)), "loss 1.2346  bpb 1.7811  45.6k tokens/s  eta 1m02s");
        assert_eq!(numbers(&Shown { bpb: None, ..shown }, Duration::ZERO), "loss 1.2346  45.6k tokens/s  eta 0s");
    }
}
