//! Parts of the examination in processes of their own: what a child writes, and what its parent reads.
//! Judges nothing.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Finding, Part, flags_of};
use crate::{
    child_process,
    config::{choice::Choice, settings::Device},
    fault::{Exit, Fault},
    registry::Registry,
};

/// Time of a child. Opening every library of this repository takes a second.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// What a child writes on standard output: a line of JSON before each step, for each finding, and at the end.
pub struct Journal;

impl Journal {
    /// What comes next, so that the parent knows what ended the process.
    pub fn begin(&self, what: &str) {
        self.line(&json!({ "begun": what }));
    }

    /// A finding.
    pub fn found(&self, finding: &Finding) {
        self.line(&json!({ "found": finding }));
    }

    /// The end.
    pub fn done(&self) {
        self.line(&json!({ "done": true }));
    }

    fn line(&self, value: &Value) {
        let mut stdout = std::io::stdout().lock();
        // A parent that is gone needs no line.
        let _ = writeln!(stdout, "{value}").and_then(|()| stdout.flush());
    }
}

/// What a parent read.
#[derive(Debug, Default)]
pub struct Read {
    /// What was begun last.
    pub begun: Option<String>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// How the child ended before its end, if it did.
    pub end: Option<String>,
}

/// Runs a child to its end, or to the end of its time.
pub fn run(part: Part, skipped: &[String], device: Device, registry: Option<&Registry>) -> Read {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Read { end: Some(format!("could not be started: {error}")), ..Read::default() },
    };
    let name = match part {
        Part::Cuda => "cuda",
        Part::Plugins => "plugins",
    };
    let mut command = Command::new(program);
    command.args(["doctor", "--part", name, "--device", device.name()]);
    command.args(skipped.iter().map(|id| format!("--without={id}")));
    command.args(registry.map(flags_of).into_iter().flatten());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Read { end: Some(format!("could not be started: {error}")), ..Read::default() },
    };
    // Read beside the wait: a child that writes more than a pipe holds would never end.
    let lines = child.stdout.take().map(|stdout| thread::spawn(move || read(BufReader::new(stdout))));
    let status = child_process::wait(&mut child, TIME_LIMIT, &|| false);
    let (mut told, done) = lines.and_then(|lines| lines.join().ok()).unwrap_or_default();
    told.end = match status {
        Some(_) if done => None,
        Some(status) => Some(child_process::ended(status)),
        None => Some(child_process::killed(TIME_LIMIT)),
    };
    told
}

/// The lines of a journal, and whether it came to its end. What is not such a line is a library's own talk.
fn read(journal: impl BufRead) -> (Read, bool) {
    let (mut told, mut done) = (Read::default(), false);
    for line in journal.lines().map_while(Result::ok) {
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        if let Some(begun) = value["begun"].as_str() {
            told.begun = Some(begun.to_string());
        }
        told.findings.extend(serde_json::from_value::<Finding>(value["found"].clone()));
        done |= value["done"] == true;
    }
    (told, done)
}

/// A part of the examination that did not come to its end.
pub fn fault(message: String) -> Fault {
    Fault::new("E007", Exit::Environment, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_breaks_off_tells_what_was_begun() {
        let text = format!(
            "{}\nsomething a library said\n{}\n{}\n{{\"fou",
            json!({ "begun": "sign" }),
            json!({ "found": Finding::ok("plugin sign", "fine") }),
            json!({ "begun": "trust" })
        );
        let (told, done) = read(text.as_bytes());
        assert_eq!((told.begun.as_deref(), told.findings.len(), done), (Some("trust"), 1, false));
        assert!(read(format!("{text}\n{}", json!({ "done": true })).as_bytes()).1);
    }
}
