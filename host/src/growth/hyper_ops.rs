//! The one table of hyper-parameter operations: name, what it changes, what its value may be, how it rounds.
//! Does not know when one fires.

use super::LiveHyper;
use crate::{
    config::settings::{LrScheduleKind, Settings},
    registry::hyper::plain,
};

/// What the value of an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// There is none.
    Nothing,
    /// A factor above 0; a whole number becomes max(least, ⌊old · value⌋).
    Factor,
    /// A new number above 0.
    Positive,
    /// A new whole number from the least one on.
    Count,
}

/// One operation on hyper-parameters.
#[derive(Debug)]
pub struct HyperOp {
    /// As a schedule names it.
    pub name: &'static str,
    /// What its value is.
    pub takes: Takes,
    /// What it changes, in one line.
    pub changes: &'static str,
    /// The number it changes.
    number: Number,
    /// What else it changes by its value.
    along: fn(&mut LiveHyper, f64),
    /// Why it would change nothing, where it would.
    idle: Idle,
}

/// A number of a run that an operation changes.
#[derive(Debug)]
enum Number {
    /// Read so, and changed so: by the value, and the steps done.
    Real(fn(&LiveHyper) -> f64, fn(&mut LiveHyper, f64, u64)),
    /// A whole one in this place, and the least it may become.
    Whole(fn(&mut LiveHyper) -> &mut u64, u64),
}

type Idle = fn(&LiveHyper, &Settings, bool) -> Option<&'static str>;

/// Every operation, in the order of tables.
pub static HYPER_OPS: &[HyperOp] = &[
    real("change_lr", Takes::Factor, LR, LiveHyper::lr, |h, v, _| h.lr_scale *= v, no_lr),
    real("set_lr", Takes::Positive, LR, LiveHyper::lr, |h, v, _| h.lr_scale = v / h.main_lr.unwrap_or(1.0), no_lr),
    whole("change_batch_size", Takes::Factor, BATCH, |h| &mut h.batch_size, 1, never),
    whole("set_batch_size", Takes::Count, BATCH, |h| &mut h.batch_size, 1, never),
    whole("change_grad_accum", Takes::Factor, ACCUM, |h| &mut h.grad_accum, 1, never),
    whole("set_grad_accum", Takes::Count, ACCUM, |h| &mut h.grad_accum, 1, never),
    real("reset_lr_schedule", Takes::Nothing, RESET, |h| h.lr_begun as f64, |h, _, step| h.lr_begun = step, flat),
    HyperOp {
        along: |h, v| h.decay_scale *= v,
        ..whole("change_warmup_steps", Takes::Factor, SCALE, |h| &mut h.warmup_steps, 0, flat)
    },
    whole("set_warmup_steps", Takes::Count, WARMUP, |h| &mut h.warmup_steps, 0, never),
    whole("change_eval_steps", Takes::Factor, WINDOWS, |h| &mut h.eval_steps, 1, never),
    whole("set_eval_steps", Takes::Count, WINDOWS, |h| &mut h.eval_steps, 1, never),
    whole("change_eval_every", Takes::Factor, EVERY, |h| &mut h.eval_every, 1, no_evals),
    whole("set_eval_every", Takes::Count, EVERY, |h| &mut h.eval_every, 1, never),
    real("change_lora_alpha", Takes::Factor, ALPHA, |h| h.lora_alpha, |h, v, _| h.lora_alpha *= v, no_adapters),
    real("set_lora_alpha", Takes::Positive, ALPHA, |h| h.lora_alpha, |h, v, _| h.lora_alpha = v, no_adapters),
];

const LR: &str = "the learning rate of the main group before its schedule; all groups move in proportion";
const BATCH: &str = "`train.batch_size`: sequences per backward pass";
const ACCUM: &str = "`train.grad_accum`: backward passes per step";
const RESET: &str = "begins the learning-rate schedule again, at the coming step";
const SCALE: &str = "`lr_schedule.warmup_steps`, and the length of the decay by the same factor";
const WARMUP: &str = "`lr_schedule.warmup_steps` alone";
const WINDOWS: &str = "`train.eval_steps`: validation windows per evaluation";
const EVERY: &str = "`train.eval_every`: steps between evaluations, which fall on its multiples";
const ALPHA: &str = "`model.lora_alpha`: the adapters' α, and with it their term";

const fn real(
    name: &'static str,
    takes: Takes,
    changes: &'static str,
    get: fn(&LiveHyper) -> f64,
    act: fn(&mut LiveHyper, f64, u64),
    idle: Idle,
) -> HyperOp {
    HyperOp { name, takes, changes, number: Number::Real(get, act), along: |_, _| {}, idle }
}

const fn whole(
    name: &'static str,
    takes: Takes,
    changes: &'static str,
    place: fn(&mut LiveHyper) -> &mut u64,
    least: u64,
    idle: Idle,
) -> HyperOp {
    HyperOp { name, takes, changes, number: Number::Whole(place, least), along: |_, _| {}, idle }
}

fn never(_: &LiveHyper, _: &Settings, _: bool) -> Option<&'static str> {
    None
}

fn no_lr(h: &LiveHyper, _: &Settings, _: bool) -> Option<&'static str> {
    (h.main_lr.unwrap_or(0.0) <= 0.0).then_some("the main optimizer has no learning rate above 0")
}

fn flat(h: &LiveHyper, settings: &Settings, _: bool) -> Option<&'static str> {
    let flat = h.warmup_steps == 0 && settings.lr_schedule.kind == LrScheduleKind::Constant;
    flat.then_some("the learning-rate schedule is constant and has no warm-up")
}

fn no_evals(h: &LiveHyper, _: &Settings, _: bool) -> Option<&'static str> {
    (h.eval_every == 0).then_some("the run is evaluated at its end alone: train.eval_every = 0")
}

fn no_adapters(_: &LiveHyper, _: &Settings, has_adapters: bool) -> Option<&'static str> {
    (!has_adapters).then_some("the network has no adapters")
}

/// Largest whole number that an operation may lead to.
const MOST: f64 = u32::MAX as f64;

impl HyperOp {
    /// The operation of a name.
    pub fn named(name: &str) -> Option<&'static HyperOp> {
        HYPER_OPS.iter().find(|op| op.name == name)
    }

    /// What its value may be, in words.
    pub fn expected(&self) -> String {
        match self.takes {
            Takes::Nothing => "no value".into(),
            Takes::Factor => "a factor above 0".into(),
            Takes::Positive => "a number above 0".into(),
            Takes::Count => format!("a whole number from {} to {MOST}", self.least().unwrap_or(0)),
        }
    }

    /// Its value, checked; 0 where it takes none.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn value(&self, value: Option<f64>) -> Result<f64, String> {
        let fits = |value: f64| match self.takes {
            Takes::Nothing => false,
            Takes::Factor | Takes::Positive => value > 0.0 && value.is_finite(),
            Takes::Count => value.fract() == 0.0 && (self.least().unwrap_or(0) as f64..=MOST).contains(&value),
        };
        match value {
            None if self.takes == Takes::Nothing => Ok(0.0),
            None => Err(format!("`{}` has no value", self.name)),
            Some(value) if fits(value) => Ok(value),
            Some(value) => Err(format!("`{}` cannot take value = {}", self.name, plain(value))),
        }
    }

    /// The hyper-parameters after it, with `step` steps done. `has_adapters` is of the network.
    ///
    /// # Errors
    /// Why it cannot be done: it would change nothing, or lead beyond all bounds.
    pub fn apply(
        &self,
        live: &LiveHyper,
        value: f64,
        step: u64,
        settings: &Settings,
        has_adapters: bool,
    ) -> Result<LiveHyper, String> {
        if let Some(reason) = (self.idle)(live, settings, has_adapters) {
            return Err(format!("`{}` would change nothing: {reason}", self.name));
        }
        let mut next = live.clone();
        match self.number {
            Number::Real(_, act) => act(&mut next, value, step),
            Number::Whole(place, least) if self.takes == Takes::Factor => {
                let whole = place(&mut next);
                *whole = ((*whole as f64 * value).floor() as u64).max(least);
            }
            Number::Whole(place, _) => *place(&mut next) = value as u64,
        }
        (self.along)(&mut next, value);
        let new = self.get(&next);
        let bounded = match self.number {
            Number::Whole(..) => new <= MOST,
            Number::Real(..) => self.takes == Takes::Nothing || (new > 0.0 && new.is_finite()),
        };
        if !bounded || !next.decay_scale.is_finite() {
            return Err(format!("`{}` leads from {} to {}", self.name, self.shown(live), self.shown(&next)));
        }
        Ok(next)
    }

    /// What it changes, as text.
    pub fn shown(&self, live: &LiveHyper) -> String {
        plain(self.get(live))
    }

    /// Least value of a whole number; none for other numbers.
    pub fn least(&self) -> Option<u64> {
        match self.number {
            Number::Whole(_, least) => Some(least),
            Number::Real(..) => None,
        }
    }

    fn get(&self, live: &LiveHyper) -> f64 {
        match self.number {
            Number::Real(get, _) => get(live),
            Number::Whole(place, _) => *place(&mut live.clone()) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::knobs::builtin;

    fn live() -> LiveHyper {
        LiveHyper { main_lr: Some(0.5), grad_accum: 4, ..LiveHyper::of(&builtin()) }
    }

    fn after(name: &str, value: f64) -> Result<String, String> {
        let op = HyperOp::named(name).unwrap();
        op.apply(&live(), value, 7, &builtin(), true).map(|next| op.shown(&next))
    }

    #[test]
    fn values_are_scaled_floored_and_set() {
        for (name, value, expected) in [
            ("change_lr", 0.5, "0.25"),
            ("set_lr", 0.125, "0.125"),
            ("change_grad_accum", 2.5, "10"),
            ("change_grad_accum", 0.1, "1"),
            ("change_batch_size", 1.5, "18"),
            ("change_eval_steps", 0.33, "6"),
            ("change_eval_every", 0.001, "1"),
            ("change_warmup_steps", 0.001, "0"),
            ("set_warmup_steps", 3.0, "3"),
            ("reset_lr_schedule", 0.0, "7"),
            ("change_lora_alpha", 2.0, "32"),
            ("set_lora_alpha", 1.5, "1.5"),
        ] {
            assert_eq!(after(name, value).as_deref(), Ok(expected), "{name} {value}");
        }
        let scaled = HyperOp::named("change_warmup_steps").unwrap().apply(&live(), 0.5, 0, &builtin(), false).unwrap();
        assert_eq!((scaled.warmup_steps, scaled.decay_scale), (50, 0.5));
    }

    #[test]
    fn what_changes_nothing_or_leads_nowhere_is_refused() {
        assert!(after("change_batch_size", 1e12).unwrap_err().contains("leads from 12"));
        let no_adapters = HyperOp::named("set_lora_alpha").unwrap().apply(&live(), 1.0, 0, &builtin(), false);
        assert!(no_adapters.unwrap_err().contains("no adapters"));
        let never = LiveHyper { eval_every: 0, main_lr: None, ..live() };
        for name in ["change_eval_every", "change_lr", "set_lr"] {
            assert!(HyperOp::named(name).unwrap().apply(&never, 2.0, 0, &builtin(), false).is_err(), "{name}");
        }
    }

    #[test]
    fn values_fit_or_not() {
        for (name, value, fits) in [
            ("change_lr", Some(0.0), false),
            ("change_lr", Some(-1.0), false),
            ("change_lr", None, false),
            ("set_batch_size", Some(2.5), false),
            ("set_batch_size", Some(0.0), false),
            ("set_warmup_steps", Some(0.0), true),
            ("set_eval_every", Some(0.0), false),
            ("set_grad_accum", Some(1e10), false),
            ("reset_lr_schedule", Some(1.0), false),
            ("reset_lr_schedule", None, true),
        ] {
            assert_eq!(HyperOp::named(name).unwrap().value(value).is_ok(), fits, "{name} {value:?}");
        }
    }

    #[test]
    fn a_schedule_that_begins_again_repeats_its_beginning() {
        let settings = builtin();
        let (begun, again) = (live(), LiveHyper { lr_begun: 300, ..live() });
        let factor = |live: &LiveHyper, step| live.lr_factor(&settings.lr_schedule, step, 1000);
        assert_eq!(factor(&again, 310), factor(&begun, 10));
        assert_eq!(factor(&again, 1001), settings.lr_schedule.min_ratio);
        assert_eq!(factor(&LiveHyper { lr_scale: 0.5, ..live() }, 10), 0.5 * factor(&begun, 10));
    }
}
