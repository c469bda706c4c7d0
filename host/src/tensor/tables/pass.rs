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

#[cfg(test)]
mod tests {
    use std::ptr;

    use sdk::abi::OK;
    use tch::Tensor;

    use super::*;
    use crate::{
        rules::pass_tests::{Same, call},
        tensor::{Scope, tables::get_table},
    };

    fn last_error() -> String {
        // SAFETY: the host's own table, which is what its id says.
        unsafe { ((*get_table("host.core/1".into(), "".into()).cast::<sdk::abi::CoreTable>()).take_error)() }.into()
    }

    #[test]
    fn results_are_handles_of_the_call() {
        let scope = Scope::enter();
        let inputs = [scope.insert(Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0]).reshape([2, 2]))];
        for (code, expected) in [(0, vec![1.0, 2.0, 3.0, 4.0]), (3, vec![3.0, 7.0])] {
            let (codes, mut out) = ([code], 0);
            let call = PassCall { inputs: inputs[..].into(), ..call::<Same>(&[], &[0], &codes) };
            // SAFETY: a whole call, and room for its one result.
            assert_eq!(unsafe { pass(&raw const call, &raw mut out) }, OK);
            let result = scope.get(out).unwrap();
            assert_eq!(Vec::<f64>::try_from(result.reshape([-1])).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_a_call_is_refused() {
        let scope = Scope::enter();
        let stale = {
            let inner = Scope::enter();
            inner.insert(Tensor::zeros([1, 2], tch::kind::FLOAT_CPU))
        };
        let live = scope.insert(Tensor::zeros([1, 2], tch::kind::FLOAT_CPU));
        fn whole(handle: &[Handle; 1]) -> PassCall<'_> {
            PassCall { inputs: handle[..].into(), ..call::<Same>(&[], &[0], &[0]) }
        }
        let (live, stale, mut out) = ([live], [stale], 0);
        let (good, of_stale) = (whole(&live), whole(&stale));
        let short = PassCall { struct_size: size_of::<PassCall<'_>>() - 1, ..good };
        let rows = PassCall { inputs: live[..].into(), ..call::<Same>(&[], &[0], &[1]) };
        let place = &raw mut out;
        let table: [(*const PassCall<'_>, *mut Handle, &str); 5] = [
            (ptr::null(), place, "the call is shorter than this host knows it"),
            (&raw const short, place, "the call is shorter than this host knows it"),
            (&raw const good, ptr::null_mut(), "no place for the result"),
            (&raw const of_stale, place, "stale tensor handle"),
            (&raw const rows, place, "rows and columns need matrices, not a batch of shape [1, 2]"),
        ];
        for (call, outs, text) in table {
            // SAFETY: null, or a call whose size says what there is, and room for one result.
            assert_ne!(unsafe { pass(call, outs) }, OK, "{text}");
            assert!(last_error().contains(text), "{text}");
            assert_eq!(out, 0, "{text}");
        }
    }

    /// Two passes that are not one have two traces, and so two fingerprints of the rules that call them.
    #[test]
    fn a_trace_tells_what_is_computed() {
        let trace = |results: &[u32], numbers: &[f64]| {
            let scope = Scope::traced();
            let inputs = [scope.insert(Tensor::ones([1, 2, 2], tch::kind::FLOAT_CPU))];
            let mut out = 0;
            let call = PassCall { inputs: inputs[..].into(), ..call::<Same>(numbers, &[0], results) };
            // SAFETY: a whole call, and room for its one result.
            assert_eq!(unsafe { pass(&raw const call, &raw mut out) }, OK);
            scope.trace().text().to_owned()
        };
        let kept = trace(&[0], &[]);
        assert!(kept.contains("pass %0 [0] [0] \""), "{kept}");
        assert_eq!(kept, trace(&[0], &[]));
        assert_ne!(kept, trace(&[1], &[]));
        assert_ne!(kept, trace(&[0], &[2.0]));
    }
}
