//! Settings that must fit each other, and settings that would have no effect.
//! Values one by one were checked when they were read.

use super::{
    choice::Choice,
    faults::{CONTRADICTION, fault},
    knobs::{KNOBS, Knob},
    origin::{Origin, Said, Source},
    resolve::Resolved,
    settings::{Device, Format, LrScheduleKind, Settings},
};
use crate::{
    fault::{Fault, Faults},
    growth::changes_network,
    model::lora::{self, Ranks},
};

/// A knob that does nothing while another one is as it is.
struct Idle {
    key: &'static str,
    /// The knob that makes it so.
    because: &'static str,
    /// When.
    holds: fn(&Settings) -> bool,
}

const IDLE: &[Idle] = &[
    Idle { key: "data.val_fraction", because: "data.val", holds: |s| s.data.val.is_some() },
    Idle { key: "state_format", because: "format", holds: |s| s.format == Format::F64 },
    Idle {
        key: "model.lora_alpha",
        because: "model.lora_rank",
        // an operation may add adapters
        holds: |s| Ranks::of(&s.model).largest().is_none() && !changes_network(s),
    },
    Idle { key: "growth.state", because: SCHEDULE, holds: |s| !changes_network(s) },
    Idle {
        key: "lr_schedule.decay_fraction",
        because: "lr_schedule.kind",
        holds: |s| s.lr_schedule.kind != LrScheduleKind::Wsd,
    },
    Idle {
        key: "lr_schedule.decay_steps",
        because: "lr_schedule.kind",
        holds: |s| s.lr_schedule.kind == LrScheduleKind::Constant,
    },
    Idle {
        key: "lr_schedule.min_ratio",
        because: "lr_schedule.kind",
        holds: |s| s.lr_schedule.kind == LrScheduleKind::Constant,
    },
];

/// The array of operations.
const SCHEDULE: &str = "schedule";

/// Whether a knob does nothing with these settings; such knobs hold their default and are not written.
pub fn is_idle(key: &str, settings: &Settings) -> bool {
    IDLE.iter().any(|idle| idle.key == key && (idle.holds)(settings))
}

/// Checks settings against each other.
pub fn check(resolved: &mut Resolved, faults: &mut Faults) {
    idle(resolved, faults);
    let settings = &resolved.settings;
    let both = |message: String, one: &str, other: &str| -> Fault {
        let place = |key: &str| resolved.origins.place(key).unwrap_or_else(|| key.to_owned());
        fault(CONTRADICTION, message).at(place(one)).note("with", place(other))
    };
    let model = &settings.model;
    if !model.n_embd.is_multiple_of(model.n_head) {
        let message = format!("{} heads do not divide a width of {}", model.n_head, model.n_embd);
        let near = (1..=model.n_embd).filter(|n| model.n_embd.is_multiple_of(*n));
        let near = near.min_by_key(|n| n.abs_diff(model.n_head)).unwrap_or(1);
        let fault = both(message, "model.n_head", "model.n_embd");
        faults.push(fault.hint(format!("{near} heads would do, or a width that is a multiple of {}", model.n_head)));
    }
    if model.lora_rank > model.n_embd {
        let message =
            format!("a LoRA adapter of rank {} is larger than its layer of width {}", model.lora_rank, model.n_embd);
        faults.push(both(message, "model.lora_rank", "model.n_embd").hint("a rank far below the width is usual"));
    }
    let divisors =
        [("model.attn_lora_divisor", model.attn_lora_divisor), ("model.vocab_lora_divisor", model.vocab_lora_divisor)];
    for (key, divisor) in divisors.into_iter().filter_map(|(key, divisor)| Some((key, divisor?))) {
        let rank = lora::rank(model.n_embd, divisor);
        if !(1..=model.n_embd).contains(&rank) {
            let message = format!("a width of {} divided by {divisor} is a LoRA rank of {rank}", model.n_embd);
            let hint = format!("from 1 to {}; without the key there is no such adapter", model.n_embd);
            faults.push(both(message, key, "model.n_embd").hint(hint));
        }
    }
    if let Some(decay) = settings.lr_schedule.decay_steps.filter(|decay| *decay < settings.lr_schedule.warmup_steps) {
        let message =
            format!("the decay ends at step {decay}, within {} steps of warm-up", settings.lr_schedule.warmup_steps);
        let fault = both(message, "lr_schedule.decay_steps", "lr_schedule.warmup_steps");
        faults.push(fault.hint("without decay_steps the decay ends at the last step"));
    }
    if settings.format == Format::F64 && settings.device == Device::Cuda {
        let message = format!("{} is for the CPU", Format::F64.name());
        faults.push(both(message, "format", "device").hint("`--device cpu`, or `--format f32`"));
    }
    for index in settings.group.iter().enumerate().filter(|(_, group)| group.state_format.is_some()).map(|(i, _)| i) {
        if settings.format == Format::F64 {
            let message = format!("the state of {} parameters is {0}", Format::F64.name());
            let fault = both(message, &format!("group.{index}.state_format"), "format");
            faults.push(fault.hint("take `state_format` away, or `--format f32`"));
        }
    }
    if settings.data.val.is_some() && settings.data.train.is_none() {
        let place = resolved.origins.place("data.val").unwrap_or_default();
        let message = "validation text is given, but no training text";
        faults.push(fault(CONTRADICTION, message).at(place).hint("give the training text too: `--data FILE`"));
    }
}

/// A value that has no effect is an error if it was said as loudly as what takes its effect away. One from a lower
/// source (a preset's decay under a schedule without one) gives way: it takes its default, and the trace says so.
fn idle(resolved: &mut Resolved, faults: &mut Faults) {
    for Idle { key, because, holds } in IDLE {
        if !holds(&resolved.settings) {
            continue;
        }
        let Some(origin) = resolved.origins.get(key) else { continue };
        let reason = resolved.origins.get(because).map_or(&Source::Default, |reason| &reason.source);
        let (Some(value), false) = (origin.value.clone(), origin.source == Source::Default) else { continue };
        let reason_place = resolved.origins.place(because).unwrap_or_else(|| match *because {
            SCHEDULE => "no operation of the schedule changes the network".to_string(),
            _ => format!("{because} is not set"),
        });
        if origin.source.rank() <= reason.rank() {
            let place = resolved.origins.place(key).unwrap_or_default();
            let message = format!("`{key}` would have no effect");
            let fault = fault(CONTRADICTION, message).at(place).note("because of", reason_place);
            faults.push(fault.hint(format!("take it away, or change `{because}`")));
            continue;
        }
        let lower = Said { value, source: origin.source.clone() };
        let remark = format!("{key}={} from {} has no effect: {reason_place}", lower.value, lower.source);
        let default = Knob::of(key).and_then(Knob::default_value);
        reset(key, &mut resolved.settings);
        let overrides = vec![lower];
        resolved.origins.insert((*key).to_owned(), Origin { value: default, source: Source::Default, overrides });
        resolved.origins.remarks.push(remark);
    }
}

fn reset(key: &str, settings: &mut Settings) {
    if key == "lr_schedule.decay_steps" {
        settings.lr_schedule.decay_steps = None;
    }
    for knob in KNOBS.iter().filter(|knob| knob.key == key) {
        if let (Some(field), Some(default)) = (&knob.field, knob.default_value()) {
            (field.set)(settings, &default);
        }
    }
}
