//! Settings as a configuration file: training from it reproduces the run.
//! Writes text, not files.

use std::collections::BTreeMap;

use super::{
    check::is_idle,
    choice::Choice,
    knobs::KNOBS,
    settings::{HyperValue, Settings},
    value::Value,
};

/// Name of the file in a run directory.
pub const CONFIG: &str = "config.toml";

/// Every setting as TOML. Reading it gives the same settings, except `run.dir`: a run from this file gets a directory
/// of its own. Paths are absolute, so the file can be moved.
pub fn config_toml(settings: &Settings) -> String {
    annotated(settings, |_| None)
}

/// As [`config_toml`], with a comment behind each key for which there is one.
pub fn annotated(settings: &Settings, comment: impl Fn(&str) -> Option<String>) -> String {
    let mut lines = Lines { text: String::new(), comment: &comment };
    let mut section = "";
    for knob in KNOBS {
        let Some(field) = &knob.field else { continue };
        let (head, name) = knob.key.split_once('.').unwrap_or(("", knob.key));
        if head != section {
            lines.hyper_of(section, settings);
            section = head;
            lines.text.push_str(&format!("\n[{head}]\n"));
        }
        // `optimizer.lr` stands among the hyper-parameters
        if knob.key == "run.dir" || knob.key == "optimizer.lr" || is_idle(knob.key, settings) {
            continue;
        }
        if let Some(value) = (field.get)(settings) {
            lines.line(knob.key, name, &value.to_toml());
        }
    }
    for (index, group) in settings.group.iter().enumerate() {
        lines.text.push_str("\n[[group]]\n");
        let field = |name: &str| format!("group.{index}.{name}");
        lines.optional(&field("pattern"), "pattern", group.pattern.as_deref());
        if !group.roles.is_empty() {
            lines.line(&field("roles"), "roles", &Value::Words(group.roles.clone()).to_toml());
        }
        lines.optional(&field("optimizer"), "optimizer", group.optimizer.as_deref());
        lines.optional(&field("state_format"), "state_format", group.state_format.map(Choice::name));
        lines.hyper(&field(""), &group.hyper);
    }
    for (index, projection) in settings.projection.iter().enumerate() {
        lines.text.push_str("\n[[projection]]\n");
        let field = |name: &str| format!("projection.{index}.{name}");
        lines.optional(&field("label"), "label", Some(&projection.label));
        lines.optional(&field("pattern"), "pattern", Some(&projection.pattern));
        lines.hyper(&field(""), &projection.hyper);
        for (name, path) in &projection.inputs {
            let value = Value::Path(path.clone()).to_toml();
            lines.line(&field(&format!("inputs.{name}")), &format!("inputs.{}", bare(name)), &value);
        }
    }
    for (index, operation) in settings.schedule.iter().enumerate() {
        lines.text.push_str("\n[[schedule]]\n");
        let field = |name: &str| format!("schedule.{index}.{name}");
        lines.optional(&field("name"), "name", Some(&operation.name));
        let mut number = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                lines.line(&field(name), name, &value.to_toml());
            }
        };
        number("value", operation.value.map(Value::Number));
        number("trigger_loss", operation.trigger_loss.map(Value::Number));
        number("max_wait_steps", operation.max_wait_steps.map(Value::Integer));
        lines.line(&field("reevaluate"), "reevaluate", &operation.reevaluate.to_string());
        lines.optional(&field("on_error"), "on_error", Some(operation.on_error.name()));
        lines.optional(&field("note"), "note", operation.note.as_deref());
        lines.hyper(&field(""), &operation.hyper);
    }
    if !settings.tags.is_empty() {
        lines.text.push_str("\n[tags]\n");
        for (name, text) in &settings.tags {
            lines.line(&format!("tags.{name}"), &bare(name), &Value::Text(text.clone()).to_toml());
        }
    }
    lines.text
}

struct Lines<'a> {
    text: String,
    comment: &'a dyn Fn(&str) -> Option<String>,
}

impl Lines<'_> {
    fn line(&mut self, key: &str, name: &str, value: &str) {
        let line = format!("{name} = {value}");
        match (self.comment)(key) {
            Some(comment) => self.text.push_str(&format!("{line:<32}  # {comment}\n")),
            None => self.text.push_str(&format!("{line}\n")),
        }
    }

    fn optional(&mut self, key: &str, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.line(key, name, &Value::Text(text.to_owned()).to_toml());
        }
    }

    fn hyper(&mut self, prefix: &str, hyper: &BTreeMap<String, HyperValue>) {
        for (name, value) in hyper {
            self.line(&format!("{prefix}{name}"), &bare(name), &Value::from(value).to_toml());
        }
    }

    fn hyper_of(&mut self, section: &str, settings: &Settings) {
        if section == "optimizer" {
            self.hyper("optimizer.", &settings.optimizer.hyper);
        }
    }
}

/// A TOML key, quoted where it must be.
fn bare(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => Value::Text(name.to_owned()).to_toml(),
    }
}
