//! `plugin.rule/1`: an elementwise rule behind C entries.

use abi_stable::std_types::{RResult, RSlice, RString, RVec};

use super::call::sized;
use super::core_table::header;
use super::entry::{Entry, Fact};
use super::guard;
use crate::abi::{KernelCall, RuleTable, SlotDescriptor, Table, TableHeader};
use crate::cpu::{self, Brain, Double, Single, Storage};
use crate::hyper::{numbers, schema};
use crate::record::values;
use crate::tape::{self, Node};
use crate::{Elementwise, Error, Record, Result, Slot, state};

/// The entry of an elementwise rule.
pub const fn elementwise<R: Elementwise>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    Entry {
        label,
        kind: "optimizer",
        summary,
        paper,
        id: RuleTable::ID,
        table: table::<R>,
        schema: || schema(&R::hyper()),
        facts: facts::<R>,
    }
}

fn table<R: Elementwise>() -> *const TableHeader {
    let table: &'static RuleTable = const {
        &RuleTable {
            header: header::<RuleTable>(),
            slots: slots::<R>,
            record: record::<R>,
            update_f32: update::<R, Single>,
            update_f64: update::<R, Double>,
            update_bf16: update::<R, Brain>,
        }
    };
    (&raw const *table).cast()
}

/// Recording the rule as it is by default also shows, at load, that it can be recorded.
fn facts<R: Elementwise>() -> Result<Vec<Fact>> {
    let defaults: Vec<f64> = values(&R::hyper()).iter().map(|knob| knob.default()).collect();
    let nodes = recorded::<R>(&defaults)?;
    Ok(vec![("portable", tape::portable(&nodes).to_string())])
}

fn declared<R: Elementwise>(hyper: &[f64]) -> Result<Vec<SlotDescriptor>> {
    let record = R::state(&numbers(hyper)?);
    if let Some(k) = values(&record).iter().position(|slot: &Slot| !slot.is_elementwise()) {
        let name = <R::State<Slot> as Record<Slot>>::NAMES[k];
        return Err(Error::new(format!("slot `{name}` of an elementwise rule must have the parameter's shape")));
    }
    Ok(state::descriptors(&record))
}

fn recorded<R: Elementwise>(hyper: &[f64]) -> Result<Vec<Node>> {
    let slots = declared::<R>(hyper)?;
    let nodes = tape::record::<R>(hyper)?;
    tape::check(&nodes, hyper.len(), &slots)?;
    Ok(nodes)
}

extern "C" fn slots<R: Elementwise>(hyper: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString> {
    guard::value(|| Ok(declared::<R>(&hyper)?.into()))
}

extern "C" fn record<R: Elementwise>(hyper: RSlice<'_, f64>) -> RResult<RVec<Node>, RString> {
    guard::value(|| Ok(recorded::<R>(&hyper)?.into()))
}

unsafe extern "C" fn update<R: Elementwise, S: Storage>(call: *const KernelCall) -> u32 {
    guard::status(|| {
        // SAFETY: the host passes a call that lives until this returns, and says by `struct_size` how much of it there
        // is.
        let call = unsafe { sized(call)? };
        // SAFETY: the host upholds what `KernelCall` says, for the storage format of this entry.
        unsafe { cpu::update::<R, S>(call) };
        Ok(())
    })
}
