//! What came of a check: a verdict, and the evidence for it.
//! Decides nothing; checks do.

use std::fmt;

/// How a check ended, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It could not be run, or says nothing about this rule.
    Skipped,
    /// It holds, but somebody should look.
    Warning,
    /// It does not hold.
    Failed,
    /// The plugin panicked, ended the process, or did not come back.
    Crashed,
}

impl Verdict {
    /// All, from good to bad.
    pub const ALL: [Verdict; 5] =
        [Verdict::Passed, Verdict::Skipped, Verdict::Warning, Verdict::Failed, Verdict::Crashed];

    /// As shown and as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Skipped => "skipped",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
            Verdict::Crashed => "crashed",
        }
    }

    /// The verdict of that name.
    pub fn of(name: &str) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.name() == name)
    }

    /// Whether a plugin with it is refused.
    pub fn is_bad(self) -> bool {
        matches!(self, Verdict::Failed | Verdict::Crashed)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a check that came to its end says.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// One line: what was looked at, or what is wrong, with the numbers that matter.
    pub detail: String,
    /// The hyper-parameter or state slot it is about.
    pub subject: Option<String>,
    /// What decides the numbers it was run on.
    pub seed: Option<u64>,
}

impl Outcome {
    fn new(verdict: Verdict, detail: impl Into<String>) -> Outcome {
        Outcome { verdict, detail: detail.into(), subject: None, seed: None }
    }

    /// It holds; what was looked at.
    pub fn passed(detail: impl Into<String>) -> Outcome {
        Outcome::new(Verdict::Passed, detail)
    }

    /// It was not run; why.
    pub fn skipped(why: impl Into<String>) -> Outcome {
        Outcome::new(Verdict::Skipped, why)
    }

    /// It holds, with a remark.
    pub fn warning(detail: impl Into<String>) -> Outcome {
        Outcome::new(Verdict::Warning, detail)
    }

    /// It does not hold; what is wrong.
    pub fn failed(detail: impl Into<String>) -> Outcome {
        Outcome::new(Verdict::Failed, detail)
    }

    /// Names the hyper-parameter or slot.
    pub fn about(mut self, name: impl Into<String>) -> Outcome {
        self.subject = Some(name.into());
        self
    }

    /// Names the seed.
    pub fn seeded(mut self, seed: u64) -> Outcome {
        self.seed = Some(seed);
        self
    }
}

/// A plugin that did not do what it was asked: an error, or a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whether it panicked; it is not called again then.
    pub panicked: bool,
    /// What it said.
    pub text: String,
}

impl Trouble {
    /// An error without a panic.
    pub fn error(text: impl Into<String>) -> Trouble {
        Trouble { panicked: false, text: text.into() }
    }
}

/// One check of one label, done.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The label.
    pub label: String,
    /// 1 to 7.
    pub level: u8,
    /// The check's name.
    pub check: String,
    /// What came of it.
    pub outcome: Outcome,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { label, level, check, outcome } = self;
        write!(f, "`{label}` level {level}, {check}: {}: ", outcome.verdict)?;
        if let Some(subject) = &outcome.subject {
            write!(f, "`{subject}`: ")?;
        }
        write!(f, "{}", outcome.detail)?;
        match outcome.seed {
            Some(seed) => write!(f, " (seed {seed})"),
            None => Ok(()),
        }
    }
}
