//! Check 2: every label trains something of its own, and learns.
//! Looks at one seed; labels that are knowingly one rule are no pair.

use std::collections::BTreeMap;

use super::{
    super::{
        ask::Change,
        faults::{NO_PROGRESS, RUN, SAME_BITS, TOO_NEAR},
        outcome::{Measured, RunRow},
        plan::Subject,
    },
    CheckRow, Evidence, Findings,
};

/// Distance in BPB that some pair must have.
pub const APART: f64 = 0.001;

/// Every run had the label it was sent; the loss of every label improved; every pair ends at other parameters and
/// another loss, and some pair [`APART`].
pub fn check(evidence: &Evidence<'_>) -> CheckRow {
    let mut findings = Findings::none();
    sent_is_run(evidence, &mut findings);
    unfired(evidence, &mut findings);
    let mut ends: Vec<(&Subject, &Measured, bool)> = Vec::new();
    for subject in evidence.subjects {
        let Some(end) = findings.take(evidence.end(&subject.label, evidence.seed(), Change::None)) else { continue };
        let improved = end.val_loss.0 < evidence.start_loss;
        if !improved {
            let text = format!(
                "no progress: the loss of `{}` went from {:.4} to {:.4} nats per token",
                subject.label, evidence.start_loss, end.val_loss.0
            );
            findings.fail(NO_PROGRESS, text, "is its learning rate right for it? are the runs too short? `--steps N`");
        }
        ends.push((subject, end, improved));
    }
    let (mut pairs, mut farthest): (usize, f64) = (0, 0.0);
    for (i, (one, end, improved)) in ends.iter().enumerate() {
        for (other, other_end, other_improved) in &ends[..i] {
            if one.same_rule.contains(&other.label) {
                findings
                    .exceptions
                    .push(format!("`{}` and `{}` are the same rule, and say so", other.label, one.label));
                continue;
            }
            pairs += 1;
            farthest = farthest.max((end.val_bpb.0 - other_end.val_bpb.0).abs());
            let what =
                match (end.parameter_hash == other_end.parameter_hash, end.val_loss_bits == other_end.val_loss_bits) {
                    (true, _) => "the same parameters",
                    (false, true) => "the same loss, to the last bit",
                    (false, false) => continue,
                };
            // Two that stay where they began are told already, each by itself.
            if *improved || *other_improved {
                let text = format!("`{}` and `{}` end at {what}", other.label, one.label);
                findings.fail(SAME_BITS, text, "one of the two labels does not reach the optimizer");
            }
        }
    }
    if pairs == 0 {
        findings.fail(TOO_NEAR, "no two labels could be compared", "labels are compared with each other");
    } else if farthest < APART {
        let text = format!("no two labels end more than {farthest:.6} BPB apart, {APART} are expected of some pair");
        findings.fail(TOO_NEAR, text, "are the runs long enough to learn anything? `--steps N` makes them longer");
    }
    let saw = format!("{} labels, {pairs} pairs; up to {farthest:.4} BPB apart", ends.len());
    findings.end(2, "optimizers", saw)
}

/// Says which scheduled operations the runs never came to: what the fleet does after them was not looked at.
fn unfired(evidence: &Evidence<'_>, findings: &mut Findings) {
    let ended: Vec<&RunRow> = evidence.runs.iter().filter(|run| run.result.is_some()).collect();
    let mut without: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in ended.iter().flat_map(|run| &run.unfired) {
        *without.entry(operation).or_default() += 1;
    }
    for (operation, runs) in without {
        findings.exceptions.push(format!(
            "`{operation}` did not fire in {runs} of {} runs, which say nothing of what follows it; `--steps N` makes them longer",
            ended.len()
        ));
    }
}

/// Every run, whatever was changed in it, had the label that it was sent.
fn sent_is_run(evidence: &Evidence<'_>, findings: &mut Findings) {
    for run in evidence.runs {
        let subject = evidence.subjects.iter().find(|subject| subject.label == run.asked);
        let expected = subject.map_or(run.asked.as_str(), |subject| subject.reports.as_str());
        if let Some(reported) = run.reported.as_deref().filter(|reported| *reported != expected) {
            let text = format!("run `{}` was sent label `{}` and ran `{reported}`", run.name, run.asked);
            findings.fail(RUN, text, "something overrides the label on its way");
        }
    }
}
