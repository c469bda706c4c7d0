//! The first line of a run: what every knob is, where it came from, and which sources disagreed.
//! Prints nothing; the caller writes the line to stderr and keeps it.

use super::{
    knobs::{KNOBS, Knob},
    origin::Origin,
    resolve::Resolved,
};

/// Knobs that stand first, in this order; the others follow as in the table.
const FIRST: [&str; 12] = [
    "seed",
    "train.steps",
    "optimizer.lr",
    "model.n_embd",
    "optimizer.label",
    "format",
    "model.n_layer",
    "data.train",
    "data.val",
    "train.eval_every",
    "config",
    "preset",
];

/// `[entrypoint-trace] seed=(123, src=alias:SEED) steps=(100, src=flag, overrides 50 from alias:STEPS) …`
///
/// `extra` are fields of the caller, name and text as they shall stand, such as the registry's path and hash.
pub fn line(resolved: &Resolved, extra: &[(&str, String)]) -> String {
    let mut line = String::from("[entrypoint-trace]");
    let knobs = FIRST.iter().filter_map(|key| Knob::of(key));
    let rest = KNOBS.iter().filter(|knob| !FIRST.contains(&knob.key));
    for knob in knobs.chain(rest) {
        line.push_str(&field(knob.name, resolved.origins.get(knob.key)));
    }
    for (key, origin) in resolved.origins.iter().filter(|(key, _)| Knob::of(key).is_none()) {
        line.push_str(&field(key, Some(origin)));
    }
    for (name, text) in extra {
        line.push_str(&format!(" {name}={text}"));
    }
    for remark in &resolved.origins.remarks {
        line.push_str(&format!(" remark=({remark})"));
    }
    line
}

fn field(name: &str, origin: Option<&Origin>) -> String {
    let Some(origin) = origin else {
        return format!(" {name}=(none, src=default)");
    };
    let value = origin.value.as_ref().map_or("none".to_owned(), |value| value.to_string());
    let mut field = format!(" {name}=({value}, src={}", origin.source);
    for lower in &origin.overrides {
        field.push_str(&format!(", overrides {} from {}", lower.value, lower.source));
    }
    field.push(')');
    field
}
