//! Check 3: a label that the registry does not have is refused. Anything else is a hard block.
//! Looks at one run that must not become one.

use super::{super::faults::FAKE_LABEL, CheckRow, Evidence, Findings};
use crate::fault::Exit;

/// It ends with the code of an unknown label, names it, and leaves no run directory.
pub fn check(evidence: &Evidence<'_>) -> CheckRow {
    let mut findings = Findings::none();
    let fake = evidence.fake;
    let saw = format!("{} {} in {:.1} s", fake.sent, fake.ended, fake.seconds);
    if !fake.refused() {
        let what = if fake.exit_code != Some(Exit::Registry as i32) {
            format!("it {}, not with exit code {}", fake.ended, Exit::Registry as i32)
        } else if fake.wrote {
            "it left a run directory".to_string()
        } else {
            "it did not say that the label is not in the registry".to_string()
        };
        let text = format!("HARD BLOCK: the unregistered label {} was not refused: {what}\n{}", fake.sent, fake.said);
        let hint = "a misspelt label would train something else: start nothing before this is repaired";
        findings.fail(FAKE_LABEL, text.trim_end(), hint);
    }
    findings.end(3, "fake label", saw)
}
