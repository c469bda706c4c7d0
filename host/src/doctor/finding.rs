//! One row of what was found, and the report of all.
//! Finds nothing.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::fault::{Exit, Fault, Faults};

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Runs can begin, with less than there could be.
    Limited,
    /// Runs that need it cannot begin.
    Unfit,
}

impl Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Ok => "ok",
            State::Limited => "limited",
            State::Unfit => "unfit",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Such as `libtorch`, or `plugin sign`.
    pub what: String,
    /// How it is.
    pub state: State,
    /// What was found, for people.
    pub text: String,
    /// The way to more, where it is limited.
    pub hint: Option<String>,
    /// What was found, for machines.
    pub facts: Map<String, Value>,
    /// What is wrong.
    pub faults: Vec<Told>,
}

/// A fault as it was told, also by another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its code.
    pub code: String,
    /// The exit code that follows from it.
    pub exit_code: u8,
    /// What is wrong, in one line.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
    /// The whole of it, as people are shown.
    pub text: String,
}

impl From<&Fault> for Told {
    fn from(fault: &Fault) -> Told {
        Told {
            code: fault.code.to_string(),
            exit_code: fault.exit as u8,
            message: fault.message.clone(),
            hint: fault.hint.clone(),
            text: fault.to_string(),
        }
    }
}

impl Finding {
    /// It is as it should be.
    pub fn ok(what: impl Into<String>, text: impl Into<String>) -> Finding {
        let (what, text) = (what.into(), text.into());
        Finding { what, state: State::Ok, text, hint: None, facts: Map::new(), faults: Vec::new() }
    }

    /// Runs can begin, with less.
    pub fn limited(what: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding { state: State::Limited, hint: Some(hint.into()), ..Finding::ok(what, text) }
    }

    /// Runs that need it cannot begin.
    pub fn unfit(what: impl Into<String>, text: impl Into<String>, faults: &Faults) -> Finding {
        Finding { state: State::Unfit, faults: faults.0.iter().map(Told::from).collect(), ..Finding::ok(what, text) }
    }

    /// Adds a fact.
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Finding {
        self.facts.insert(name.to_string(), value.into());
        self
    }
}

/// All that was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of looking.
    pub findings: Vec<Finding>,
}

impl Report {
    /// 0 where runs can begin, 4 where the registry or a plugin keeps them from it, else 10.
    pub fn exit(&self) -> Exit {
        let mut codes = self.findings.iter().flat_map(|finding| &finding.faults).map(|told| told.exit_code);
        if codes.any(|code| code == Exit::Registry as u8) {
            return Exit::Registry;
        }
        match self.findings.iter().any(|finding| finding.state == State::Unfit) {
            true => Exit::Environment,
            false => Exit::Ok,
        }
    }

    /// For machines.
    pub fn to_json(&self) -> Value {
        let exit = self.exit();
        json!({ "fit": exit == Exit::Ok, "exit_code": exit as u8, "findings": self.findings })
    }

    /// A row for each thing: what, state, what was found, the way out.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let row = |finding: &Finding| {
            let hints = finding.hint.iter().chain(finding.faults.iter().filter_map(|told| told.hint.as_ref()));
            let mut hints: Vec<&str> = hints.map(String::as_str).collect();
            hints.dedup();
            vec![finding.what.clone(), finding.state.to_string(), finding.text.clone(), hints.join("; ")]
        };
        self.findings.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_outranks_the_environment_and_a_limit_is_no_fault() {
        let fault = |exit| Faults::from(Fault::new("E006", exit, "wrong"));
        let fine = Finding::ok("a", "fine");
        let limited = Finding::limited("b", "less", "more");
        let cuda = Finding::unfit("c", "none", &fault(Exit::Environment));
        let registry = Finding::unfit("d", "none", &fault(Exit::Registry));
        for (findings, exit) in [
            (vec![fine.clone()], Exit::Ok),
            (vec![fine.clone(), limited.clone()], Exit::Ok),
            (vec![limited, cuda.clone()], Exit::Environment),
            (vec![cuda, registry, fine], Exit::Registry),
        ] {
            let report = Report { findings };
            assert_eq!(report.exit(), exit);
            assert_eq!(report.to_json()["fit"], exit == Exit::Ok);
            assert_eq!(report.rows().len(), report.findings.len());
        }
    }

    #[test]
    fn what_a_child_writes_is_read_back() {
        let finding = Finding::unfit("c", "none", &Fault::new("E006", Exit::Environment, "wrong").into()).fact("n", 3);
        let read: Finding = serde_json::from_value(serde_json::to_value(&finding).unwrap()).unwrap();
        assert_eq!((read.faults, read.state, &read.facts["n"]), (finding.faults, State::Unfit, &json!(3)));
    }
}
