//! Hyper-parameters to check a rule at: defaults, every setting of flags and choices, values along a range.
//! Runs nothing.

use super::{numbers::Numbers, subject::Subject};
use crate::abi::HyperDescriptor;

/// The defaults, and the defaults with each flag and choice at each of its other values.
pub fn switched(subject: &dyn Subject) -> Vec<Vec<f64>> {
    let defaults = subject.defaults();
    let mut all = vec![defaults.clone()];
    for (k, hyper) in subject.schema().iter().enumerate().filter(|(_, hyper)| is_switch(hyper)) {
        for value in 0..=hyper.high as usize {
            if value as f64 != defaults[k] {
                let mut other = defaults.clone();
                other[k] = value as f64;
                all.push(other);
            }
        }
    }
    all
}

/// Whether it is a flag or a choice.
pub fn is_switch(hyper: &HyperDescriptor) -> bool {
    hyper.kind != "number"
}

/// Values of one hyper-parameter other than `now`: all of a switch; of a number some near it, and some along its range.
pub fn others(hyper: &HyperDescriptor, now: f64) -> Vec<f64> {
    let mut values: Vec<f64> = if is_switch(hyper) {
        (0..=hyper.high as usize).map(|value| value as f64).collect()
    } else {
        let near = [now * 0.5, now * 2.0, 1.0 - (1.0 - now) * 8.0, now + 1.0];
        let along = [0.5, 0.1, 1e-3, 3.0, 10.0, 0.0].into_iter().chain([hyper.low, hyper.high]);
        near.into_iter().chain(along).collect()
    };
    values.retain(|value| value.is_finite() && (hyper.low..=hyper.high).contains(value) && *value != now);
    let mut seen: Vec<f64> = Vec::new();
    values.retain(|value| {
        !seen.contains(value) && {
            seen.push(*value);
            true
        }
    });
    values
}

/// Settings in which a hyper-parameter may come to matter: the defaults, those with what is switched off by a zero
/// switched on, both with every switch at every value, and then draws.
pub fn bases(subject: &dyn Subject, draws: usize) -> Vec<Vec<f64>> {
    let woken: Vec<f64> = subject.schema().iter().map(woken).collect();
    let mut all = switched(subject);
    let of_woken: Vec<Vec<f64>> = all
        .iter()
        .map(|base| {
            let pairs = base.iter().zip(&woken).zip(subject.schema());
            pairs.map(|((base, woken), hyper)| if is_switch(hyper) { *base } else { *woken }).collect()
        })
        .collect();
    all.splice(1..1, of_woken);
    let mut numbers = Numbers::of(41);
    for _ in 0..draws {
        let drawn = subject.schema().iter().map(|hyper| {
            let values = others(hyper, hyper.default);
            let keeps = !is_switch(hyper) && numbers.below(3) > 0;
            if keeps || values.is_empty() { hyper.default } else { values[numbers.below(values.len())] }
        });
        all.push(drawn.collect());
    }
    all
}

/// A number that is off by default (a decay, a momentum), on.
fn woken(hyper: &HyperDescriptor) -> f64 {
    if hyper.default != 0.0 || is_switch(hyper) {
        return hyper.default;
    }
    0.125_f64.clamp(hyper.low, hyper.high)
}

/// A setting as text: what differs from the defaults.
pub fn text(subject: &dyn Subject, values: &[f64]) -> String {
    let rows = subject.schema().iter().zip(values).filter(|(hyper, value)| hyper.default != **value);
    let rows: Vec<String> = rows.map(|(hyper, value)| format!("{} = {value}", hyper.name)).collect();
    if rows.is_empty() { "defaults".to_string() } else { rows.join(", ") }
}
