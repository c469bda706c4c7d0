//! A pass behind C entries, and the call that hands it to the host.

use std::cell::Cell;

use abi_stable::std_types::{RResult, RSlice, RString, RVec};

use super::call::sized;
use super::guard;
use crate::abi::{PassBlock, PassCall};
use crate::cpu::{self, Double, Single, Storage};
use crate::record::values;
use crate::tape::{self, Node};
use crate::{Error, Pass, Per, Record, Result, Tensor};

/// Inputs, and results, that a pass may have.
const MOST: usize = 8;

thread_local! {
    /// Whether a rule that says it goes by passes is at work on this thread.
    static ALLOWED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a rule, which may call passes or not.
pub(super) fn with_passes<T>(allowed: bool, work: impl FnOnce() -> T) -> T {
    /// Also after a panic.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            ALLOWED.set(false);
        }
    }
    ALLOWED.set(allowed);
    let _reset = Reset;
    work()
}

/// Runs a pass at the host; `in_place`: results take the place of inputs of their names, where both are kept by element.
pub fn run<'t, P: Pass>(
    numbers: P::Numbers<f64>,
    inputs: P::Inputs<(Tensor<'t>, Per)>,
    results: P::Results<Per>,
    in_place: bool,
) -> Result<P::Results<Tensor<'t>>> {
    if !ALLOWED.get() {
        return Err(Error::new("pass: for optimizers alone that declare `const BY_PASSES: bool = true`"));
    }
    let numbers = values(&numbers);
    let names = <P::Inputs<f64> as Record<f64>>::NAMES;
    let inputs = values(&inputs).into_iter();
    let (handles, input_per): (Vec<u64>, Vec<u32>) = inputs.map(|(tensor, per)| (tensor.handle(), per as u32)).unzip();
    if let Some(missing) = handles.iter().position(|handle| *handle == 0) {
        let name = names[missing];
        return Err(Error::new(format!("pass: input `{name}` is not there, such as a slot that is switched off")));
    }
    let result_per: Vec<u32> = values(&results).into_iter().map(|per| per as u32).collect();
    let replaced = |(name, per): (&&str, &u32)| {
        let of_name = |(input, at): (&&str, &u32)| input == name && [*per, *at] == [Per::Element as u32; 2];
        names.iter().zip(&input_per).position(of_name).map_or(0, |input| input as u32 + 1)
    };
    let result_names = <P::Results<f64> as Record<f64>>::NAMES;
    let replaces: Vec<u32> =
        if in_place { result_names.iter().zip(&result_per).map(replaced).collect() } else { Vec::new() };
    let call = PassCall {
        struct_size: size_of::<PassCall<'_>>(),
        record: record::<P>,
        run_f32: block::<P, Single>,
        run_f64: block::<P, Double>,
        take_fault: guard::take_fault,
        numbers: RSlice::from_slice(&numbers),
        inputs: RSlice::from_slice(&handles),
        input_per: RSlice::from_slice(&input_per),
        result_per: RSlice::from_slice(&result_per),
        replaces: RSlice::from_slice(&replaces),
    };
    let tensors = guard::as_panic(|| Tensor::pass::<MOST>(&call))?;
    Ok(P::Results::build(|k| tensors[k]))
}

extern "C" fn record<P: Pass>(results: RSlice<'_, u32>) -> RResult<RVec<Node>, RString> {
    guard::value(|| {
        let known = results.iter().map(|&code| Per::of(code).ok_or_else(|| Error::new(format!("code {code}"))));
        Ok(tape::record_pass::<P>(&known.collect::<Result<Vec<Per>>>()?)?.into())
    })
}

unsafe extern "C" fn block<P: Pass, S: Storage>(block: *const PassBlock) -> u32 {
    guard::status(|| {
        // SAFETY: the host passes a block that lives until this returns, and says by `struct_size` how much there is.
        let block = unsafe { sized(block)? };
        // SAFETY: the host upholds what `PassBlock` says, for the storage format of this entry.
        unsafe { cpu::pass::<P, S>(block) };
        Ok(())
    })
}
