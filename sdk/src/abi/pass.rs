//! What crosses the boundary for one pass over tensors: `pass` of [`TensorTable`](super::TensorTable).

use core::mem::offset_of;

use abi_stable::std_types::{RResult, RSlice, RString, RVec};

use super::host_tables::Handle;
use crate::tape::Node;

/// One pass over the tensors of a batch. Pointers are the plugin's and live for the call.
///
/// How a tensor lies along the elements, or is summed from them, is a code: 0 an element each, 1 one number per row,
/// 2 one per column, 3 one per parameter of the batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PassCall<'a> {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: usize,
    /// The pass as an expression, given the results' codes: inputs are slots, numbers are hyper-parameters; a result of
    /// code 0 is stored to the slot of its index, every other is a sum. Any thread.
    pub record: extern "C" fn(results: RSlice<'_, u32>) -> RResult<RVec<Node>, RString>,
    /// One block, all tensors f32. Worker threads, disjoint blocks; pure, calls no table, allocates nothing.
    pub run_f32: unsafe extern "C" fn(block: *const PassBlock) -> u32,
    /// One block, all tensors f64.
    pub run_f64: unsafe extern "C" fn(block: *const PassBlock) -> u32,
    /// Takes the text of the last failure on this thread. Any thread.
    pub take_fault: extern "C" fn() -> RString,
    /// The numbers that the expression names.
    pub numbers: RSlice<'a, f64>,
    /// The inputs.
    pub inputs: RSlice<'a, Handle>,
    /// How each input lies.
    pub input_per: RSlice<'a, u32>,
    /// What each result is: kept element by element, or summed over rows, columns or parameters.
    pub result_per: RSlice<'a, u32>,
    /// The input whose place each result takes, as 1 + its index, or 0; both of code 0. Empty where none does. The host may
    /// write such a result where the input lies; the input's handle, and every other of that memory, is stale after the
    /// call in any case. Behind what was first published: a host that does not know it keeps all handles.
    pub replaces: RSlice<'a, u32>,
}

impl PassCall<'_> {
    /// Bytes of the call as it was first published. None is shorter; a field behind them is read where `struct_size` says
    /// that it is there.
    pub const PUBLISHED: usize = offset_of!(PassCall<'_>, result_per) + size_of::<RSlice<'_, u32>>();
}

/// One block of a pass: some rows of one matrix, some columns of each. Pointers are the caller's and live for the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PassBlock {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: usize,
    /// As [`KernelCall::isa`](super::KernelCall::isa).
    pub isa: u32,
    /// As [`PassCall::numbers`].
    pub numbers: *const f64,
    /// Rows of the block.
    pub rows: usize,
    /// Columns of the block.
    pub columns: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Where each input begins in this block, by its code: at the first element, the first row's number, the first
    /// column's, or the parameter's. Read only; but a kept result may lie where an input of code 0 does, so that of an element
    /// all inputs are to be read before a result is written.
    pub inputs: *const *const (),
    /// As [`PassCall::input_per`].
    pub input_per: *const u32,
    /// Where each result goes: elements as the inputs', or f64 sums over this block, one per row, one per column, or one.
    pub results: *const *mut (),
    /// As [`PassCall::result_per`].
    pub result_per: *const u32,
}
