//! What a key means: a knob, a hyper-parameter of a plugin, a field of a group, projection or operation, a tag.
//! Does not know which hyper-parameters a plugin has; they are checked against its own schema when it is loaded.

use super::{
    choice::{self, ON_ERROR},
    kind::{Kind, Misfit, Range},
    knobs::{KNOBS, Knob},
    layers::{ARRAYS, array_entry},
    value::Value,
};
use crate::{fault, model::Role};

/// What a key may hold.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// A knob of the table.
    Knob(&'static Knob),
    /// A field that is none of the table's.
    Field(Kind),
    /// A list of roles.
    Roles,
    /// A number, truth value or word that a plugin declares.
    Hyper,
}

/// Sections that hold keys, beside the arrays.
pub fn is_section(key: &str) -> bool {
    let inputs = array_entry(key).is_some_and(|(array, _, rest)| array == "projection" && rest == "inputs");
    let holds = |knob: &Knob| knob.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
    inputs || key == "tags" || KNOBS.iter().any(holds)
}

/// What a key holds; none if there is no such key.
pub fn expect(key: &str) -> Option<Expect> {
    if let Some(knob) = Knob::of(key) {
        // a file cannot name the file
        return (knob.key != "config").then_some(Expect::Knob(knob));
    }
    if let Some((array, _, rest)) = array_entry(key) {
        return match (array, rest) {
            ("group", "roles") => Some(Expect::Roles),
            ("group", "pattern" | "optimizer") => Some(Expect::Field(Kind::Text)),
            ("group", "state_format") => Some(Expect::Field(Kind::Word(choice::STATE_FORMATS))),
            ("projection", "label" | "pattern") => Some(Expect::Field(Kind::Text)),
            ("projection", "inputs") => None,
            ("schedule", "name" | "note") => Some(Expect::Field(Kind::Text)),
            ("schedule", "value") => Some(Expect::Field(Kind::Number(Range::FINITE))),
            ("schedule", "trigger_loss") => Some(Expect::Field(Kind::Number(Range::POSITIVE))),
            ("schedule", "max_wait_steps") => Some(Expect::Field(Kind::ANY)),
            ("schedule", "reevaluate") => Some(Expect::Field(Kind::Flag)),
            ("schedule", "on_error") => Some(Expect::Field(Kind::Word(ON_ERROR))),
            ("projection", rest) if rest.strip_prefix("inputs.").is_some_and(|name| !name.is_empty()) => {
                Some(Expect::Field(Kind::Path))
            }
            (_, rest) => is_name(rest).then_some(Expect::Hyper),
        };
    }
    match key.split_once('.') {
        Some(("optimizer", rest)) => is_name(rest).then_some(Expect::Hyper),
        Some(("tags", rest)) if !rest.is_empty() => Some(Expect::Field(Kind::Text)),
        _ => None,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The key that was probably meant: one whose last part is the same, else one written almost the same.
pub fn nearest_key(key: &str) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let keys = || KNOBS.iter().filter(|knob| knob.key != "config");
    let given = last(key);
    if let Some(knob) = keys().find(|knob| last(knob.key) == given || knob.name == given || knob.flag == Some(&given)) {
        return Some(knob.key.to_owned());
    }
    let sections = ["data", "model", "train", "lr_schedule", "optimizer", "run", "tags"];
    let whole = keys().map(|knob| knob.key).chain(sections).chain(ARRAYS);
    if let Some(near) = fault::nearest(key, whole) {
        return Some(near.to_owned());
    }
    let parts: Vec<String> = keys().map(|knob| last(knob.key)).collect();
    let near = fault::nearest(&given, parts.iter().map(String::as_str))?;
    keys().find(|knob| last(knob.key) == near).map(|knob| knob.key.to_owned())
}

/// The names of roles.
pub fn role_names() -> Vec<&'static str> {
    Role::ALL.into_iter().map(Role::name).collect()
}

impl Expect {
    /// What is expected, in words.
    pub fn words(self) -> String {
        match self {
            Expect::Knob(knob) => knob.kind.expected(),
            Expect::Field(kind) => kind.expected(),
            Expect::Roles => format!("a list of {}", role_names().join(", ")),
            Expect::Hyper => "a finite number, true, false or a word".into(),
        }
    }

    /// Words of which one may have been meant.
    pub fn choices(self) -> Vec<&'static str> {
        match self {
            Expect::Knob(Knob { kind: Kind::Word(words), .. }) => words.to_vec(),
            Expect::Field(Kind::Word(words)) => words.to_vec(),
            Expect::Roles => role_names(),
            _ => Vec::new(),
        }
    }

    /// Reads text of `--set`.
    pub fn read(self, text: &str) -> Result<Value, Misfit> {
        match self {
            Expect::Knob(knob) => knob.kind.read(text),
            Expect::Field(kind) => kind.read(text),
            Expect::Roles => self.admit(Value::Words(text.split(',').map(|word| word.trim().to_owned()).collect())),
            Expect::Hyper => self.admit(match (text.parse(), text.parse()) {
                (Ok(flag), _) => Value::Flag(flag),
                (_, Ok(number)) => Value::Number(number),
                _ => Value::Text(text.to_owned()),
            }),
        }
    }

    /// Admits a value that already has a type.
    pub fn admit(self, value: Value) -> Result<Value, Misfit> {
        match (self, value) {
            (Expect::Knob(knob), value) => knob.kind.admit(value),
            (Expect::Field(kind), value) => kind.admit(value),
            (Expect::Roles, Value::Words(words)) => {
                let known = role_names();
                let good = !words.is_empty() && words.iter().all(|word| known.contains(&word.as_str()));
                if good { Ok(Value::Words(words)) } else { Err(Misfit::Unreadable) }
            }
            (Expect::Hyper, Value::Integer(value)) => Ok(Value::Number(value as f64)),
            (Expect::Hyper, Value::Number(value)) if value.is_finite() => Ok(Value::Number(value)),
            (Expect::Hyper, Value::Flag(value)) => Ok(Value::Flag(value)),
            (Expect::Hyper, Value::Text(text)) if !text.is_empty() => Ok(Value::Text(text)),
            _ => Err(Misfit::Unreadable),
        }
    }
}
