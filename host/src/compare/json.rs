//! The comparison for machines: every number with 17 digits, deciding ones with their bits, nothing rounded.
//! Computes nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    comparison::{Comparison, Row, Test},
    identity::Parting,
    remarks::Remark,
    run::Run,
    statistics::{Paired, Summary},
    tables::verdict,
    target::{Reaching, reached},
};
use crate::{
    metrics::digits::{Digits, bits},
    run::{Status, groups::GroupRecord},
};

#[derive(Serialize)]
struct Answer<'a> {
    text: String,
    target_bpb: Option<Digits>,
    target_given: bool,
    paired_by: &'a [String],
    differing: Vec<&'a str>,
    remarks: Vec<Said<'a>>,
    arms: Vec<ArmNumbers<'a>>,
    tests: Vec<TestNumbers<'a>>,
}

#[derive(Serialize)]
struct Said<'a> {
    weight: &'static str,
    about: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parting: Option<Parted>,
    runs: Vec<String>,
}

/// Where bits part: a step, or a word.
#[derive(Serialize)]
#[serde(untagged)]
enum Parted {
    Step(u64),
    Word(&'static str),
}

#[derive(Serialize)]
struct ArmNumbers<'a> {
    arm: &'a str,
    knobs: BTreeMap<&'a str, Vec<KnobValue<'a>>>,
    seeds: usize,
    bpb: Option<Sample>,
    to_target: Option<ToTarget>,
    milliseconds_per_step: Option<Sample>,
    state_bytes: Option<u64>,
    peak_memory_bytes: Option<u64>,
    groups: &'a [GroupRecord],
    runs: Vec<RunNumbers<'a>>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct KnobValue<'a> {
    value: &'a str,
    origin: &'a str,
}

#[derive(Serialize)]
struct Sample {
    n: usize,
    mean: Digits,
    mean_bits: String,
    std: Option<Digits>,
}

#[derive(Serialize)]
struct ToTarget {
    reached: usize,
    of: usize,
    steps: Option<Sample>,
    seconds: Option<Sample>,
}

#[derive(Serialize)]
struct RunNumbers<'a> {
    directory: String,
    seed: u64,
    status: Status,
    state: String,
    steps: u64,
    steps_seen: u64,
    bpb: Option<Digits>,
    bpb_bits: Option<String>,
    parameter_hash: Option<&'a str>,
    trajectory_hash: Option<&'a str>,
    step_of_target: Option<u64>,
    seconds_to_target: Option<Digits>,
    milliseconds_per_step: Option<Digits>,
    state_bytes: Option<u64>,
    peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct TestNumbers<'a> {
    arm: &'a str,
    other: &'a str,
    pairs: Option<usize>,
    difference: Option<Digits>,
    low: Option<Digits>,
    high: Option<Digits>,
    t: Option<Digits>,
    p: Option<Digits>,
    p_holm: Option<Digits>,
    significant: bool,
    verdict: String,
}

/// As text, with a line end.
pub fn text(comparison: &Comparison) -> String {
    let answer = Answer {
        text: comparison.runs.first().map_or_else(String::new, Run::text),
        target_bpb: comparison.target.map(|target| Digits(target.bpb)),
        target_given: comparison.target.is_some_and(|target| target.given),
        paired_by: &comparison.paired_by,
        differing: comparison.differing.iter().map(String::as_str).collect(),
        remarks: comparison.remarks.iter().map(|remark| said(comparison, remark)).collect(),
        arms: comparison.rows.iter().map(|row| arm(comparison, row)).collect(),
        tests: comparison.tests.iter().map(|one| test(comparison, one)).collect(),
    };
    match serde_json::to_string_pretty(&answer) {
        Ok(text) => text + "\n",
        Err(error) => unreachable!("plain values are JSON: {error}"),
    }
}

fn said<'a>(comparison: &Comparison, remark: &'a Remark) -> Said<'a> {
    let parted = |parting| match parting {
        Parting::Step(step) => Parted::Step(step),
        Parting::End => Parted::Word("end"),
        Parting::Never => Parted::Word("never"),
    };
    Said {
        weight: remark.weight.name(),
        about: remark.about,
        text: &remark.text,
        parting: remark.parting.map(parted),
        runs: remark.runs.iter().map(|&run| comparison.runs[run].path.display().to_string()).collect(),
    }
}

fn arm<'a>(comparison: &'a Comparison, row: &'a Row) -> ArmNumbers<'a> {
    let runs = || row.arm.runs().map(|run| &comparison.runs[run]);
    let values = |key: &'a String| {
        let told = runs().filter_map(|run| run.knobs.get(key));
        let mut values: Vec<_> = told.map(|told| KnobValue { value: &told.value, origin: &told.origin }).collect();
        values.sort();
        values.dedup();
        (key.as_str(), values)
    };
    ArmNumbers {
        arm: &row.arm.name,
        knobs: comparison.differing.iter().map(values).filter(|(_, values)| !values.is_empty()).collect(),
        seeds: row.arm.units.len(),
        bpb: row.bpb.map(sample),
        to_target: row.reaching.as_ref().map(to_target),
        milliseconds_per_step: row.milliseconds.map(sample),
        state_bytes: row.state_bytes,
        peak_memory_bytes: row.peak_bytes,
        groups: runs().next().map_or(&[], |run| &run.record.groups),
        runs: runs().map(|run| numbers(comparison, run)).collect(),
    }
}

fn sample(summary: Summary) -> Sample {
    let Summary { n, mean, std } = summary;
    Sample { n, mean: Digits(mean), mean_bits: bits(mean), std: std.map(Digits) }
}

fn to_target(reaching: &Reaching) -> ToTarget {
    let Reaching { reached, of, steps, seconds } = *reaching;
    ToTarget { reached, of, steps: steps.map(sample), seconds: seconds.map(sample) }
}

fn numbers<'a>(comparison: &Comparison, run: &'a Run) -> RunNumbers<'a> {
    let reached = comparison.target.and_then(|target| reached(run, target.bpb));
    RunNumbers {
        directory: run.path.display().to_string(),
        seed: run.seed(),
        status: run.record.status,
        state: run.state(),
        steps: run.record.steps,
        steps_seen: run.steps_seen(),
        bpb: run.bpb().map(Digits),
        bpb_bits: run.bpb().map(bits),
        parameter_hash: run.record.parameter_hash.as_deref(),
        trajectory_hash: run.record.trajectory_hash.as_deref(),
        step_of_target: reached.map(|reached| reached.step),
        seconds_to_target: reached.map(|reached| Digits(reached.seconds)),
        milliseconds_per_step: run.milliseconds_per_step().map(Digits),
        state_bytes: run.state_bytes(),
        peak_memory_bytes: run.peak_bytes(),
    }
}

fn test<'a>(comparison: &'a Comparison, test: &Test) -> TestNumbers<'a> {
    let name = |row: usize| comparison.rows[row].arm.name.as_str();
    let (pairs, difference, tested) = match test.paired {
        None => (None, None, None),
        Some(Paired::TooFew { pairs }) => (Some(pairs), None, None),
        Some(Paired::Constant { pairs, difference }) => (Some(pairs), Some(difference), None),
        Some(Paired::Tested(tested)) => (Some(tested.pairs), Some(tested.difference), Some(tested)),
    };
    TestNumbers {
        arm: name(test.a),
        other: name(test.b),
        pairs,
        difference: difference.map(Digits),
        low: tested.map(|tested| Digits(tested.interval.0)),
        high: tested.map(|tested| Digits(tested.interval.1)),
        t: tested.map(|tested| Digits(tested.t)),
        p: tested.map(|tested| Digits(tested.p)),
        p_holm: test.corrected.map(Digits),
        significant: test.is_significant(),
        verdict: verdict(comparison, test),
    }
}
