//! `pass` of `host.tensor/1`: a plugin's walk over the elements of a batch.
//! Walks nothing itself; that is `rules`.

use sdk::{
    abi::{PassCall, host_tables::Handle},
    tape,
};

use super::entry::{Out, Refusal, compute_all, refused};
use crate::{
    rules::pass::{Pass, expression},
    tensor::{
        arena::is_traced,
        trace::Argument::{Integers, Number, Text},
    },
};

/// # Safety
/// `call` is null, which is refused, or points to a call that is as long as its first field says; `outs` is null, which
/// is refused, or has room for as many handles as the call has results.
pub(super) unsafe extern "C" fn pass(call: *const PassCall<'_>, outs: *mut Handle) -> u32 {
    // SAFETY: not null where the size is read, which is the first field and there in every version.
    if call.is_null() || unsafe { call.cast::<usize>().read() } < size_of::<PassCall<'_>>() {
        return refused("pass: the call is shorter than this host knows it");
    }
    // SAFETY: as long as that, by the caller's contract.
    let call = unsafe { &*call };
    let codes = |all: &[u32]| all.iter().map(|&code| code.into()).collect::<Vec<i64>>();
    let (input_per, result_per) = (codes(&call.input_per), codes(&call.result_per));
    // What the pass computes is asked for where it is written down; else its kernel says it all.
    let fingerprint = match is_traced().then(|| expression(call)) {
        None => String::new(),
        Some(Ok(nodes)) => tape::pass_fingerprint(&nodes),
        Some(Err(text)) => return refused(&format!("pass: {text}")),
    };
    let mut arguments: Vec<_> = call.numbers.iter().map(|&x| Number(x)).collect();
    arguments.extend([Integers(&input_per), Integers(&result_per), Text(&fingerprint)]);
    let places: Vec<Out<Handle>> =
        (0..call.result_per.len()).map(|k| if outs.is_null() { outs } else { outs.wrapping_add(k) }).collect();
    // SAFETY: null, or within what the caller has room for.
    unsafe {
        compute_all("pass", &call.inputs, &arguments, &places, |tensors| {
            Pass::new(call, tensors).and_then(|pass| pass.run()).map_err(Refusal::Text)
        })
    }
}
