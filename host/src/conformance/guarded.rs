//! One step on tensors that lie between guards: what a kernel writes beside its elements is seen.
//! Rules over whole tensors have no memory to write to; that their arguments stay is `tensor::whole`'s.

use std::sync::Arc;

use sdk::conformance::{Trouble, Way, numbers::Numbers};
use tch::{Device, Kind, Tensor};

use super::hosted::{element, pass, trouble};
use crate::{
    registry::Loaded,
    rules::{Rule, Target, Touched, kernel::slot_kind},
};

/// Elements of a guard on either side.
const GUARD: i64 = 64;
const MARK: f64 = -3.75;

/// A tensor between guards.
struct Guarded {
    whole: Tensor,
    inside: Tensor,
}

impl Guarded {
    fn of(values: &Tensor, kind: Kind) -> Guarded {
        let n = values.numel() as i64;
        let whole = Tensor::full([n + 2 * GUARD], MARK, (kind, Device::Cpu));
        let inside = whole.narrow(0, GUARD, n);
        inside.shallow_clone().copy_(&values.reshape([-1]));
        Guarded { inside: inside.reshape(values.size()), whole }
    }

    /// How many guards are no longer as they were.
    fn touched(&self) -> i64 {
        let n = self.whole.numel() as i64 - 2 * GUARD;
        let off = |part: Tensor| part.ne(MARK).sum(Kind::Int64).int64_value(&[]);
        off(self.whole.narrow(0, 0, GUARD)) + off(self.whole.narrow(0, GUARD + n, GUARD))
    }
}

/// What was written outside of the parameter and its slots, or into the gradient.
///
/// # Errors
/// The plugin's.
pub fn writes_outside(loaded: &Arc<Loaded>, hyper: &[f64], shape: &[i64], way: Way) -> Result<Option<String>, Trouble> {
    let (Some(rule), Some(expression)) = (Rule::of(loaded), loaded.record(hyper).map_err(|fault| trouble(&fault))?)
    else {
        return Ok(None);
    };
    let _guard = tch::no_grad_guard();
    let kind = element(way.dtype);
    let column = |seed: u64| Tensor::from_slice(&Numbers::of(seed).start(shape).values).reshape(shape);
    let (x, g) = (Guarded::of(&column(3), kind), Guarded::of(&column(5), kind));
    let before = g.whole.copy();
    let slots = loaded.slots(hyper).map_err(|fault| trouble(&fault))?;
    let narrow = if way.narrow { loaded.narrow(hyper, shape, &slots).map_err(|fault| trouble(&fault))? } else { None };
    let mut state: Vec<Option<Tensor>> = Vec::new();
    let mut guarded = Vec::new();
    for slot in slots.iter().filter(|slot| !slot.is_number()) {
        let held = slot_kind(kind, narrow.unwrap_or(0), slot);
        let start = match slot.start {
            2 => x.inside.to_kind(held),
            _ => Tensor::full(shape, slot.fill, (held, Device::Cpu)),
        };
        let place = slot.index as usize;
        if place >= state.len() {
            state.resize_with(place + 1, || None);
        }
        let column = Guarded::of(&start, held);
        state[place] = Some(column.inside.shallow_clone());
        guarded.push((format!("slot `{}`", slot.name), column));
    }
    let memory: Vec<f64> =
        loaded.memory(hyper).map_err(|fault| trouble(&fault))?.into_iter().map(|(_, value)| value).collect();
    let target = Target {
        name: "p0",
        x: &x.inside,
        g: g.inside.shallow_clone(),
        state: &state,
        hyper,
        step: [1.0, x.inside.numel() as f64, 1.0],
        memory: &memory,
        expression: &expression,
        touched: Touched::ALL,
    };
    pass(way)?.run(&rule, &[target]).map_err(|fault| trouble(&fault))?;
    if !g.whole.equal(&before) {
        return Ok(Some("the gradient was written to".to_string()));
    }
    guarded.push(("the parameter".to_string(), x));
    let touched = guarded.iter().find(|(_, column)| column.touched() > 0);
    Ok(touched.map(|(what, column)| format!("{} elements beside {what} were written to", column.touched())))
}
