//! How every table function runs: operands looked up, panics contained, failures kept as text, results named.
//! Knows no operation; those are in the tables.

use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use sdk::abi::{FAILED, OK, PANICKED, host_tables::Handle};
use tch::{TchError, Tensor};

use super::kind_name;
use crate::tensor::{Batch, arena::with_call, trace::Argument};

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Takes the text of the last failure on this thread; empty if there was none.
pub(super) fn take_error_text() -> String {
    LAST_ERROR.take()
}

/// Why an operation was refused.
pub(super) enum Refusal {
    /// By the table itself.
    Text(String),
    /// By libtorch.
    Torch(TchError),
}

impl From<TchError> for Refusal {
    fn from(error: TchError) -> Refusal {
        Refusal::Torch(error)
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Refusal {
        Refusal::Text(text)
    }
}

/// Where a result is written.
pub(super) type Out<T> = *mut T;

/// Computes tensors from tensors. The results' handles are written only if all went well.
///
/// # Safety
/// Each of `outs` is null, which is refused, or valid for a write.
pub(super) unsafe fn compute<const RESULTS: usize>(
    name: &str,
    operands: &[Handle],
    arguments: &[Argument<'_>],
    outs: [Out<Handle>; RESULTS],
    operation: impl FnOnce(&[&Tensor]) -> Result<[Tensor; RESULTS], Refusal>,
) -> u32 {
    let stacked = |batches: &[&Batch]| {
        let tensors = batches.iter().map(|batch| batch.stacked()).collect::<Result<Vec<_>, _>>()?;
        Ok(operation(&tensors)?.into_iter().map(Batch::Stacked).collect())
    };
    // SAFETY: the caller's promise.
    unsafe { compute_all(name, operands, arguments, &outs, stacked) }
}

/// As [`compute`], of batches that need not be stacked, for as many results as there are places, at least one.
///
/// # Safety
/// As [`compute`].
pub(super) unsafe fn compute_all(
    name: &str,
    operands: &[Handle],
    arguments: &[Argument<'_>],
    outs: &[Out<Handle>],
    operation: impl FnOnce(&[&Batch]) -> Result<Vec<Batch>, Refusal>,
) -> u32 {
    status(name, || {
        if outs.iter().any(|out| out.is_null()) {
            return Err(format!("{name}: no place for the result"));
        }
        with_call(|call| {
            let positions = positions(name, operands, |handle| call.position(handle))?;
            let results = {
                let batches = positions.iter().map(|&at| call.at(at)).collect::<Result<Vec<_>, _>>()?;
                operation(&batches).map_err(|refusal| explain(name, &batches, refusal))?
            };
            call.has_room(results.len())?;
            let trace = call.trace.take();
            let handles: Vec<Handle> = results.iter().map(|result| call.insert(result.shallow_clone())).collect();
            if let Some(mut trace) = trace {
                trace.record(name, &positions, arguments, call.position(handles[0])?, &results);
                call.trace = Some(trace);
            }
            for (out, handle) in outs.iter().zip(handles) {
                // SAFETY: not null, as checked above, and valid for a write by this function's contract.
                unsafe { out.write(handle) };
            }
            Ok(())
        })
    })
}

/// Refuses a call before anything is looked up.
pub(super) fn refused(text: &str) -> u32 {
    LAST_ERROR.set(text.to_owned());
    FAILED
}

/// Reads something off one batch and hands it to `write` if all went well.
pub(super) fn read<T>(
    name: &str,
    a: Handle,
    question: impl FnOnce(&Batch) -> Result<T, Refusal>,
    write: impl FnOnce(T),
) -> u32 {
    status(name, || {
        with_call(|call| {
            let at = positions(name, &[a], |handle| call.position(handle))?[0];
            let batch = call.at(at)?;
            write(question(batch).map_err(|refusal| explain(name, &[batch], refusal))?);
            Ok(())
        })
    })
}

/// [`read`] through a pointer.
///
/// # Safety
/// `out` is null, which is refused, or valid for a write.
pub(super) unsafe fn read_into<T>(
    name: &str,
    a: Handle,
    out: Out<T>,
    question: impl FnOnce(&Batch) -> Result<T, Refusal>,
) -> u32 {
    let answer = |batch: &Batch| {
        if out.is_null() { Err(Refusal::Text("no place for the result".to_owned())) } else { question(batch) }
    };
    read(name, a, answer, |value| {
        // SAFETY: not null, as `answer` checked, and valid for a write by this function's contract.
        unsafe { out.write(value) }
    })
}

/// Runs an entry so that neither a panic nor an error of it leaves as anything but a status.
fn status(name: &str, work: impl FnOnce() -> Result<(), String>) -> u32 {
    contained(name, work).map_or_else(|status| status, |()| OK)
}

/// What `work` makes, or the status of its error or panic, whose text is kept.
pub(super) fn contained<T>(name: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, u32> {
    // Nothing that `work` touches is left half done by an unwind: a call's tensors are appended, and forgotten, whole.
    let (status, text) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(made)) => return Ok(made),
        Ok(Err(text)) => (FAILED, text),
        Err(panic) => (PANICKED, format!("{name}: the host panicked: {}", panic_text(panic.as_ref()))),
    };
    LAST_ERROR.set(text);
    Err(status)
}

fn positions(
    name: &str,
    operands: &[Handle],
    position: impl Fn(Handle) -> Result<usize, String>,
) -> Result<Vec<usize>, String> {
    let found: Result<Vec<usize>, String> = operands.iter().map(|&handle| position(handle)).collect();
    found.map_err(|text| format!("{name}: {text}"))
}

/// The refusal with the function's name and its operands' types and shapes.
fn explain(name: &str, operands: &[&Batch], refusal: Refusal) -> String {
    let what: Vec<String> =
        operands.iter().map(|batch| format!("{} {:?}", kind_name(batch.kind()), batch.size())).collect();
    let why = match refusal {
        Refusal::Text(text) => text,
        // What follows the first line is a C++ stack.
        Refusal::Torch(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    if what.is_empty() { format!("{name}: {why}") } else { format!("{name} of {}: {why}", what.join(" and ")) }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Scope;

    /// A panic becomes a status and a text; the call goes on.
    #[test]
    fn a_panic_is_contained() {
        let scope = Scope::enter();
        let a = scope.insert(Tensor::from(1.0_f32));
        let mut out = 7_u64;
        // SAFETY: `out` is a local.
        let status = unsafe { compute("broken", &[a], &[], [&raw mut out], |_| panic!("on purpose")) };
        assert_eq!((status, out), (PANICKED, 7));
        assert_eq!(take_error_text(), "broken: the host panicked: on purpose");
        assert_eq!(take_error_text(), "");
        // SAFETY: `out` is a local.
        let status = unsafe { compute("whole", &[a], &[], [&raw mut out], |t| Ok([t[0].f_neg()?])) };
        assert_eq!(status, OK);
        assert_eq!(scope.get(out).unwrap().double_value(&[]), -1.0);
    }

    #[test]
    fn without_a_place_nothing_is_computed() {
        let scope = Scope::enter();
        let a = scope.insert(Tensor::from(1.0_f32));
        // SAFETY: null is refused.
        let status = unsafe { compute("neg", &[a], &[], [std::ptr::null_mut()], |t| Ok([t[0].f_neg()?])) };
        assert_eq!(status, FAILED);
        assert_eq!(take_error_text(), "neg: no place for the result");
    }
}
