//! What a child tells its parent: lines of JSON in a file, each written before the next thing is tried.
//! A file, not stdout: what a plugin prints must not look like a finding.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use sdk::conformance::{Finding, Outcome, Verdict};
use serde_json::{Value, json};

/// A journal that is being written.
pub struct Journal(PathBuf);

/// What a journal says.
#[derive(Debug, Default)]
pub struct Told {
    /// Findings, in order.
    pub findings: Vec<Finding>,
    /// Labels that the library exports as optimizers.
    pub labels: Vec<String>,
    /// The check that was begun last.
    pub begun: Option<String>,
    /// Whether the child came to its end.
    pub done: bool,
}

impl Journal {
    /// At a path.
    pub fn at(path: &Path) -> Journal {
        Journal(path.to_path_buf())
    }

    fn write(&self, line: &Value) {
        // A line that cannot be written is missing, and what is missing is a crash to the parent.
        let _ = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.0)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    }

    /// A check begins.
    pub fn begin(&self, check: &str) {
        self.write(&json!({ "begin": check }));
    }

    /// A check is done.
    pub fn finding(&self, finding: &Finding) {
        self.write(&to_json(finding));
    }

    /// The library exports an optimizer.
    pub fn label(&self, label: &str) {
        self.write(&json!({ "exports": label }));
    }

    /// All is done.
    pub fn done(&self) {
        self.write(&json!({ "done": true }));
    }
}

impl Told {
    /// Reads what was written so far; a half-written last line is left out.
    pub fn read(path: &Path) -> Told {
        let mut told = Told::default();
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            if let Some(check) = line["begin"].as_str() {
                told.begun = Some(check.to_string());
            } else if let Some(label) = line["exports"].as_str() {
                told.labels.push(label.to_string());
            } else if line["done"] == true {
                told.done = true;
            } else if let Some(finding) = of_json(&line) {
                told.findings.push(finding);
            }
        }
        told
    }
}

/// A finding for machines.
pub fn to_json(finding: &Finding) -> Value {
    let Finding { label, level, check, outcome } = finding;
    json!({
        "label": label,
        "level": level,
        "check": check,
        "verdict": outcome.verdict.name(),
        "detail": outcome.detail,
        "subject": outcome.subject,
        "seed": outcome.seed,
    })
}

fn of_json(line: &Value) -> Option<Finding> {
    let text = |key: &str| line[key].as_str().map(str::to_string);
    let outcome = Outcome {
        verdict: Verdict::of(line["verdict"].as_str()?)?,
        detail: text("detail")?,
        subject: text("subject"),
        seed: line["seed"].as_u64(),
    };
    let level = u8::try_from(line["level"].as_u64()?).ok()?;
    Some(Finding { label: text("label")?, level, check: text("check")?, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_half_a_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::at(&path);
        let outcome = Outcome::failed("2 is not 3").about("lr").seeded(7);
        let finding = Finding { label: "lion".into(), level: 2, check: "lr = 0".into(), outcome };
        journal.label("lion");
        journal.begin("lr = 0");
        journal.finding(&finding);
        journal.begin("zero gradient");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"done\": tr").unwrap();
        let told = Told::read(&path);
        assert_eq!((told.findings, told.labels), (vec![finding], vec!["lion".to_string()]));
        assert_eq!((told.begun.as_deref(), told.done), (Some("zero gradient"), false));
    }
}
