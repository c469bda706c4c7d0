//! What a value of a knob may be, and the reading of text into it.
//! Does not know which source the text is from.

use std::path::PathBuf;

use super::value::Value;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number from `min` to `max`.
    Integer {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A finite number.
    Number(Range),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text that is not empty.
    Text,
    /// A file or directory.
    Path,
}

/// Numbers between two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Whether the ends themselves are in.
    pub closed: (bool, bool),
}

impl Range {
    /// Any finite number.
    pub const FINITE: Range = Range { low: f64::MIN, high: f64::MAX, closed: (true, true) };
    /// From zero on.
    pub const NOT_NEGATIVE: Range = Range { low: 0.0, high: f64::MAX, closed: (true, true) };
    /// Above zero.
    pub const POSITIVE: Range = Range { low: 0.0, high: f64::MAX, closed: (false, true) };
    /// From 0 to 1, both in.
    pub const UNIT: Range = Range { low: 0.0, high: 1.0, closed: (true, true) };
    /// From 0, which is in, to 1, which is out.
    pub const BELOW_ONE: Range = Range { low: 0.0, high: 1.0, closed: (true, false) };
    /// Between 0 and 1, both out.
    pub const INSIDE: Range = Range { low: 0.0, high: 1.0, closed: (false, false) };

    fn holds(self, value: f64) -> bool {
        let above = value > self.low || (self.closed.0 && value == self.low);
        let below = value < self.high || (self.closed.1 && value == self.high);
        above && below
    }

    fn words(self) -> String {
        let low = if self.closed.0 { "at least" } else { "above" };
        let high = if self.closed.1 { "at most" } else { "below" };
        match self.high {
            f64::MAX if self.low == f64::MIN => "finite".into(),
            f64::MAX => format!("{low} {}", self.low),
            _ => format!("{low} {} and {high} {}", self.low, self.high),
        }
    }
}

/// Why a value is not of its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Misfit {
    /// Something else altogether.
    Unreadable,
    /// Right in kind, outside the allowed values.
    OutOfRange,
}

impl Kind {
    /// Any whole number.
    pub const ANY: Kind = Kind::Integer { min: 0, max: u64::MAX };
    /// A whole number from one on, that fits every count.
    pub const COUNT: Kind = Kind::Integer { min: 1, max: u32::MAX as u64 };
    /// A whole number from zero on, that fits every count.
    pub const COUNT_OR_ZERO: Kind = Kind::Integer { min: 0, max: u32::MAX as u64 };

    /// What is expected, in words.
    pub fn expected(self) -> String {
        match self {
            Kind::Integer { min, max: u64::MAX } => format!("a whole number, at least {min}"),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Number(range) => format!("a number, {}", range.words()),
            Kind::Flag => "true or false".into(),
            Kind::Word(words) => {
                format!("one of {}", words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
            }
            Kind::Text => "text".into(),
            Kind::Path => "a path".into(),
        }
    }

    /// The placeholder in help texts.
    pub fn placeholder(self) -> &'static str {
        match self {
            Kind::Integer { .. } => "N",
            Kind::Number(_) => "NUMBER",
            Kind::Flag => "BOOL",
            Kind::Word(_) => "WORD",
            Kind::Text => "NAME",
            Kind::Path => "PATH",
        }
    }

    /// Reads text of a flag, a variable or `--set`. No trimming, no units, no thousands separators.
    pub fn read(self, text: &str) -> Result<Value, Misfit> {
        let value = match self {
            Kind::Integer { .. } if text.starts_with('-') && text[1..].parse::<u64>().is_ok() => {
                return Err(Misfit::OutOfRange);
            }
            Kind::Integer { .. } => Value::Integer(text.parse().map_err(|_| Misfit::Unreadable)?),
            Kind::Number(_) => Value::Number(text.parse().map_err(|_| Misfit::Unreadable)?),
            Kind::Flag => Value::Flag(text.parse().map_err(|_| Misfit::Unreadable)?),
            Kind::Word(_) | Kind::Text => Value::Text(text.to_owned()),
            Kind::Path => Value::Path(PathBuf::from(text)),
        };
        self.admit(value)
    }

    /// Admits a value that already has a type, such as one of TOML.
    pub fn admit(self, value: Value) -> Result<Value, Misfit> {
        match (self, value) {
            (Kind::Integer { min, max }, Value::Integer(value)) => {
                within(min <= value && value <= max, Value::Integer(value))
            }
            (Kind::Integer { .. }, Value::Number(value)) if value < 0.0 => Err(Misfit::OutOfRange),
            (Kind::Number(range), Value::Integer(value)) => {
                within(range.holds(value as f64), Value::Number(value as f64))
            }
            (Kind::Number(_), Value::Number(value)) if !value.is_finite() => Err(Misfit::Unreadable),
            (Kind::Number(range), Value::Number(value)) => within(range.holds(value), Value::Number(value)),
            (Kind::Flag, Value::Flag(value)) => Ok(Value::Flag(value)),
            (Kind::Word(words), Value::Text(text)) => {
                if words.contains(&text.as_str()) {
                    Ok(Value::Text(text))
                } else {
                    Err(Misfit::Unreadable)
                }
            }
            (Kind::Text, Value::Text(text)) if !text.is_empty() => Ok(Value::Text(text)),
            (Kind::Path, Value::Path(path)) if !path.as_os_str().is_empty() => Ok(Value::Path(path)),
            (Kind::Path, Value::Text(text)) if !text.is_empty() => Ok(Value::Path(PathBuf::from(text))),
            _ => Err(Misfit::Unreadable),
        }
    }
}

fn within(holds: bool, value: Value) -> Result<Value, Misfit> {
    if holds { Ok(value) } else { Err(Misfit::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_exactly_or_refused() {
        use Misfit::*;
        let heads = Kind::Integer { min: 1, max: 8 };
        let words = Kind::Word(&["cpu", "cuda"]);
        for (kind, text, expected) in [
            (Kind::ANY, "123", Ok(Value::Integer(123))),
            (Kind::ANY, "18446744073709551615", Ok(Value::Integer(u64::MAX))),
            (Kind::ANY, "18446744073709551616", Err(Unreadable)),
            (Kind::ANY, "-1", Err(OutOfRange)),
            (Kind::ANY, "1e3", Err(Unreadable)),
            (Kind::ANY, " 1", Err(Unreadable)),
            (Kind::ANY, "1_000", Err(Unreadable)),
            (Kind::ANY, "12x", Err(Unreadable)),
            (heads, "0", Err(OutOfRange)),
            (heads, "9", Err(OutOfRange)),
            (heads, "8", Ok(Value::Integer(8))),
            (Kind::Number(Range::BELOW_ONE), "0", Ok(Value::Number(0.0))),
            (Kind::Number(Range::BELOW_ONE), "1", Err(OutOfRange)),
            (Kind::Number(Range::INSIDE), "0.0", Err(OutOfRange)),
            (Kind::Number(Range::UNIT), "1.0", Ok(Value::Number(1.0))),
            (Kind::Number(Range::NOT_NEGATIVE), "-1e-9", Err(OutOfRange)),
            (Kind::Number(Range::NOT_NEGATIVE), "1e-3", Ok(Value::Number(1e-3))),
            (Kind::Number(Range::POSITIVE), "inf", Err(Unreadable)),
            (Kind::Number(Range::POSITIVE), "nan", Err(Unreadable)),
            (Kind::Number(Range::POSITIVE), "0,1", Err(Unreadable)),
            (Kind::Flag, "true", Ok(Value::Flag(true))),
            (Kind::Flag, "1", Err(Unreadable)),
            (words, "cpu", Ok(Value::Text("cpu".into()))),
            (words, "CPU", Err(Unreadable)),
            (Kind::Text, "", Err(Unreadable)),
            (Kind::Path, "a/b", Ok(Value::Path("a/b".into()))),
        ] {
            assert_eq!(kind.read(text), expected, "{text:?} as {}", kind.expected());
        }
    }

    #[test]
    fn typed_values_are_not_converted_across_types() {
        for (kind, value) in [
            (Kind::ANY, Value::Number(3.0)),
            (Kind::ANY, Value::Text("3".into())),
            (Kind::Number(Range::UNIT), Value::Text("0.5".into())),
            (Kind::Flag, Value::Integer(1)),
            (Kind::Text, Value::Integer(1)),
            (Kind::Path, Value::Flag(true)),
        ] {
            assert_eq!(kind.admit(value), Err(Misfit::Unreadable));
        }
    }
}
