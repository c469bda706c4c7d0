//! Check 1: seeds make a difference.
//! Looks at the default optimizer alone.

use super::{
    super::{
        ask::Change,
        faults::{RUN, SEEDS},
    },
    CheckRow, Evidence, Findings, distinct,
};

/// Smallest distance in BPB between the best and the worst seed.
pub const SPREAD: f64 = 0.005;

/// Every seed ends at other parameters, and the best and the worst are [`SPREAD`] apart.
pub fn check(evidence: &Evidence<'_>) -> CheckRow {
    let mut findings = Findings::none();
    let label = evidence.default;
    let mut ends = Vec::new();
    for &seed in evidence.seeds {
        if let Some(run) = evidence.run(label, seed, Change::None)
            && let Some(recorded) = run.recorded_seed.filter(|recorded| *recorded != seed)
        {
            let text = format!("run `{}` was sent seed {seed} and had seed {recorded}", run.name);
            findings.fail(RUN, text, "something overrides the seed on its way");
        }
        let end = findings.take(evidence.end(label, seed, Change::None));
        ends.extend(end.map(|end| (seed, end)));
    }
    for (i, (seed, end)) in ends.iter().enumerate() {
        if let Some((other, _)) = ends[..i].iter().find(|(_, other)| other.parameter_hash == end.parameter_hash) {
            let text = format!("seeds {other} and {seed} of `{label}` end at the same parameters");
            findings.fail(SEEDS, text, "the seed does not reach what it should decide");
        }
    }
    let bpb = || ends.iter().map(|(_, end)| end.val_bpb.0);
    let (low, high) = (bpb().fold(f64::INFINITY, f64::min), bpb().fold(f64::NEG_INFINITY, f64::max));
    let hashes = distinct(ends.iter().map(|(_, end)| end.parameter_hash.as_str()));
    if ends.len() < 2 {
        let saw = format!("{} of {} seeds of `{label}` came to their end", ends.len(), evidence.seeds.len());
        findings.fail(SEEDS, saw.clone(), "seeds are compared with each other");
        return findings.end(1, "seeds", saw);
    }
    let spread = high - low;
    if (spread.is_nan() || spread < SPREAD) && hashes == evidence.seeds.len() {
        let text = format!("the seeds of `{label}` end within {spread:.4} BPB of each other, {SPREAD} are expected");
        findings.fail(SEEDS, text, "are the runs long enough to learn anything? `--steps N` makes them longer");
    }
    let saw = format!(
        "{} seeds of `{label}`: {hashes} parameter hashes, {low:.4} to {high:.4} BPB, {spread:.4} apart",
        ends.len()
    );
    findings.end(1, "seeds", saw)
}
