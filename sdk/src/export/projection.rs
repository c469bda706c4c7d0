//! `plugin.projection/1`: a gradient projection behind C entries.

use abi_stable::std_types::{RString, RVec};

use super::call::{numbers, sized};
use super::core_table::header;
use super::entry::Entry;
use super::guard;
use crate::abi::{ProjectionCall, ProjectionTable, Table, TableHeader};
use crate::hyper::{self, schema};
use crate::tensor::Tensor;
use crate::{Projection, Record};

/// The entry of a projection.
pub const fn projection<P: Projection>(label: &'static str, summary: &'static str, paper: &'static str) -> Entry {
    Entry {
        label,
        kind: "projection",
        summary,
        paper,
        id: ProjectionTable::ID,
        table: table::<P>,
        also: |_| core::ptr::null(),
        schema: || schema(&P::hyper()),
        facts: || Ok(Vec::new()),
        except: &[],
        declares: &[],
    }
}

fn table<P: Projection>() -> *const TableHeader {
    let table: &'static ProjectionTable = const {
        &ProjectionTable {
            header: header::<ProjectionTable>(),
            inputs: inputs::<P>,
            metrics: metrics::<P>,
            project: project::<P>,
        }
    };
    (&raw const *table).cast()
}

extern "C" fn inputs<P: Projection>() -> RVec<RString> {
    <P::Inputs<f64> as Record<f64>>::NAMES.iter().map(|&name| name.into()).collect()
}

extern "C" fn metrics<P: Projection>() -> RVec<RString> {
    <P::Metrics<f64> as Record<f64>>::NAMES.iter().map(|&name| name.into()).collect()
}

unsafe extern "C" fn project<P: Projection>(call: *const ProjectionCall) -> u32 {
    guard::status(|| {
        // SAFETY: the host passes a call that lives until this returns.
        let call = unsafe { sized(call)? };
        // SAFETY: the host passes as many numbers as the schema has.
        let h = hyper::numbers(unsafe { numbers(call.hyper, <P::Hyper<f64> as Record<f64>>::NAMES.len()) })?;
        // SAFETY: the host passes one handle per name of `inputs`.
        let inputs = P::Inputs::build(|k| Tensor::of(unsafe { *call.inputs.add(k) }));
        let (kept, metrics) = P::project(&h, Tensor::of(call.g), inputs)?;
        kept.present()?;
        // SAFETY: the host's memory, for one number per name of `metrics`, and for one handle.
        unsafe {
            metrics.visit(|k, number| *call.metrics.add(k) = number);
            *call.kept = kept.handle();
        }
        Ok(())
    })
}
