//! A hyper-parameter as written, checked against a plugin's schema, becomes the f64 that the plugin is handed.
//! Does not know where the value was written.

use sdk::abi::HyperDescriptor;

use crate::{config::settings::HyperValue, fault::nearest};

/// Why a value does not fit: one lower-case sentence, and the way out where one is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

/// Finds `name` in a schema.
///
/// # Errors
/// An unknown name, with the known ones and the nearest.
pub fn find(schema: &[HyperDescriptor], owner: &str, name: &str) -> Result<usize, Unfit> {
    if let Some(index) = schema.iter().position(|hyper| hyper.name == name) {
        return Ok(index);
    }
    let known: Vec<&str> = schema.iter().map(|hyper| hyper.name.as_str()).collect();
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? known: {}", known.join(", ")),
        None if known.is_empty() => "it has none".to_string(),
        None => format!("known: {}", known.join(", ")),
    };
    Err(Unfit { message: format!("`{owner}` has no hyper-parameter `{name}`"), hint: Some(hint) })
}

/// The number that stands for `value`: a flag is 0 or 1, a choice its index.
///
/// # Errors
/// A value of another kind, out of range, or no choice of this hyper-parameter.
pub fn number(hyper: &HyperDescriptor, value: &HyperValue) -> Result<f64, Unfit> {
    let name = &hyper.name;
    let unfit = |message: String, hint: Option<String>| Err(Unfit { message, hint });
    match (hyper.kind.as_str(), value) {
        ("number", HyperValue::Number(number)) => {
            if (hyper.low..=hyper.high).contains(number) {
                return Ok(*number);
            }
            let range = format!("{} to {}", hyper.low, hyper.high);
            unfit(format!("`{name}` = {number} is out of range"), Some(format!("it may be {range}")))
        }
        ("flag", HyperValue::Flag(flag)) => Ok(f64::from(u8::from(*flag))),
        ("choice", HyperValue::Choice(choice)) => match hyper.choices.iter().position(|known| known == choice) {
            Some(index) => Ok(index as f64),
            None => {
                let known = hyper.choices.iter().map(|known| known.as_str());
                let all = known.clone().collect::<Vec<_>>().join(", ");
                let hint = match nearest(choice, known) {
                    Some(near) => format!("did you mean `{near}`? known: {all}"),
                    None => format!("known: {all}"),
                };
                unfit(format!("`{name}` has no choice `{choice}`"), Some(hint))
            }
        },
        (kind, value) => {
            let wanted = match kind {
                "number" => "a number".to_string(),
                "flag" => "true or false".to_string(),
                _ => {
                    let choices: Vec<String> = hyper.choices.iter().map(|choice| format!("\"{choice}\"")).collect();
                    format!("one of {}", choices.join(", "))
                }
            };
            unfit(format!("`{name}` must be {wanted}, not {}", written(value)), None)
        }
    }
}

/// `value` as it may be written: the inverse of [`number`].
pub fn value(hyper: &HyperDescriptor, value: f64) -> HyperValue {
    match hyper.kind.as_str() {
        "flag" => HyperValue::Flag(value != 0.0),
        "choice" => HyperValue::Choice(text(hyper, value)),
        _ => HyperValue::Number(value),
    }
}

/// `value` as text for a person.
pub fn text(hyper: &HyperDescriptor, value: f64) -> String {
    match hyper.kind.as_str() {
        "flag" => (value != 0.0).to_string(),
        "choice" => match hyper.choices.get(value as usize) {
            Some(choice) => choice.to_string(),
            None => value.to_string(),
        },
        _ => plain(value),
    }
}

/// A number as short as it can be read back exactly.
pub fn plain(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e9).contains(&size) && size.is_finite() {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// What a hyper-parameter may be, for a person.
pub fn range(hyper: &HyperDescriptor) -> String {
    match hyper.kind.as_str() {
        "flag" => "true, false".to_string(),
        "choice" => hyper.choices.iter().map(|choice| choice.as_str()).collect::<Vec<_>>().join(", "),
        _ => format!("{} to {}", plain(hyper.low), plain(hyper.high)),
    }
}

/// A value as it stands in TOML.
pub fn written(value: &HyperValue) -> String {
    match value {
        HyperValue::Number(number) => plain(*number),
        HyperValue::Flag(flag) => flag.to_string(),
        HyperValue::Choice(choice) => format!("\"{choice}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hyper(kind: &str) -> HyperDescriptor {
        HyperDescriptor {
            name: "h".into(),
            kind: kind.into(),
            default: 0.0,
            low: 0.0,
            high: 1.0,
            choices: if kind == "choice" {
                ["slow", "fast"].map(Into::into).to_vec().into()
            } else {
                Vec::new().into()
            },
            meaning: "".into(),
        }
    }

    #[test]
    fn values_fit_their_kind_or_are_refused_with_the_way_out() {
        use HyperValue::{Choice, Flag, Number};
        let fast = || Choice("fast".into());
        let table = [
            ("number", Number(0.0), Ok(0.0)),
            ("number", Number(1.0), Ok(1.0)),
            ("number", Number(1.1), Err("out of range")),
            ("number", Number(-0.1), Err("out of range")),
            ("number", Number(f64::NAN), Err("out of range")),
            ("number", Flag(true), Err("must be a number, not true")),
            ("number", fast(), Err("must be a number, not \"fast\"")),
            ("flag", Flag(true), Ok(1.0)),
            ("flag", Flag(false), Ok(0.0)),
            ("flag", Number(1.0), Err("must be true or false, not 1")),
            ("choice", fast(), Ok(1.0)),
            ("choice", Choice("fasst".into()), Err("has no choice `fasst`")),
            ("choice", Number(1.0), Err("must be one of \"slow\", \"fast\", not 1")),
        ];
        for (kind, value, expected) in table {
            match (number(&hyper(kind), &value), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{kind} {value:?}"),
                (Err(unfit), Err(part)) => assert!(unfit.message.contains(part), "{kind} {value:?}: {unfit:?}"),
                (found, expected) => panic!("{kind} {value:?}: {found:?}, not {expected:?}"),
            }
        }
        let unfit = number(&hyper("choice"), &Choice("fasst".into())).unwrap_err();
        assert_eq!(unfit.hint.as_deref(), Some("did you mean `fast`? known: slow, fast"));
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let unfit = find(&[hyper("number")], "adamw", "hh").unwrap_err();
        assert_eq!(unfit.message, "`adamw` has no hyper-parameter `hh`");
        assert!(unfit.hint.unwrap().starts_with("did you mean `h`?"));
    }

    #[test]
    fn value_is_the_inverse_of_number_and_text_shows_it() {
        for (kind, written) in [
            ("number", HyperValue::Number(0.5)),
            ("flag", HyperValue::Flag(true)),
            ("choice", HyperValue::Choice("fast".into())),
        ] {
            let hyper = hyper(kind);
            assert_eq!(value(&hyper, number(&hyper, &written).unwrap()), written);
        }
        assert_eq!(text(&hyper("choice"), 1.0), "fast");
        assert_eq!(text(&hyper("flag"), 1.0), "true");
        assert_eq!(text(&hyper("number"), 1e-8), "1e-8");
        assert_eq!(text(&hyper("number"), 0.95), "0.95");
    }
}
