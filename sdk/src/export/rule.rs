//! Rules over elements behind C entries: `plugin.rule/1`, with `plugin.sums/1`, `plugin.memory/1` and `plugin.evaluation/1`
//! beside it.

use core::ptr;

use abi_stable::std_types::{RResult, RSlice, RString, RVec, Tuple2};

use super::call::sized;
use super::core_table::header;
use super::entry::{Entry, Fact, of_slots};
use super::guard;
use crate::abi::{
    EvaluationTable, KernelCall, MeasureCall, MemoryTable, RuleTable, SlotDescriptor, SumsTable, Table, TableHeader,
};
use crate::cpu::{self, Brain, Double, Single, Storage};
use crate::hyper::{numbers, schema};
use crate::record::values;
use crate::rule::{ElementwiseKernel, EvalKernel, GlobalKernel, Kernel, ReducingKernel, RememberingKernel};
use crate::tape::{self, Node};
use crate::{Elementwise, Error, Global, Record, Reducing, Remembering, Result, Slot, state};

/// The entry of an elementwise rule.
pub const fn elementwise<R: Elementwise>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    let also: fn(&str) -> _ = evaluation::<ElementwiseKernel<R>>;
    Entry { also, ..entry::<ElementwiseKernel<R>>(label, summary, paper) }
}

/// The entry of a rule that sums over each tensor.
pub const fn reducing<R: Reducing>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    summing::<ReducingKernel<R>>(label, summary, paper)
}

/// The entry of a rule that keeps numbers per tensor. A host that does not know them must not run the rule: it is told of
/// another table.
pub const fn remembering<R: Remembering>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    let also: fn(&str) -> _ = |id| match id {
        RuleTable::ID => table::<RememberingKernel<R>>(),
        SumsTable::ID => sums_table::<RememberingKernel<R>>(),
        id => evaluation::<RememberingKernel<R>>(id),
    };
    let entry = entry::<RememberingKernel<R>>(label, summary, paper);
    Entry { id: MemoryTable::ID, table: memory_table::<RememberingKernel<R>>, also, ..entry }
}

/// The entry of a rule that sums over all tensors.
pub const fn global<R: Global>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    summing::<GlobalKernel<R>>(label, summary, paper)
}

/// A host that does not know sums must not run the rule: it is told of another table.
const fn summing<R: Kernel>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    let also: fn(&str) -> _ = |id| if id == RuleTable::ID { table::<R>() } else { ptr::null() };
    Entry { id: SumsTable::ID, table: sums_table::<R>, also, ..entry::<R>(label, summary, paper) }
}

const fn entry<R: Kernel>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    Entry {
        label,
        kind: "optimizer",
        summary,
        paper,
        id: RuleTable::ID,
        table: table::<R>,
        also: |_| ptr::null(),
        schema: || schema(&R::hyper()),
        facts: facts::<R>,
        except: &[],
        declares: &[],
    }
}

fn table<R: Kernel>() -> *const TableHeader {
    let table: &'static RuleTable = const {
        &RuleTable {
            header: header::<RuleTable>(),
            slots: slots::<R>,
            record: record::<R>,
            update_f32: update::<R, Single>,
            update_f64: update::<R, Double>,
            update_bf16: update::<R, Brain>,
            narrow: Some(narrow::<R>),
            update_f32_narrow: Some(update_narrow::<R, Single>),
            update_bf16_narrow: Some(update_narrow::<R, Brain>),
        }
    };
    (&raw const *table).cast()
}

fn sums_table<R: Kernel>() -> *const TableHeader {
    let table: &'static SumsTable = const {
        &SumsTable {
            header: header::<SumsTable>(),
            scope: scope::<R>,
            names: names::<R>,
            memory: memory::<R>,
            measure_f32: measure::<R, Single>,
            measure_f64: measure::<R, Double>,
            measure_bf16: measure::<R, Brain>,
            measure_f32_narrow: Some(measure_narrow::<R, Single>),
            measure_bf16_narrow: Some(measure_narrow::<R, Brain>),
        }
    };
    (&raw const *table).cast()
}

fn memory_table<R: Kernel>() -> *const TableHeader {
    let table: &'static MemoryTable =
        const { &MemoryTable { header: header::<MemoryTable>(), numbers: numbers_of::<R> } };
    (&raw const *table).cast()
}

/// The table of the weights to evaluate at, where it is asked for and there is one.
fn evaluation<R: Kernel>(id: &str) -> *const TableHeader {
    if !R::PREPARES_FOR_EVAL || id != EvaluationTable::ID {
        return ptr::null();
    }
    let table: &'static EvaluationTable = const {
        &EvaluationTable {
            header: header::<EvaluationTable>(),
            record: record::<EvalKernel<R>>,
            prepare_f32: update::<EvalKernel<R>, Single>,
            prepare_f64: update::<EvalKernel<R>, Double>,
            prepare_bf16: update::<EvalKernel<R>, Brain>,
            prepare_f32_narrow: Some(update_narrow::<EvalKernel<R>, Single>),
            prepare_bf16_narrow: Some(update_narrow::<EvalKernel<R>, Brain>),
        }
    };
    (&raw const *table).cast()
}

/// Recording the rule as it is by default also shows, at load, that it can be recorded.
fn facts<R: Kernel>() -> Result<Vec<Fact>> {
    let defaults: Vec<f64> = values(&R::hyper()).iter().map(|knob| knob.default()).collect();
    let nodes = recorded::<R>(&defaults)?;
    let mut facts = vec![("portable", tape::portable(&nodes).to_string())];
    facts.extend(of_slots(&R::state(&numbers(&defaults)?)));
    facts.extend(of_slots(&R::memory(&numbers(&defaults)?)));
    if R::PREPARES_FOR_EVAL {
        facts.push(("prepare_for_eval", "true".to_string()));
    }
    Ok(facts)
}

fn declared<R: Kernel>(hyper: &[f64]) -> Result<Vec<SlotDescriptor>> {
    let record = R::state(&numbers(hyper)?);
    if let Some(k) = values(&record).iter().position(|slot: &Slot| !slot.is_elementwise()) {
        let name = <R::State<Slot> as Record<Slot>>::NAMES[k];
        return Err(Error::new(format!("slot `{name}` of an elementwise rule must have the parameter's shape")));
    }
    Ok(state::descriptors(&record))
}

fn recorded<R: Kernel>(hyper: &[f64]) -> Result<Vec<Node>> {
    let slots = declared::<R>(hyper)?;
    let nodes = tape::record_kernel::<R>(hyper)?;
    tape::check(&nodes, hyper.len(), &slots)?;
    Ok(nodes)
}

extern "C" fn slots<R: Kernel>(hyper: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString> {
    guard::value(|| Ok(declared::<R>(&hyper)?.into()))
}

extern "C" fn narrow<R: Kernel>(hyper: RSlice<'_, f64>) -> RResult<u64, RString> {
    guard::value(|| Ok(state::narrow(&R::state(&numbers(&hyper)?))))
}

extern "C" fn record<R: Kernel>(hyper: RSlice<'_, f64>) -> RResult<RVec<Node>, RString> {
    guard::value(|| Ok(recorded::<R>(&hyper)?.into()))
}

unsafe extern "C" fn update<R: Kernel, S: Storage>(call: *const KernelCall) -> u32 {
    // SAFETY: as the host's.
    unsafe { update_narrow::<R, S>(call, 0) }
}

unsafe extern "C" fn update_narrow<R: Kernel, S: Storage>(call: *const KernelCall, narrow: u64) -> u32 {
    guard::status(|| {
        // SAFETY: the host passes a call that lives until this returns, and says by `struct_size` how much of it there
        // is.
        let call = unsafe { sized(call)? };
        // SAFETY: the host upholds what `KernelCall` says, for the storage format of this entry.
        unsafe { cpu::update_kernel::<R, S>(call, narrow) };
        Ok(())
    })
}

extern "C" fn scope<R: Kernel>() -> u32 {
    u32::from(R::GLOBAL)
}

extern "C" fn names<R: Kernel>() -> RVec<RString> {
    <R::Sums<f64> as Record<f64>>::NAMES.iter().map(|&name| name.into()).collect()
}

extern "C" fn numbers_of<R: Kernel>(hyper: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString> {
    guard::value(|| Ok(state::numbers(&R::memory(&numbers(&hyper)?))?.into()))
}

extern "C" fn memory<R: Kernel>(hyper: RSlice<'_, f64>) -> RResult<RVec<Tuple2<RString, f64>>, RString> {
    guard::value(|| {
        if !R::GLOBAL {
            return Ok(RVec::new());
        }
        let start = state::starts(&R::memory(&numbers(&hyper)?));
        let names = <R::Memory<f64> as Record<f64>>::NAMES.iter();
        Ok(names.zip(start).map(|(&name, number)| Tuple2(name.into(), number)).collect())
    })
}

unsafe extern "C" fn measure<R: Kernel, S: Storage>(call: *const MeasureCall) -> u32 {
    // SAFETY: as the host's.
    unsafe { measure_narrow::<R, S>(call, 0) }
}

unsafe extern "C" fn measure_narrow<R: Kernel, S: Storage>(call: *const MeasureCall, narrow: u64) -> u32 {
    guard::status(|| {
        // SAFETY: as in `update`.
        let call = unsafe { sized(call)? };
        // SAFETY: the host upholds what `MeasureCall` says, for the storage format of this entry.
        unsafe { cpu::measure::<R, S>(call, narrow) };
        Ok(())
    })
}
