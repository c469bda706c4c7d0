//! `pass` of `host.tensor/1`: a plugin's walk over the elements of a batch.
//! Walks nothing itself; that is `rules`.

use std::{mem::MaybeUninit, ptr};

use abi_stable::std_types::RSlice;
use sdk::{
    abi::{PassCall, host_tables::Handle},
    tape,
};

use super::entry::{Out, Refusal, compute_all, contained, refused};
use crate::{
    rules::pass::{Pass, expression},
    tensor::{
        arena::{is_traced, with_call},
        trace::Argument::{Integers, Number, Text},
    },
};

/// # Safety
/// `call` is null, which is refused, or points to a call whose first field says how long it is; `outs` is null, which is
/// refused, or has room for as many handles as the call has results.
pub(super) unsafe extern "C" fn pass(call: *const PassCall<'_>, outs: *mut Handle) -> u32 {
    // SAFETY: where it is not null, its first field says how long it is.
    let Some(call) = (unsafe { whole(call) }) else {
        return refused("pass: the call is shorter than it was ever published");
    };
    let call = &call;
    // SAFETY: the caller's contract about `outs`.
    contained("pass", || unsafe { Ok(run(call, outs)) }).unwrap_or_else(|status| status)
}

/// The call with what its sender did not know yet; none where it is shorter than it ever was.
///
/// # Safety
/// As [`pass`].
unsafe fn whole<'a>(call: *const PassCall<'a>) -> Option<PassCall<'a>> {
    // SAFETY: not null where the size is read, which is the first field and there in every version.
    let size = if call.is_null() { 0 } else { unsafe { call.cast::<usize>().read() } };
    let known = if size < size_of::<PassCall<'_>>() { PassCall::PUBLISHED } else { size_of::<PassCall<'_>>() };
    let mut whole = MaybeUninit::<PassCall<'a>>::uninit();
    // SAFETY: the place of the one field behind `PUBLISHED`; then as many bytes as the sender has.
    (size >= PassCall::PUBLISHED).then(|| unsafe {
        (&raw mut (*whole.as_mut_ptr()).replaces).write(RSlice::EMPTY);
        ptr::copy_nonoverlapping(call.cast::<u8>(), whole.as_mut_ptr().cast::<u8>(), known);
        whole.assume_init()
    })
}

/// # Safety
/// As [`pass`]'s of `outs`.
unsafe fn run(call: &PassCall<'_>, outs: *mut Handle) -> u32 {
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
    let replaced = call.replaces.iter().filter_map(|&input| call.inputs.get((input as usize).checked_sub(1)?).copied());
    let replaced: Vec<Handle> = replaced.collect();
    let looked_up = with_call(|call_of_plugin| {
        let may = call.inputs.iter().map(|&input| call_of_plugin.may_be_replaced(input)).collect::<Vec<bool>>();
        Ok((may, call_of_plugin.beside(&replaced)))
    });
    let (may_be_replaced, beside) = looked_up.unwrap_or_default();
    // SAFETY: null, or within what the caller has room for.
    let status = unsafe {
        compute_all("pass", &call.inputs, &arguments, &places, |batches| {
            Pass::new(call, batches).and_then(|pass| pass.run(&may_be_replaced)).map_err(Refusal::Text)
        })
    };
    // Also after a failure, which may have come when some of it was written. Without a call under way nothing was.
    let _ = with_call(|call_of_plugin| {
        call_of_plugin.forget(&beside);
        Ok(())
    });
    status
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use sdk::abi::OK;
    use tch::Tensor;

    use super::*;
    use crate::{
        rules::pass_tests::{Panics, Same, Scaled, call},
        tensor::{Batch, Scope, tables::get_table},
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

    /// A result lies where the input did that it replaces, whose handle is stale then; what was lent is left as it is.
    #[test]
    fn a_result_takes_the_place_of_an_input() {
        for lent in [false, true] {
            let scope = Scope::enter();
            let x = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0]).reshape([2, 2]);
            let batch = Batch::Stacked(x.shallow_clone());
            let inputs = [if lent { scope.lend(batch) } else { scope.give(batch) }];
            let view = scope.give(Batch::Stacked(x.narrow(1, 0, 1)));
            let (numbers, mut out) = ([10.0], 0);
            let call = PassCall {
                inputs: inputs[..].into(),
                replaces: [1][..].into(),
                ..call::<Scaled>(&numbers, &[0], &[0])
            };
            // SAFETY: a whole call, and room for its one result.
            assert_eq!(unsafe { pass(&raw const call, &raw mut out) }, OK);
            let result = scope.get(out).unwrap();
            assert_eq!(Vec::<f64>::try_from(result.reshape([-1])).unwrap(), [10.0, 20.0, 30.0, 40.0]);
            assert_eq!(result.data_ptr() == x.data_ptr(), !lent);
            assert_eq!(x.double_value(&[0, 0]), if lent { 1.0 } else { 10.0 });
            let stale = [inputs[0], view].map(|handle| scope.get(handle).unwrap_err().message);
            assert!(stale.iter().all(|text| text.contains("a pass put a result in its place")), "{stale:?}");
        }
    }

    /// What a kernel that failed may have written to is not to be named either.
    #[test]
    fn after_a_failure_the_input_is_gone() {
        let scope = Scope::enter();
        let inputs = [scope.give(Batch::Stacked(Tensor::ones([1, 3], tch::kind::DOUBLE_CPU)))];
        let (replaces, mut out) = ([1], 0);
        let call =
            PassCall { inputs: inputs[..].into(), replaces: replaces[..].into(), ..call::<Panics>(&[], &[0], &[0]) };
        // SAFETY: a whole call, and room for its one result.
        assert_ne!(unsafe { pass(&raw const call, &raw mut out) }, OK);
        assert!(scope.get(inputs[0]).is_err());
    }

    /// A plugin that knows no such results sends a shorter call, behind which nothing is read.
    #[test]
    fn a_call_as_it_was_first_published_is_understood() {
        let scope = Scope::enter();
        let inputs = [scope.give(Batch::Stacked(Tensor::ones([1, 3], tch::kind::DOUBLE_CPU)))];
        let (replaces, mut out) = ([1], 0);
        let call = PassCall {
            struct_size: PassCall::PUBLISHED,
            inputs: inputs[..].into(),
            replaces: replaces[..].into(),
            ..call::<Same>(&[], &[0], &[0])
        };
        // SAFETY: a call of at least the size that it says, and room for its one result.
        assert_eq!(unsafe { pass(&raw const call, &raw mut out) }, OK);
        assert!(scope.get(inputs[0]).is_ok());
        assert_eq!(scope.get(out).unwrap().double_value(&[0, 2]), 1.0);
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
        let short = PassCall { struct_size: PassCall::PUBLISHED - 1, ..good };
        let rows = PassCall { inputs: live[..].into(), ..call::<Same>(&[], &[0], &[1]) };
        let place = &raw mut out;
        let table: [(*const PassCall<'_>, *mut Handle, &str); 5] = [
            (ptr::null(), place, "the call is shorter than it was ever published"),
            (&raw const short, place, "the call is shorter than it was ever published"),
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
