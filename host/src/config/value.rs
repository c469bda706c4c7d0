//! A value as some source said it, before it becomes a setting.
//! Does not judge: kinds and ranges are `kind.rs`.

use std::{fmt, path::PathBuf};

use super::settings::HyperValue;

/// A value of one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count, or the seed.
    Integer(u64),
    /// Any other number; finite.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A word or a text.
    Text(String),
    /// A file or directory, absolute once it has left its source.
    Path(PathBuf),
    /// Words, such as the roles of a group.
    Words(Vec<String>),
}

impl Value {
    /// The count. Callers have checked the value against its kind.
    pub fn integer(&self) -> u64 {
        match self {
            Value::Integer(value) => *value,
            other => unreachable!("{other:?} was checked to be an integer"),
        }
    }

    /// The number. Callers have checked the value against its kind.
    pub fn number(&self) -> f64 {
        match self {
            Value::Integer(value) => *value as f64,
            Value::Number(value) => *value,
            other => unreachable!("{other:?} was checked to be a number"),
        }
    }

    /// The truth value. Callers have checked the value against its kind.
    pub fn flag(&self) -> bool {
        match self {
            Value::Flag(value) => *value,
            other => unreachable!("{other:?} was checked to be true or false"),
        }
    }

    /// The text. Callers have checked the value against its kind.
    pub fn text(&self) -> &str {
        match self {
            Value::Text(value) => value,
            other => unreachable!("{other:?} was checked to be text"),
        }
    }

    /// The path. Callers have checked the value against its kind.
    pub fn path(&self) -> PathBuf {
        match self {
            Value::Path(value) => value.clone(),
            other => unreachable!("{other:?} was checked to be a path"),
        }
    }

    /// As a hyper-parameter: integers are numbers there. Words and paths are none.
    pub fn hyper(&self) -> Option<HyperValue> {
        match self {
            Value::Integer(value) => Some(HyperValue::Number(*value as f64)),
            Value::Number(value) => Some(HyperValue::Number(*value)),
            Value::Flag(value) => Some(HyperValue::Flag(*value)),
            Value::Text(value) => Some(HyperValue::Choice(value.clone())),
            Value::Path(_) | Value::Words(_) => None,
        }
    }

    /// As TOML writes it.
    pub fn to_toml(&self) -> String {
        match self {
            Value::Integer(value) => value.to_string(),
            // Rust's shortest form reads back to the same bits and is a TOML float.
            Value::Number(value) => format!("{value:?}"),
            Value::Flag(value) => value.to_string(),
            Value::Text(value) => quoted(value),
            Value::Path(value) => quoted(&value.to_string_lossy()),
            Value::Words(words) => {
                format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// As JSON writes it.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Integer(value) => (*value).into(),
            Value::Number(value) => (*value).into(),
            Value::Flag(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::Path(value) => value.to_string_lossy().into(),
            Value::Words(words) => words.as_slice().into(),
        }
    }
}

impl From<&HyperValue> for Value {
    fn from(value: &HyperValue) -> Value {
        match value {
            HyperValue::Number(number) => Value::Number(*number),
            HyperValue::Flag(flag) => Value::Flag(*flag),
            HyperValue::Choice(text) => Value::Text(text.clone()),
        }
    }
}

/// A TOML basic string on one line, fit for keys too.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// For lines of text: plain where that cannot be misread, else quoted.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |f: &mut fmt::Formatter<'_>, text: &str| {
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"(),\"".contains(c);
            if !text.is_empty() && text.chars().all(plain) { f.write_str(text) } else { write!(f, "{text:?}") }
        };
        match self {
            Value::Integer(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value:?}"),
            Value::Flag(value) => write!(f, "{value}"),
            Value::Text(value) => word(f, value),
            Value::Path(value) => word(f, &value.to_string_lossy()),
            Value::Words(words) => word(f, &words.join("+")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_be_misread_is_quoted() {
        for (value, shown) in [
            (Value::Text("muon".into()), "muon"),
            (Value::Text("a b".into()), "\"a b\""),
            (Value::Text("x, src=flag)".into()), "\"x, src=flag)\""),
            (Value::Text(String::new()), "\"\""),
            (Value::Text("two\nlines".into()), "\"two\\nlines\""),
            (Value::Number(1e-3), "0.001"),
            (Value::Number(3.0), "3.0"),
            (Value::Integer(u64::MAX), "18446744073709551615"),
        ] {
            assert_eq!(value.to_string(), shown);
        }
    }
}
