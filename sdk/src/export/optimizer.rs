//! `plugin.optimizer/1`: a rule over whole tensors behind C entries, with `plugin.passes/1` where it goes by passes.

use abi_stable::std_types::{RResult, RSlice, RString, RVec};

use super::call::{numbers, sized};
use super::core_table::header;
use super::entry::{Entry, Fact, of_slots};
use super::{guard, pass};
use crate::abi::{OptimizerCall, OptimizerTable, PassesTable, SlotDescriptor, SlotsTable, Table, TableHeader};
use crate::hyper::{self, schema};
use crate::optimizer::TensorStep;
use crate::record::values;
use crate::tensor::Tensor;
use crate::{Error, Optimizer, Record, Result, state};

/// Elements from which on a parameter is stepped by itself: fewer do not keep threads busy beside what a call costs, and more
/// would not be in the cache from one pass to the next.
const ALONE_FROM: u64 = 1 << 21;

/// The entry of a rule over whole tensors. A host that does not know passes must not run a rule that goes by them: it is
/// told of another table.
pub const fn optimizer<O: Optimizer>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    let (id, table): (_, fn() -> _) =
        if O::BY_PASSES { (PassesTable::ID, passes_table) } else { (OptimizerTable::ID, table::<O>) };
    Entry {
        label,
        kind: "optimizer",
        summary,
        paper,
        id,
        table,
        also: |id| match id {
            OptimizerTable::ID => self::table::<O>(),
            SlotsTable::ID => slots_table::<O>(),
            _ => core::ptr::null(),
        },
        schema: || schema(&O::hyper()),
        facts: facts::<O>,
        except: &[],
        declares: &[],
    }
}

fn facts<O: Optimizer>() -> Result<Vec<Fact>> {
    let defaults: Vec<f64> = values(&O::hyper()).iter().map(|knob| knob.default()).collect();
    Ok(of_slots(&O::state(&hyper::numbers(&defaults)?)).collect())
}

fn passes_table() -> *const TableHeader {
    static TABLE: PassesTable = PassesTable { header: header::<PassesTable>(), alone_from };
    (&raw const TABLE).cast()
}

extern "C" fn alone_from() -> u64 {
    ALONE_FROM
}

fn table<O: Optimizer>() -> *const TableHeader {
    let table: &'static OptimizerTable = const {
        &OptimizerTable {
            header: header::<OptimizerTable>(),
            accepts: accepts::<O>,
            slots: slots::<O>,
            step: step::<O>,
            narrow: Some(narrow::<O>),
        }
    };
    (&raw const *table).cast()
}

fn slots_table<O: Optimizer>() -> *const TableHeader {
    let table: &'static SlotsTable = const { &SlotsTable { header: header::<SlotsTable>(), slots: slots_of::<O> } };
    (&raw const *table).cast()
}

extern "C" fn slots_of<O: Optimizer>(
    hyper: RSlice<'_, f64>,
    shape: RSlice<'_, i64>,
) -> RResult<RVec<SlotDescriptor>, RString> {
    guard::value(|| Ok(state::descriptors(&O::state_of(&hyper::numbers(&hyper)?, &shape)).into()))
}

extern "C" fn narrow<O: Optimizer>(hyper: RSlice<'_, f64>, shape: RSlice<'_, i64>) -> RResult<u64, RString> {
    guard::value(|| Ok(state::narrow(&O::state_of(&hyper::numbers(&hyper)?, &shape))))
}

extern "C" fn accepts<O: Optimizer>(shape: RSlice<'_, i64>) -> RResult<(), RString> {
    guard::value(|| O::accepts(&shape))
}

extern "C" fn slots<O: Optimizer>(hyper: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString> {
    guard::value(|| Ok(state::descriptors(&O::state(&hyper::numbers(&hyper)?)).into()))
}

unsafe extern "C" fn step<O: Optimizer>(call: *const OptimizerCall) -> u32 {
    guard::status(|| {
        // SAFETY: the host passes a call that lives until this returns.
        let call = unsafe { sized(call)? };
        // SAFETY: the host passes as many numbers as the schema has, and three of the step.
        let (values, moment) =
            unsafe { (numbers(call.hyper, <O::Hyper<f64> as Record<f64>>::NAMES.len()), numbers(call.step, 3)) };
        let h = hyper::numbers(values)?;
        let moment = TensorStep { t: moment[0], numel: moment[1], grad_norm: moment[2] };
        // SAFETY: the host passes one handle per slot of the record, and writes none of them during the call.
        let mut state = O::State::build(|k| Tensor::of(unsafe { *call.state.add(k) }));
        let update = || O::update(&h, moment, Tensor::of(call.x), Tensor::of(call.g), &mut state);
        let new_x = pass::with_passes(O::BY_PASSES, update)?;
        take_over::<O>(call, new_x, &state)
    })
}

/// Hands the results over, all of them or, on an error, none. What a rule writes to a slot that is off is dropped.
fn take_over<O: Optimizer>(call: &OptimizerCall, new_x: Tensor<'_>, state: &O::State<Tensor<'_>>) -> Result<()> {
    new_x.present()?;
    // SAFETY: the host's memory, for one handle per slot of the record; 0 stands where a slot is off.
    let is_on = |k: usize| unsafe { *call.state.add(k) } != 0;
    let mut lost = None;
    state.visit(|k, tensor| {
        if is_on(k) && tensor.handle() == 0 {
            lost = Some(<O::State<f64> as Record<f64>>::NAMES[k]);
        }
    });
    if let Some(slot) = lost {
        return Err(Error::new(format!("slot `{slot}` was given a tensor that is not there")));
    }
    state.visit(|k, tensor| {
        if is_on(k) {
            // SAFETY: as above.
            unsafe { *call.state.add(k) = tensor.handle() };
        }
    });
    // SAFETY: the host's memory, for one handle.
    unsafe { *call.new_x = new_x.handle() };
    Ok(())
}
