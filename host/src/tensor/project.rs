//! One call of a projection plugin: handles, pointers, and what comes back.
//! Does not judge whether that is a gradient; `projection` does.

use std::ptr;

use sdk::abi::{OK, ProjectionCall, ProjectionTable};
use tch::Tensor;

use super::Scope;

/// Projects `g`. Gives what the plugin keeps, none where its handle is none of the call's, and its metrics.
///
/// # Errors
/// The status of a call that failed; the text is fetched from the plugin.
pub fn project(
    table: &ProjectionTable,
    hyper: &[f64],
    g: &Tensor,
    inputs: &[Tensor],
    metrics: usize,
) -> Result<(Option<Tensor>, Vec<f64>), u32> {
    let scope = Scope::enter();
    let inputs: Vec<u64> = inputs.iter().map(|tensor| scope.insert(tensor.shallow_clone())).collect();
    let mut metrics = vec![0.0_f64; metrics];
    let mut kept = 0_u64;
    let call = ProjectionCall {
        struct_size: size_of::<ProjectionCall>(),
        hyper: hyper.as_ptr(),
        g: scope.insert(g.shallow_clone()),
        inputs: inputs.as_ptr(),
        metrics: metrics.as_mut_ptr(),
        kept: &raw mut kept,
    };
    // SAFETY: the entry is the plugin's own, found under its id; every pointer of the call lives in this frame and is
    // as long as the plugin's own lists of names.
    let status = unsafe { (table.project)(ptr::from_ref(&call)) };
    if status == OK { Ok((scope.get(kept).ok(), metrics)) } else { Err(status) }
}
