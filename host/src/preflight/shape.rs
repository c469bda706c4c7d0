//! The shape of the gate's runs: the fleet's, but short, and with one thing changed at a time.
//! Resolves no settings.

use crate::{
    config::{
        Flags, Settings, Value,
        check::is_idle,
        choice::Choice,
        settings::{LrScheduleKind, LrScheduleSettings, OperationSettings},
    },
    optim::lr_schedule,
};

use super::sending::{with, without};

/// Steps of a run of the gate, where the fleet's runs are longer and nobody says otherwise.
const STEPS: u64 = 50;

/// Steps that are made after the last scheduled operation.
const AFTER_OPERATIONS: u64 = 10;

/// Steps of the gate's runs: few, but all scheduled operations happen in them.
pub fn steps(fleet: u64, operations: &[OperationSettings]) -> u64 {
    let reach = operations.iter().fold(0u64, |sum, one| sum.saturating_add(one.max_wait_steps.unwrap_or(0)));
    let wanted = if operations.is_empty() { STEPS } else { STEPS.max(reach.saturating_add(AFTER_OPERATIONS)) };
    wanted.min(fleet)
}

/// Flags of a run of `steps` steps: the learning-rate schedule is shortened in proportion, nothing is saved or sampled
/// before the end, nor evaluated, unless an operation waits for an evaluation: then evaluations are as many as the
/// fleet's, whoever says so, for they decide when it fires. What the user said of the other keys stays.
pub fn shortened(flags: Flags, settings: &Settings, steps: u64) -> Flags {
    let fleet = settings.train.steps;
    let share = |of: u64| (u128::from(of) * u128::from(steps)).div_ceil(u128::from(fleet.max(1))).to_string();
    let triggered = settings.schedule.iter().any(|one| one.trigger_loss.is_some());
    let mut sets = vec![
        ("train.eval_every", if triggered { share(settings.train.eval_every) } else { "0".to_string() }),
        ("run.checkpoint_every", "0".to_string()),
        ("run.sample_tokens", "0".to_string()),
    ];
    if steps < fleet {
        let schedule = &settings.lr_schedule;
        sets.push(("lr_schedule.warmup_steps", share(schedule.warmup_steps)));
        sets.extend(schedule.decay_steps.map(|decay| ("lr_schedule.decay_steps", share(decay.max(1)))));
    }
    let mut flags = with(flags, "train.steps", Value::Integer(steps));
    if triggered {
        flags = without(flags, &["train.eval_every"]);
        flags.sets.retain(|set| key_of(set) != "train.eval_every");
    }
    for (key, value) in sets {
        if !flags.sets.iter().any(|set| key_of(set) == key) {
            flags.sets.push(format!("{key}={value}"));
        }
    }
    flags
}

/// Flags with another learning-rate schedule than `settings` have, and what was changed, in words. It differs at some
/// step after the warm-up if any kind of schedule does.
pub fn another_schedule(flags: Flags, settings: &Settings) -> (Flags, String) {
    let (schedule, steps) = (&settings.lr_schedule, settings.train.steps);
    let changed = other(schedule, steps);
    let mut told: Vec<(&str, String, String)> = Vec::new();
    if changed.kind != schedule.kind {
        told.push(("lr_schedule.kind", schedule.kind.name().into(), changed.kind.name().into()));
    }
    if changed.min_ratio != schedule.min_ratio {
        told.push(("lr_schedule.min_ratio", schedule.min_ratio.to_string(), changed.min_ratio.to_string()));
    }
    if changed.warmup_steps != schedule.warmup_steps {
        told.push(("lr_schedule.warmup_steps", schedule.warmup_steps.to_string(), changed.warmup_steps.to_string()));
    }
    let settings = Settings { lr_schedule: changed, ..settings.clone() };
    let mut flags = flags;
    // What the new schedule does not look at would be refused beside it.
    flags.sets.retain(|set| {
        let key = key_of(set);
        !is_idle(key, &settings) && told.iter().all(|(other, ..)| *other != key)
    });
    flags.sets.extend(told.iter().map(|(key, _, value)| format!("{key}={value}")));
    let words: Vec<String> = told.iter().map(|(key, from, to)| format!("{key} {from} → {to}")).collect();
    (flags, words.join(", "))
}

fn other(schedule: &LrScheduleSettings, steps: u64) -> LrScheduleSettings {
    use LrScheduleKind::{Constant, Cosine, Linear, Wsd};
    let kinds = [Linear, Cosine, Wsd, Constant].map(|kind| LrScheduleSettings { kind, ..schedule.clone() });
    let steeper = LrScheduleSettings {
        kind: Linear,
        min_ratio: if schedule.min_ratio == 0.0 { 0.5 } else { 0.0 },
        ..schedule.clone()
    };
    // Where no kind makes a difference, the whole run is warm-up, or it has one step.
    let warmup_steps = if schedule.warmup_steps == 0 { 1 } else { schedule.warmup_steps - 1 };
    let warmer = LrScheduleSettings { warmup_steps, ..schedule.clone() };
    let differs = |one: &LrScheduleSettings| {
        (1..=steps).any(|step| lr_schedule::factor(one, step, steps) != lr_schedule::factor(schedule, step, steps))
    };
    kinds.into_iter().chain([steeper]).find(differs).unwrap_or(warmer)
}

/// Another learning rate that the plugin takes: twice, or where that is too large, half of it.
pub fn another_lr(lr: f64, high: f64) -> f64 {
    if 2.0 * lr <= high { 2.0 * lr } else { lr / 2.0 }
}

fn key_of(set: &str) -> &str {
    set.split('=').next().unwrap_or(set)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Variables, examine, settings::OnError};

    fn settings(flags: &Flags) -> Settings {
        let (resolved, faults) = examine(flags, &Variables::new(), Path::new("/"));
        faults.check().unwrap_or_else(|faults| panic!("{faults}"));
        resolved.settings
    }

    fn operation(wait: u64) -> OperationSettings {
        OperationSettings {
            name: "freeze-layer".into(),
            value: None,
            trigger_loss: None,
            max_wait_steps: Some(wait),
            reevaluate: false,
            on_error: OnError::Stop,
            note: None,
            hyper: Default::default(),
        }
    }

    #[test]
    fn runs_are_short_and_reach_every_operation() {
        assert_eq!(steps(1000, &[]), 50);
        assert_eq!(steps(30, &[]), 30);
        assert_eq!(steps(1000, &[operation(10)]), 50);
        assert_eq!(steps(1000, &[operation(60), operation(40)]), 110);
        assert_eq!(steps(105, &[operation(60), operation(40)]), 105);
        assert_eq!(steps(u64::MAX, &[operation(u64::MAX), operation(1)]), u64::MAX);
    }

    #[test]
    fn the_schedule_is_shortened_in_proportion() {
        let flags = Flags::default().set("lr_schedule.warmup_steps=100").set("lr_schedule.decay_steps=800");
        let fleet = settings(&flags);
        let short = settings(&shortened(Flags::default(), &fleet, 50));
        assert_eq!(short.train.steps, 50);
        assert_eq!((short.lr_schedule.warmup_steps, short.lr_schedule.decay_steps), (5, Some(40)));
        assert_eq!((short.train.eval_every, short.run.checkpoint_every, short.run.sample_tokens), (0, 0, 0));
        let flags = || Flags::default().set("train.steps=1000").set("train.eval_every=200");
        let mut triggered = settings(&flags());
        triggered.schedule = vec![operation(3)];
        assert_eq!(settings(&shortened(Flags::default(), &triggered, 50)).train.eval_every, 0);
        triggered.schedule[0].trigger_loss = Some(2.0);
        for told in [Flags::default(), flags(), Flags::default().with("eval-every", "200").unwrap()] {
            assert_eq!(settings(&shortened(told, &triggered, 50)).train.eval_every, 10, "it waits for a loss");
        }
        let own = settings(&shortened(Flags::default().set("lr_schedule.warmup_steps=7"), &fleet, 50));
        assert_eq!(own.lr_schedule.warmup_steps, 7, "what the user says of it stays");
    }

    #[test]
    fn another_schedule_is_another_one_and_can_be_resolved() {
        let cases: &[&[&str]] = &[
            &[],
            &["lr_schedule.kind=linear"],
            &["lr_schedule.kind=constant"],
            &["lr_schedule.kind=wsd", "lr_schedule.decay_fraction=0.5"],
            &["lr_schedule.kind=cosine", "lr_schedule.min_ratio=1"],
            &["lr_schedule.kind=constant", "lr_schedule.warmup_steps=0"],
            &["lr_schedule.warmup_steps=50"],
            &["lr_schedule.warmup_steps=30", "lr_schedule.decay_steps=30"],
            &["train.steps=1", "lr_schedule.warmup_steps=0"],
            &["train.steps=1", "lr_schedule.warmup_steps=1"],
        ];
        for sets in cases {
            let mut flags = sets.iter().fold(Flags::default(), |flags, set| flags.set(set));
            if !sets.iter().any(|set| set.starts_with("train.steps")) {
                flags = flags.set("train.steps=50");
            }
            let before = settings(&flags);
            let (changed, words) = another_schedule(flags, &before);
            let after = settings(&changed);
            assert_eq!(after.train.steps, before.train.steps);
            let factors = |settings: &Settings| {
                let steps = settings.train.steps;
                (1..=steps).map(|step| lr_schedule::factor(&settings.lr_schedule, step, steps)).collect::<Vec<_>>()
            };
            assert_ne!(factors(&before), factors(&after), "{sets:?}: {words}");
            assert!(words.contains('→'), "{words}");
        }
    }

    #[test]
    fn another_lr_is_twice_or_half() {
        assert_eq!(another_lr(0.25, 10.0), 0.5);
        assert_eq!(another_lr(5.0, 10.0), 10.0);
        assert_eq!(another_lr(6.0, 10.0), 3.0);
    }
}
