//! One run of the gate, as it is asked for.
//! Starts nothing.

use serde::Serialize;

use super::sending::Told;

/// What is changed against the fleet's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Nothing.
    None,
    /// Nothing either: the same run once more.
    Again,
    /// The learning rate.
    Lr,
    /// The learning-rate schedule.
    Schedule,
}

impl Change {
    /// At the end of a run's name.
    fn suffix(self) -> &'static str {
        match self {
            Change::None => "",
            Change::Again => "-again",
            Change::Lr => "-lr",
            Change::Schedule => "-schedule",
        }
    }
}

/// A run that will be started.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its name, and that of its folder.
    pub name: String,
    /// The label that is sent.
    pub label: String,
    /// The seed that is sent.
    pub seed: u64,
    /// What is changed.
    pub change: Change,
    /// What is changed, in words; empty where nothing is.
    pub changed: String,
    /// Flags and environment.
    pub told: Told,
    /// The configuration file that brings seed and label, where one does.
    pub config: Option<String>,
}

impl Ask {
    /// A run with nothing changed yet.
    pub fn new(label: &str, seed: u64, told: Told, config: Option<String>) -> Ask {
        let name = format!("{label}-s{seed}");
        let (label, changed) = (label.to_string(), String::new());
        Ask { name, label, seed, change: Change::None, changed, told, config }
    }

    /// The same run with something changed.
    pub fn with(&self, change: Change, changed: String, told: Told) -> Ask {
        let name = format!("{}{}", self.name, change.suffix());
        Ask { name, change, changed, told, ..self.clone() }
    }
}
