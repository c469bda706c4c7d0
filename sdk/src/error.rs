//! The error of a plugin: one text, shown to the user with the label and the step.
//! Carries no code; the host knows what it was doing.

use std::fmt;

/// Why something cannot be done. Lower-case, one line, with the numbers that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// Result of a plugin's function.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(text: String) -> Error {
        Error(text)
    }
}

impl From<&str> for Error {
    fn from(text: &str) -> Error {
        Error(text.into())
    }
}
