//! Tables that a plugin offers. Entries return a status (`OK`, `FAILED`, `PANICKED`); the text of a failure is fetched
//! on the same thread with [`PluginCoreTable::take_fault`]. No entry unwinds.
//!
//! Entries that a table gained after it was first published are an `Option`: none in the host's copy of an older table.

use abi_stable::std_types::{RResult, RSlice, RString, RVec, Tuple2};

use super::{GetTable, Network, NetworkPlan, SlotDescriptor, TableHeader};
use crate::tape::Node;

/// `plugin.core/1`: what every plugin has.
#[repr(C)]
pub struct PluginCoreTable {
    /// Begins every table.
    pub header: TableHeader,
    /// Hands over the host's tables. Called once, before any entry that needs them. Any thread.
    pub connect: extern "C" fn(host: GetTable) -> u32,
    /// Takes the text of the last failure on this thread; empty if there was none.
    pub take_fault: extern "C" fn() -> RString,
}

/// `plugin.rule/1`, per label: an elementwise rule.
#[repr(C)]
pub struct RuleTable {
    /// Begins every table.
    pub header: TableHeader,
    /// State slots for these hyper-parameters. Any thread.
    pub slots: extern "C" fn(hyper: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString>,
    /// The rule as an expression, flags folded in. Any thread.
    pub record: extern "C" fn(hyper: RSlice<'_, f64>) -> RResult<RVec<Node>, RString>,
    /// One chunk, all tensors f32. Worker threads, disjoint chunks; pure, calls no table, allocates nothing.
    pub update_f32: unsafe extern "C" fn(call: *const KernelCall) -> u32,
    /// One chunk, all tensors f64.
    pub update_f64: unsafe extern "C" fn(call: *const KernelCall) -> u32,
    /// One chunk, parameter and gradient bf16, state f32, arithmetic f32.
    pub update_bf16: unsafe extern "C" fn(call: *const KernelCall) -> u32,
    /// Since 1.2. Slots that may be kept in bf16 for these hyper-parameters, as bits by index in the state record. Any
    /// thread.
    pub narrow: Option<NarrowEntry>,
    /// Since 1.2. As `update_f32`, with the slots of the bits `narrow` in bf16, rounded to nearest even on store.
    pub update_f32_narrow: Option<NarrowKernel>,
    /// Since 1.2. As `update_bf16`, with the slots of the bits `narrow` in bf16.
    pub update_bf16_narrow: Option<NarrowKernel>,
}

/// Which slots may be kept in bf16.
pub type NarrowEntry = extern "C" fn(hyper: RSlice<'_, f64>) -> RResult<u64, RString>;
/// A kernel of which some slots lie in bf16.
pub type NarrowKernel = unsafe extern "C" fn(call: *const KernelCall, narrow: u64) -> u32;
/// A measuring kernel of which some slots lie in bf16.
pub type NarrowMeasure = unsafe extern "C" fn(call: *const MeasureCall, narrow: u64) -> u32;

/// One chunk of one tensor. Pointers are the caller's and live for the call; none is null but those of absent slots.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KernelCall {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: usize,
    /// 0 baseline, 1 AVX2, 2 AVX-512; never above what the machine has.
    pub isa: u32,
    /// Hyper-parameters in the descriptor's order, `lr` after the schedule.
    pub hyper: *const f64,
    /// This tensor's own step (from 1), its number of elements, the L2 norm of all gradients of the run before
    /// clipping; where the label has a [`SumsTable`], then its sums and the memory after the step.
    pub step: *const f64,
    /// Elements in the chunk.
    pub n: usize,
    /// The parameter, read and written.
    pub x: *mut (),
    /// The gradient, read only.
    pub g: *const (),
    /// Slot by index in the state record, read and written; null where a slot is switched off, or where the update neither reads
    /// nor changes it.
    pub state: *const *mut (),
}

/// `plugin.sums/1`, per label, beside [`RuleTable`]: the reducing pass of a rule that sums before it updates.
#[repr(C)]
pub struct SumsTable {
    /// Begins every table.
    pub header: TableHeader,
    /// 0 where the sums are those of each tensor, 1 where they are those of all tensors that the rule runs. Any thread.
    pub scope: extern "C" fn() -> u32,
    /// Names of the sums. Any thread.
    pub names: extern "C" fn() -> RVec<RString>,
    /// Names of the memory that all tensors share, with its values before the first step. How it moves on, the recorded
    /// rule says. Any thread.
    pub memory: extern "C" fn(hyper: RSlice<'_, f64>) -> RResult<RVec<Tuple2<RString, f64>>, RString>,
    /// Sums of one chunk, all tensors f32. Worker threads; pure, calls no table, allocates nothing.
    pub measure_f32: unsafe extern "C" fn(call: *const MeasureCall) -> u32,
    /// Sums of one chunk, all tensors f64.
    pub measure_f64: unsafe extern "C" fn(call: *const MeasureCall) -> u32,
    /// Sums of one chunk, parameter and gradient bf16, state f32, arithmetic f32.
    pub measure_bf16: unsafe extern "C" fn(call: *const MeasureCall) -> u32,
    /// Since 1.2. As `measure_f32`, with the slots of the bits `narrow` in bf16.
    pub measure_f32_narrow: Option<NarrowMeasure>,
    /// Since 1.2. As `measure_bf16`, with the slots of the bits `narrow` in bf16.
    pub measure_bf16_narrow: Option<NarrowMeasure>,
}

/// `plugin.memory/1`, per label, beside [`RuleTable`] and [`SumsTable`]: a rule that keeps numbers per tensor. A host that
/// does not know this table refuses the label.
///
/// The numbers stand where [`KernelCall::step`] has the memory, and move on as the recorded rule says; its sums are those of
/// each tensor.
#[repr(C)]
pub struct MemoryTable {
    /// Begins every table.
    pub header: TableHeader,
    /// The numbers for these hyper-parameters: slots of shape kind [`NUMBER`](crate::NUMBER) with an index from
    /// [`FIRST_NUMBER`](crate::FIRST_NUMBER) on. Any thread.
    pub numbers: extern "C" fn(hyper: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString>,
}

/// One chunk to be measured. It begins at a multiple of [`BLOCK`](crate::cpu::BLOCK) elements of its tensor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MeasureCall {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: usize,
    /// As [`KernelCall::isa`].
    pub isa: u32,
    /// As [`KernelCall::hyper`].
    pub hyper: *const f64,
    /// As [`KernelCall::step`], with the memory before the step.
    pub step: *const f64,
    /// Elements in the chunk.
    pub n: usize,
    /// The parameter, read only; the gradient's memory may stand for it where the expression of no sum reads it.
    pub x: *const (),
    /// The gradient, read only.
    pub g: *const (),
    /// Slots as in [`KernelCall::state`], read only; null where the expression of no sum reads one.
    pub state: *const *const (),
    /// Where the sums go: `[blocks(n), sums]`.
    pub rows: *mut f64,
}

/// `plugin.evaluation/1`, per label, beside [`RuleTable`]: the weights to evaluate at, where they are others than
/// training moves.
#[repr(C)]
pub struct EvaluationTable {
    /// Begins every table.
    pub header: TableHeader,
    /// The weights as an expression whose result is x; the slots keep what they hold. Any thread.
    pub record: extern "C" fn(hyper: RSlice<'_, f64>) -> RResult<RVec<Node>, RString>,
    /// One chunk as [`RuleTable::update_f32`]: `x` becomes the weights to evaluate at. The gradient is not looked at.
    pub prepare_f32: unsafe extern "C" fn(call: *const KernelCall) -> u32,
    /// As `prepare_f32`, all tensors f64.
    pub prepare_f64: unsafe extern "C" fn(call: *const KernelCall) -> u32,
    /// As `prepare_f32`, parameter bf16, state f32, arithmetic f32.
    pub prepare_bf16: unsafe extern "C" fn(call: *const KernelCall) -> u32,
    /// Since 1.2. As `prepare_f32`, with the slots of the bits `narrow` in bf16.
    pub prepare_f32_narrow: Option<NarrowKernel>,
    /// Since 1.2. As `prepare_bf16`, with the slots of the bits `narrow` in bf16.
    pub prepare_bf16_narrow: Option<NarrowKernel>,
}

/// `plugin.optimizer/1`, per label: a rule over whole tensors, through the host's tables.
#[repr(C)]
pub struct OptimizerTable {
    /// Begins every table.
    pub header: TableHeader,
    /// Whether a parameter of this shape can be optimized, or why not. Any thread.
    pub accepts: extern "C" fn(shape: RSlice<'_, i64>) -> RResult<(), RString>,
    /// State slots for these hyper-parameters. Any thread.
    pub slots: extern "C" fn(hyper: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString>,
    /// One step of a batch of parameters of one shape. One thread at a time.
    pub step: unsafe extern "C" fn(call: *const OptimizerCall) -> u32,
    /// Since 1.2. Slots of a parameter of this shape that may be kept in bf16, as bits by index in the state record. The
    /// host widens them before a step and rounds them after it. Any thread.
    pub narrow: Option<extern "C" fn(hyper: RSlice<'_, f64>, shape: RSlice<'_, i64>) -> RResult<u64, RString>>,
}

/// `plugin.slots/1`, per label, beside [`OptimizerTable`]: slots that depend on the parameter's shape.
#[repr(C)]
pub struct SlotsTable {
    /// Begins every table.
    pub header: TableHeader,
    /// State slots of a parameter of this shape. Any thread.
    pub slots: extern "C" fn(hyper: RSlice<'_, f64>, shape: RSlice<'_, i64>) -> RResult<RVec<SlotDescriptor>, RString>,
}

/// `plugin.passes/1`, per label, beside [`OptimizerTable`]: a rule over whole tensors that calls the host's `pass`. A host
/// without passes does not know this table, and so refuses the label.
#[repr(C)]
pub struct PassesTable {
    /// Begins every table.
    pub header: TableHeader,
    /// Elements of a batch up to which it is best for more parameters to be in it; a larger parameter is best stepped by itself.
    /// Any thread.
    pub alone_from: extern "C" fn() -> u64,
}

/// One step of `batch` parameters of one shape, stacked along a leading dimension. Handles live for the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OptimizerCall {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: usize,
    /// Parameters in the batch, at least 1.
    pub batch: usize,
    /// Hyper-parameters in the descriptor's order, `lr` after the schedule.
    pub hyper: *const f64,
    /// As [`KernelCall::step`]; the same for the whole batch.
    pub step: *const f64,
    /// The parameters, `[batch, …shape]`.
    pub x: u64,
    /// The gradients, `[batch, …shape]`, read only.
    pub g: u64,
    /// Slots by index in the state record, `[batch, …]`; 0 where a slot is switched off. Replaced by the new handles.
    pub state: *mut u64,
    /// Where the new parameters' handle is written. On a failure nothing is taken over, but for what a pass put in its place.
    pub new_x: *mut u64,
}

/// `plugin.projection/1`, per label: what happens to a gradient before the optimizer.
#[repr(C)]
pub struct ProjectionTable {
    /// Begins every table.
    pub header: TableHeader,
    /// Names of the tensors a user must provide per parameter, such as `direction`. Any thread.
    pub inputs: extern "C" fn() -> RVec<RString>,
    /// Names of the numbers reported per parameter. Any thread.
    pub metrics: extern "C" fn() -> RVec<RString>,
    /// Projects one gradient. One thread at a time.
    pub project: unsafe extern "C" fn(call: *const ProjectionCall) -> u32,
}

/// One gradient to be projected. Handles live for the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ProjectionCall {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: usize,
    /// Hyper-parameters in the descriptor's order.
    pub hyper: *const f64,
    /// The gradient, read only.
    pub g: u64,
    /// One handle per name of `inputs`.
    pub inputs: *const u64,
    /// One number per name of `metrics`, written by the plugin.
    pub metrics: *mut f64,
    /// Where the handle of what the optimizer shall see is written.
    pub kept: *mut u64,
}

/// `plugin.arch_op/1`, per label: a change of the network.
#[repr(C)]
pub struct ArchOpTable {
    /// Begins every table.
    pub header: TableHeader,
    /// What becomes of each parameter, or why the operation cannot be done. Pure. Any thread.
    pub plan: extern "C" fn(hyper: RSlice<'_, f64>, network: &Network) -> RResult<NetworkPlan, RString>,
}
