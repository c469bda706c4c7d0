//! Each check holds on sound evidence, and is the only one that fails where the thing it is for is broken.

use super::*;
use crate::metrics::digits::{Digits, bits};

const SEEDS: [u64; 4] = [7, 8, 9, 10];

struct Gate {
    subjects: Vec<Subject>,
    runs: Vec<RunRow>,
    fake: FakeRow,
    start_loss: f64,
}

fn subject(label: &str) -> Subject {
    Subject {
        label: label.into(),
        reports: label.into(),
        listed: true,
        same_rule: Vec::new(),
        lr: Some((1e-3, 2e-3)),
        lr_exception: None,
        schedule_exception: None,
    }
}

/// `place` decides all numbers of a run: equal places are equal ends.
fn measured(place: u64) -> Measured {
    let loss = 2.0 + place as f64 / 100.0;
    Measured {
        val_bpb: Digits(loss),
        val_bpb_bits: bits(loss),
        val_loss: Digits(loss),
        val_loss_bits: bits(loss),
        parameter_hash: format!("p{place}"),
        trajectory_hash: format!("t{place}"),
    }
}

fn run(label: &str, seed: u64, change: Change, place: u64) -> RunRow {
    RunRow {
        name: format!("{label}-s{seed}-{change:?}"),
        asked: label.into(),
        reported: Some(label.into()),
        source: None,
        seed,
        recorded_seed: Some(seed),
        change,
        changed: if change == Change::None { String::new() } else { format!("{change:?} changed") },
        exit_code: Some(0),
        ended: "ended itself with exit code 0".into(),
        seconds: 1.0,
        result: Some(measured(place)),
        said: None,
        unfired: Vec::new(),
    }
}

/// Two labels, `adamw` by default; everything is as it should be.
fn sound() -> Gate {
    let mut runs = Vec::new();
    for (i, label) in ["adamw", "lion"].into_iter().enumerate() {
        let base = 10 * i as u64;
        for (change, place) in [(Change::None, 0), (Change::Again, 0), (Change::Lr, 1), (Change::Schedule, 2)] {
            runs.push(run(label, 7, change, base + place));
        }
    }
    runs.extend([8, 9, 10].map(|seed| run("adamw", seed, Change::None, 20 + seed)));
    let fake = FakeRow {
        label: "fake".into(),
        sent: "OPTIMIZER=fake".into(),
        exit_code: Some(4),
        ended: "ended itself with exit code 4".into(),
        named: true,
        wrote: false,
        seconds: 0.3,
        said: "error[R001]: optimizer label `fake` is not in the registry".into(),
    };
    Gate { subjects: vec![subject("adamw"), subject("lion")], runs, fake, start_loss: 5.0 }
}

impl Gate {
    fn run_mut(&mut self, label: &str, seed: u64, change: Change) -> &mut RunRow {
        let runs = self.runs.iter_mut();
        runs.into_iter().find(|run| run.asked == label && run.seed == seed && run.change == change).unwrap()
    }

    fn place(&mut self, label: &str, seed: u64, change: Change, place: u64) {
        self.run_mut(label, seed, change).result = Some(measured(place));
    }

    fn checks(&self) -> Vec<CheckRow> {
        all(&Evidence {
            default: "adamw",
            seeds: &SEEDS,
            subjects: &self.subjects,
            start_loss: self.start_loss,
            runs: &self.runs,
            fake: &self.fake,
        })
    }

    /// Numbers and codes of all that does not hold.
    fn failing(&self) -> Vec<(u8, &'static str)> {
        let checks = self.checks();
        assert_eq!(checks.iter().map(|check| check.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(checks.iter().all(|check| check.holds == check.failures.is_empty()));
        checks.iter().flat_map(|check| check.failures.iter().map(|failure| (check.number, failure.code))).collect()
    }
}

#[test]
fn sound_evidence_passes() {
    let gate = sound();
    assert_eq!(gate.failing(), []);
    assert!(gate.checks().iter().all(|check| check.exceptions.is_empty()));
}

#[test]
fn each_check_fails_on_what_it_is_for_and_on_nothing_else() {
    type Break = fn(&mut Gate);
    let cases: &[(&str, Break, &[(u8, &str)])] = &[
        ("two seeds end at one place", |g| g.place("adamw", 9, Change::None, 28), &[(1, "G001")]),
        (
            "seeds end too near each other",
            |g| {
                for seed in [8, 9, 10] {
                    let end = g.run_mut("adamw", seed, Change::None).result.as_mut().unwrap();
                    end.val_bpb = Digits(2.0 + seed as f64 * 1e-4);
                }
            },
            &[(1, "G001")],
        ),
        ("a seed was overridden", |g| g.run_mut("adamw", 8, Change::None).recorded_seed = Some(7), &[(1, "G008")]),
        (
            "one loss to the last bit",
            |g| {
                let loss = measured(0).val_loss_bits;
                for change in [Change::None, Change::Again] {
                    g.run_mut("lion", 7, change).result.as_mut().unwrap().val_loss_bits = loss.clone();
                }
            },
            &[(2, "G002")],
        ),
        (
            "a label was overridden",
            |g| g.run_mut("lion", 7, Change::Lr).reported = Some("adamw".into()),
            &[(2, "G008")],
        ),
        (
            "all labels end near each other",
            |g| {
                for change in [Change::None, Change::Again] {
                    g.run_mut("lion", 7, change).result.as_mut().unwrap().val_bpb = Digits(2.0001);
                }
            },
            &[(2, "G007")],
        ),
        ("no progress", |g| g.start_loss = 2.05, &[(2, "G006")]),
        ("the loss is not a number", |g| g.start_loss = f64::NAN, &[(2, "G006"), (2, "G006")]),
        ("the fake label was trained", |g| g.fake.exit_code = Some(0), &[(3, "G003")]),
        ("the fake label failed otherwise", |g| g.fake.exit_code = Some(3), &[(3, "G003")]),
        ("the fake label was killed", |g| g.fake.exit_code = None, &[(3, "G003")]),
        ("the fake label was not named", |g| g.fake.named = false, &[(3, "G003")]),
        ("the fake label left something", |g| g.fake.wrote = true, &[(3, "G003")]),
        ("it does not repeat", |g| g.place("lion", 7, Change::Again, 40), &[(4, "G004")]),
        (
            "its trajectory does not repeat",
            |g| g.run_mut("lion", 7, Change::Again).result.as_mut().unwrap().trajectory_hash = "t".into(),
            &[(4, "G004")],
        ),
        ("the rate is dead", |g| g.place("adamw", 7, Change::Lr, 0), &[(5, "G005")]),
        ("the schedule is dead", |g| g.place("lion", 7, Change::Schedule, 10), &[(5, "G005")]),
        (
            "a run crashed",
            |g| {
                let run = g.run_mut("lion", 7, Change::Schedule);
                (run.result, run.exit_code) = (None, Some(5));
            },
            &[(5, "G008")],
        ),
        ("a run is missing", |g| g.runs.retain(|run| run.change != Change::Again), &[(4, "G008"), (4, "G008")]),
    ];
    for (name, broken, expected) in cases {
        let mut gate = sound();
        broken(&mut gate);
        assert_eq!(gate.failing(), *expected, "{name}");
    }
}

#[test]
fn a_label_that_runs_as_another_is_told_by_its_bits() {
    let mut gate = sound();
    for (change, place) in [(Change::None, 0), (Change::Again, 0), (Change::Lr, 1), (Change::Schedule, 2)] {
        gate.place("lion", 7, change, place);
    }
    let failing = gate.failing();
    assert_eq!(failing, [(2, "G002"), (2, "G007")], "the only pair is one, and none is apart");
}

#[test]
fn labels_that_stay_where_they_began_are_told_as_no_progress() {
    let mut gate = sound();
    gate.place("lion", 7, Change::None, 0);
    gate.start_loss = measured(0).val_loss.0;
    let codes: Vec<&str> = gate.failing().iter().filter(|(check, _)| *check == 2).map(|(_, code)| *code).collect();
    assert_eq!(codes, ["G006", "G006", "G007"], "and not as identical");
}

#[test]
fn declared_twins_are_no_pair_and_a_gate_without_pairs_is_shut() {
    let mut gate = sound();
    gate.place("lion", 7, Change::None, 0);
    gate.place("lion", 7, Change::Again, 0);
    gate.subjects[1].same_rule = vec!["adamw".into()];
    assert_eq!(gate.failing(), [(2, "G007")]);
    assert_eq!(gate.checks()[1].exceptions.len(), 1);
}

#[test]
fn declared_exceptions_are_told_and_needed_only_where_nothing_changes() {
    let mut gate = sound();
    gate.subjects[1].lr_exception = Some("its rate follows from t".into());
    assert!(gate.checks()[4].exceptions.is_empty(), "the rate is alive: there is nothing to except");
    gate.place("lion", 7, Change::Lr, 10);
    assert_eq!(gate.failing(), []);
    assert!(gate.checks()[4].exceptions[0].contains("its rate follows from t"));
    // an exception for the one is none for the other
    gate.place("lion", 7, Change::Schedule, 10);
    assert_eq!(gate.failing(), [(5, "G005")]);
}

#[test]
fn a_rate_at_which_a_label_diverges_is_alive() {
    let mut gate = sound();
    let run = gate.run_mut("lion", 7, Change::Lr);
    (run.result, run.exit_code) = (None, Some(7));
    assert_eq!(gate.failing(), []);
    let run = gate.run_mut("lion", 7, Change::None);
    (run.result, run.exit_code) = (None, Some(7));
    assert_eq!(gate.failing(), [(2, "G008"), (2, "G007"), (4, "G008"), (5, "G008")]);
}

#[test]
fn labels_of_the_default_alone_need_no_knobs() {
    let mut gate = sound();
    gate.subjects[0].listed = false;
    gate.runs.retain(|run| run.asked != "adamw" || !matches!(run.change, Change::Lr | Change::Schedule));
    assert_eq!(gate.failing(), []);
    assert!(gate.checks()[4].saw.starts_with("2 of 2"), "{}", gate.checks()[4].saw);
}
