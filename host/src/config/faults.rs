//! What can be wrong with a configuration: one code each, and the words for it.
//! Finds nothing by itself.

use super::{
    kind::Misfit,
    schema::{Expect, nearest_key},
};
use crate::fault::{Exit, Fault, nearest};

/// Codes of this room and what they say, for the reference page.
pub const CODES: &[(&str, &str)] = &[
    (UNKNOWN_KEY, "unknown key in a configuration file or in `--set`"),
    (WRONG_TYPE, "a value of another type than its key holds"),
    (UNREADABLE, "a value that cannot be read"),
    (OUT_OF_RANGE, "a value outside its range"),
    (EMPTY_VARIABLE, "a variable that is set but empty"),
    (UNKNOWN_VARIABLE, "a variable that looks like a knob's and is none"),
    (VARIABLES_DISAGREE, "two variables of the same rank that say different things about one knob"),
    (FILE_UNREADABLE, "a configuration file that is missing or cannot be read"),
    (SYNTAX, "a configuration file that is not TOML"),
    (MALFORMED_SET, "`--set` without `=`, twice for one key, or for an entry that is not there"),
    (UNKNOWN_PRESET, "an unknown preset"),
    (NO_OPTIMIZER, "no source and no registry names an optimizer"),
    (MISSING_KEY, "an entry without a key that it needs"),
    (CONTRADICTION, "two values that cannot both hold, or one that would have no effect"),
    (RESUME_DISAGREES, "a flag or variable that disagrees with the run that is resumed"),
];

/// Unknown key.
pub const UNKNOWN_KEY: &str = "C001";
/// Wrong type.
pub const WRONG_TYPE: &str = "C002";
/// Unreadable value.
pub const UNREADABLE: &str = "C003";
/// Value out of range.
pub const OUT_OF_RANGE: &str = "C004";
/// Set but empty variable.
pub const EMPTY_VARIABLE: &str = "C005";
/// Unknown variable.
pub const UNKNOWN_VARIABLE: &str = "C006";
/// Variables that disagree.
pub const VARIABLES_DISAGREE: &str = "C007";
/// File missing or unreadable.
pub const FILE_UNREADABLE: &str = "C008";
/// Not TOML.
pub const SYNTAX: &str = "C009";
/// Malformed `--set`.
pub const MALFORMED_SET: &str = "C010";
/// Unknown preset.
pub const UNKNOWN_PRESET: &str = "C011";
/// No optimizer named.
pub const NO_OPTIMIZER: &str = "C012";
/// Missing key.
pub const MISSING_KEY: &str = "C013";
/// Contradiction.
pub const CONTRADICTION: &str = "C014";
/// A source disagrees with a resumed run.
pub const RESUME_DISAGREES: &str = "C015";

/// A fault of configuration.
pub fn fault(code: &'static str, message: impl Into<String>) -> Fault {
    Fault::new(code, Exit::Config, message)
}

/// A key nobody knows.
pub fn unknown_key(key: &str, place: impl Into<String>) -> Fault {
    let fault = fault(UNKNOWN_KEY, format!("unknown key `{key}`")).at(place);
    match nearest_key(key) {
        Some(near) => fault.hint(format!("did you mean `{near}`? `host config show` prints all keys")),
        None => fault.hint("`host config show` prints all keys"),
    }
}

/// A value that does not fit its key. `typed` values come from TOML, others from text.
pub fn unfit(
    key: &str,
    expect: Expect,
    misfit: &Misfit,
    typed: bool,
    written: &str,
    place: impl Into<String>,
) -> Fault {
    let choices = expect.choices();
    let (code, verb) = match misfit {
        Misfit::OutOfRange => (OUT_OF_RANGE, "is out of range for"),
        Misfit::Unreadable if typed && choices.is_empty() => (WRONG_TYPE, "is not of the type of"),
        Misfit::Unreadable => (UNREADABLE, "cannot be read as"),
    };
    let fault = fault(code, format!("`{written}` {verb} `{key}`")).at(place).note("expected", expect.words());
    let bare = written.trim_matches(|c: char| "\"'[] ".contains(c));
    match nearest(bare, choices.iter().copied()) {
        Some(near) if near != bare => fault.hint(format!("did you mean `{near}`?")),
        _ if written.trim() != written => fault.hint("take the spaces away"),
        _ => fault,
    }
}
