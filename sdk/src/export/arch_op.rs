//! `plugin.arch_op/1`: an architecture operation behind a C entry.

use abi_stable::std_types::{RResult, RSlice, RString};

use super::core_table::header;
use super::entry::Entry;
use super::guard;
use crate::ArchOp;
use crate::abi::{ArchOpTable, Network, NetworkPlan, Table, TableHeader};
use crate::hyper::{numbers, schema};

/// The entry of an architecture operation.
pub const fn arch_op<A: ArchOp>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    Entry {
        label,
        kind: "arch-op",
        summary,
        paper,
        id: ArchOpTable::ID,
        table: table::<A>,
        also: |_| core::ptr::null(),
        schema: || schema(&A::hyper()),
        facts: || Ok(Vec::new()),
        except: &[],
        declares: &[],
    }
}

fn table<A: ArchOp>() -> *const TableHeader {
    let table: &'static ArchOpTable = const { &ArchOpTable { header: header::<ArchOpTable>(), plan: plan::<A> } };
    (&raw const *table).cast()
}

extern "C" fn plan<A: ArchOp>(hyper: RSlice<'_, f64>, network: &Network) -> RResult<NetworkPlan, RString> {
    guard::value(|| A::plan(&numbers(&hyper)?, network))
}
