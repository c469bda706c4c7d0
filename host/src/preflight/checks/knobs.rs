//! Check 5: the learning rate and its schedule reach every label.
//! Looks at parameters alone; whether a change is an improvement is not asked.

use super::{
    super::{ask::Change, faults::DEAD_KNOB, outcome::Measured, plan::Subject},
    CheckRow, Evidence, Findings,
};
use crate::fault::Exit;

/// Another rate and another schedule end at other parameters, for every label of the list.
pub fn check(evidence: &Evidence<'_>) -> CheckRow {
    let mut findings = Findings::none();
    let (mut alive, mut labels) = (0, 0);
    for subject in evidence.subjects.iter().filter(|subject| subject.listed) {
        labels += 1;
        let label = &subject.label;
        let Some(base) = findings.take(evidence.end(label, evidence.seed(), Change::None)) else { continue };
        if subject.lr.is_some() {
            let exception = subject.lr_exception.as_deref();
            alive += usize::from(knob(evidence, (subject, base), Change::Lr, exception, &mut findings));
        } else {
            findings.exceptions.push(format!("`{label}` has no learning rate"));
        }
        let exception = match subject.lr {
            Some(_) => subject.schedule_exception.as_deref(),
            None => Some("it has no learning rate"),
        };
        alive += usize::from(knob(evidence, (subject, base), Change::Schedule, exception, &mut findings));
    }
    findings.end(5, "knobs", format!("{alive} of {} changes change the parameters", 2 * labels))
}

/// Whether the change reached the optimizer.
fn knob(
    evidence: &Evidence<'_>,
    (subject, base): (&Subject, &Measured),
    change: Change,
    exception: Option<&str>,
    findings: &mut Findings,
) -> bool {
    let (label, seed) = (&subject.label, evidence.seed());
    let run = evidence.run(label, seed, change);
    // A rate at which it diverges is one that it has.
    if change == Change::Lr && run.is_some_and(|run| run.exit_code == Some(Exit::Diverged as i32)) {
        return true;
    }
    let Some(end) = findings.take(evidence.end(label, seed, change)) else { return false };
    if end.parameter_hash != base.parameter_hash {
        return true;
    }
    let changed = run.map_or("", |run| run.changed.as_str());
    match exception {
        Some(why) => findings.exceptions.push(format!("`{label}`, {changed}: {why}")),
        None => {
            let text = format!("{changed} changes nothing: `{label}` ends at the same parameters");
            let hint = "does a group of the configuration set it by itself? else it does not reach the optimizer";
            findings.fail(DEAD_KNOB, text, hint);
        }
    }
    false
}
