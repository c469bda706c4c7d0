//! Check 4: the same seed and label end at the same hashes. Without it the others mean nothing.
//! Looks at one seed of every label.

use super::{
    super::{ask::Change, faults::REPEAT},
    CheckRow, Evidence, Findings,
};

/// Parameters, trajectory and loss of every label are the same twice.
pub fn check(evidence: &Evidence<'_>) -> CheckRow {
    let mut findings = Findings::none();
    let mut same = 0;
    for subject in evidence.subjects {
        let label = &subject.label;
        let first = findings.take(evidence.end(label, evidence.seed(), Change::None));
        let second = findings.take(evidence.end(label, evidence.seed(), Change::Again));
        let (Some(first), Some(second)) = (first, second) else { continue };
        let differences: Vec<&str> = [
            ("parameters", first.parameter_hash != second.parameter_hash),
            ("trajectory", first.trajectory_hash != second.trajectory_hash),
            ("loss", first.val_loss_bits != second.val_loss_bits),
        ]
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect();
        if differences.is_empty() {
            same += 1;
        } else {
            let text = format!(
                "`{label}` at seed {} does not repeat: another {} the second time",
                evidence.seed(),
                differences.join(", another ")
            );
            findings.fail(
                REPEAT,
                text,
                "a card may add in any order: there `--device cpu` tells more; on the CPU nothing may differ",
            );
        }
    }
    let saw = format!("{same} of {} labels end at the same hashes twice", evidence.subjects.len());
    findings.end(4, "repeat", saw)
}
