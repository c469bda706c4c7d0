//! A failure that says what to do about it and what the process exits with.
//! Does not print; `main` does.

use std::fmt;

/// The command line was not understood.
pub const USAGE: u8 = 2;
/// A check failed.
pub const CHECK: u8 = 6;
/// A tool, a compiler or libtorch are not as needed.
pub const ENVIRONMENT: u8 = 10;

/// One failure. The exit codes are those of the `host` binary.
#[derive(Debug)]
pub struct Failure {
    /// What the process exits with.
    pub exit: u8,
    /// What is wrong: lower-case, one line. Empty when the child that failed has already said it.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint yet.
    pub fn new(exit: u8, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None }
    }

    /// Adds the way out.
    pub fn hint(mut self, text: impl Into<String>) -> Failure {
        self.hint = Some(text.into());
        self
    }

    /// What failed has told why by itself; only its exit code is passed on.
    pub fn forwarded(exit: u8) -> Failure {
        Failure::new(exit, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
