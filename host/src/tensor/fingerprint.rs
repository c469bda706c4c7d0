//! What a matrix rule is: the sequence of its table calls, and the bits that it makes of a fixed probe.
//! Compares nothing; whether two labels may be equal is the registry's business.

use std::fmt::Write;

use abi_stable::std_types::RSlice;
use sdk::abi::SlotDescriptor;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use super::{
    Batch, Scope,
    bytes::to_bytes,
    slots::initial_slot,
    tables::philox,
    whole::{Arguments, WholeRule, step_whole},
};
use crate::fault::{Exit, Fault};

/// Shapes of the probe's parameters: a tall matrix, a wide one, a square one, a vector.
const SHAPES: [&[i64]; 4] = [&[6, 4], &[4, 6], &[5, 5], &[7]];
const STEPS: u32 = 8;

/// SHA-256, in hex, over the state slots, the table calls of eight steps on each shape that the rule accepts, and the
/// bits of parameters and state after each of them; f32 on the CPU.
///
/// Equal fingerprints mean the same calls with the same numbers. Because `hyper` enters by value, a rule has another
/// fingerprint at other hyper-parameters; and because libtorch's kernels differ between processors, so may the bits.
///
/// An error where the plugin fails, and where it accepts none of the shapes.
pub fn matrix_fingerprint(rule: &WholeRule<'_>, hyper: &[f64]) -> Result<String, Fault> {
    let slots = (rule.table.slots)(RSlice::from_slice(hyper)).into_result();
    let slots = slots.map_err(|text| failed(rule.label, "slots", &text))?;
    let mut hash = Sha256::new();
    hash.update(slots_text(&slots));
    let mut accepted = false;
    for (number, shape) in SHAPES.into_iter().enumerate() {
        if (rule.table.accepts)(RSlice::from_slice(shape)).is_ok() {
            accepted = true;
            hash.update(format!("shape {shape:?}\n"));
            let of_shape = match rule.slots {
                Some(table) => {
                    let slots = (table.slots)(RSlice::from_slice(hyper), RSlice::from_slice(shape)).into_result();
                    slots.map_err(|text| failed(rule.label, "slots", &text))?
                }
                None => slots.clone(),
            };
            probe(rule, hyper, &of_shape, number as u32, shape, &mut hash)?;
        }
    }
    if !accepted {
        let text = format!("none of the shapes {SHAPES:?} is accepted");
        return Err(failed(rule.label, "accepts", &text));
    }
    Ok(hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// Runs the steps on one shape.
fn probe(
    rule: &WholeRule<'_>,
    hyper: &[f64],
    slots: &[SlotDescriptor],
    number: u32,
    shape: &[i64],
    hash: &mut Sha256,
) -> Result<(), Fault> {
    let start = pseudo_random([number, 0], shape)?;
    let mut state: Vec<Option<Batch>> = Vec::new();
    for slot in slots {
        let index = slot.index as usize;
        if index >= state.len() {
            state.resize_with(index + 1, || None);
        }
        let slot = initial_slot(slot, &start, Kind::Float);
        state[index] = Some(Batch::Stacked(slot.map_err(|text| failed(rule.label, "slots", &text))?));
    }
    let mut x = Batch::Stacked(start);
    for t in 1..=STEPS {
        let g = pseudo_random([number, t], shape)?;
        let step = [f64::from(t), g.numel() as f64, 3.5];
        let scope = Scope::traced();
        let g = Batch::Stacked(g);
        (x, state) = step_whole(&scope, Arguments::Kept, rule, hyper, step, &x, &g, &state)?;
        hash.update(scope.trace().text());
        for tensor in std::iter::once(&x).chain(state.iter().flatten()).flat_map(Batch::parts) {
            hash.update(to_bytes(tensor)?.2);
        }
    }
    Ok(())
}

/// Numbers in [−1, 1) that are the same everywhere, as a batch of one.
fn pseudo_random(key: [u32; 2], shape: &[i64]) -> Result<Tensor, Fault> {
    let n: i64 = shape.iter().product();
    let values: Vec<f32> =
        (0..n as u32).map(|i| (philox::block([i, 0, 0, 0], key)[0] >> 8) as f32 * 2f32.powi(-23) - 1.0).collect();
    let sizes: Vec<i64> = std::iter::once(1).chain(shape.iter().copied()).collect();
    Tensor::f_from_slice(&values).and_then(|flat| flat.f_reshape(&sizes)).map_err(|error| {
        Fault::new("E092", Exit::Environment, "the probe of matrix rules cannot be made")
            .note("libtorch", error.to_string())
    })
}

fn slots_text(slots: &[SlotDescriptor]) -> String {
    let mut text = String::new();
    for slot in slots {
        // Names are left out: they decide no number. Writing to a string cannot fail.
        let _ = writeln!(text, "slot {} {} {} {:016x}", slot.index, slot.shape_kind, slot.start, slot.fill.to_bits());
    }
    text
}

fn failed(label: &str, stage: &str, text: &str) -> Fault {
    Fault::new("P016", Exit::Plugin, format!("optimizer `{label}` cannot be fingerprinted"))
        .note("stage", stage)
        .note("reason", text)
}
