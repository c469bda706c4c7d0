//! An opened plugin as it introduces itself: its version, what it exports, the tables that run it.
//! Opens no file; what it was opened from is `library.rs`.
#![allow(unsafe_code)]

use std::{
    mem::MaybeUninit,
    ptr::{copy_nonoverlapping, with_exposed_provenance},
};

use abi_stable::std_types::RResult;
use sdk::abi::{self, AbiVersion, Descriptor, PluginCoreTable, RootRef, Table, TableHeader};

use super::descriptor;
use crate::{
    fault::{Exit, Fault, Faults},
    tensor::tables::get_table,
};

/// A plugin that fits this host and is connected to it.
pub(super) struct Module {
    /// What it was built for and what it needs.
    pub abi: AbiVersion,
    /// What it exports, sorted by label.
    pub descriptors: Vec<Descriptor>,
    root: RootRef,
    core: &'static PluginCoreTable,
}

impl Module {
    /// Asks a plugin what it is, and connects it. The order matters: version, description, and only then a connection.
    ///
    /// # Errors
    /// R016 to R019 and R024.
    pub fn introduced(id: &str, root: RootRef) -> Result<Module, Faults> {
        let abi = root.abi_version()();
        version_fits(id, abi)?;
        let descriptors = match root.describe()() {
            RResult::ROk(descriptors) => descriptors.into_vec(),
            RResult::RErr(text) => {
                let fault = Fault::new("R017", Exit::Registry, format!("plugin `{id}` failed to describe itself"));
                return Err(fault.note("plugin", text.into_string()).into());
            }
        };
        descriptor::check(id, &descriptors)?;
        let core: &'static PluginCoreTable = table(root, "")?;
        let module = Module { abi, descriptors, root, core };
        if (core.connect)(get_table) != abi::OK {
            let fault = Fault::new("R017", Exit::Registry, format!("plugin `{id}` failed to connect to the host"));
            return Err(fault.note("plugin", module.take_fault()).into());
        }
        Ok(module)
    }

    /// The table of one label.
    ///
    /// # Errors
    /// R024 where the plugin has none, or one that is too short or under another id.
    pub fn table<T: Table>(&self, label: &str) -> Result<&'static T, Fault> {
        table(self.root, label)
    }

    /// The text of the last failure on this thread; empty if there was none.
    pub fn take_fault(&self) -> String {
        (self.core.take_fault)().into_string()
    }
}

/// Same major, and a required minor that this host has.
fn version_fits(id: &str, plugin: AbiVersion) -> Result<(), Fault> {
    let (major, minor) = (plugin.major, plugin.required_minor);
    #[allow(clippy::absurd_extreme_comparisons, reason = "the host's minor is 0 today and grows")]
    if major == abi::MAJOR && minor <= abi::MINOR {
        return Ok(());
    }
    let newer = (major, minor) > (abi::MAJOR, abi::MINOR);
    let way_out = if newer {
        "update the host, or build the plugin with this host's sdk"
    } else {
        "build the plugin with this host's sdk"
    };
    let message = format!("plugin `{id}` needs ABI {major}.{minor}, this host has {}.{}", abi::MAJOR, abi::MINOR);
    Err(Fault::new("R016", Exit::Registry, message).hint(way_out))
}

/// The table of a label, or of the plugin where the label is empty.
fn table<T: Table>(root: RootRef, label: &str) -> Result<&'static T, Fault> {
    let what = if label.is_empty() { format!("table `{}`", T::ID) } else { format!("table `{}` of `{label}`", T::ID) };
    let fault = |reason: String| {
        Fault::new("R024", Exit::Registry, format!("{what} {reason}")).hint("build the plugin with this host's sdk")
    };
    let address = root.get_table()(T::ID.into(), label.into());
    let header = with_exposed_provenance::<TableHeader>(address);
    if header.is_null() {
        return Err(fault("is missing".to_string()));
    }
    if !address.is_multiple_of(align_of::<T>()) {
        return Err(fault("is not aligned".to_string()));
    }
    // SAFETY: not null and aligned; every table of the ABI begins with a header and lives as long as the process.
    let found = unsafe { header.read() };
    if found.id != T::ID {
        return Err(fault(format!("answers as `{}`", found.id)));
    }
    if found.struct_size < T::PUBLISHED {
        return Err(fault(format!("has {} bytes, {} are needed", found.struct_size, T::PUBLISHED)));
    }
    if found.struct_size < size_of::<T>() {
        // SAFETY: the header says that it is this table, and how much of it there is.
        return Ok(unsafe { completed(header.cast::<T>(), found.struct_size) });
    }
    // SAFETY: the header says that it is this table and that all fields this host knows are there; `Table` ties id to
    // type.
    Ok(unsafe { &*header.cast::<T>() })
}

/// A copy of an older table, in which the entries it lacks are none. Lives as long as the process, as tables do.
///
/// # Safety
/// `table` points to the first `size` bytes of a `T`, at least `T::PUBLISHED`.
unsafe fn completed<T: Table>(table: *const T, size: usize) -> &'static T {
    let mut copy = Box::new(MaybeUninit::<T>::zeroed());
    let whole = size - size % size_of::<usize>();
    // SAFETY: the caller's promise, and `size` is less than the copy's.
    unsafe { copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast(), whole) };
    // SAFETY: what was published first was copied; the fields beyond are an `Option` of a function, copied whole or zero,
    // which is none.
    unsafe { &*Box::leak(copy).as_ptr() }
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::{RSlice, RString, RVec};
    use sdk::abi::{OptimizerCall, OptimizerTable, SlotDescriptor};

    use super::*;

    /// A plugin of an older sdk has a table that ends sooner.
    #[test]
    fn an_older_table_has_no_entries_that_came_later() {
        extern "C" fn accepts(_: RSlice<'_, i64>) -> RResult<(), RString> {
            RResult::ROk(())
        }
        extern "C" fn slots(_: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString> {
            RResult::RErr("not asked".into())
        }
        unsafe extern "C" fn step(_: *const OptimizerCall) -> u32 {
            7
        }
        extern "C" fn narrow(_: RSlice<'_, f64>, _: RSlice<'_, i64>) -> RResult<u64, RString> {
            RResult::ROk(1)
        }
        let header = TableHeader { struct_size: 0, id: OptimizerTable::ID.into(), revision: 0 };
        let table = OptimizerTable { header, accepts, slots, step, narrow: Some(narrow) };
        // A byte more is no entry.
        for size in [OptimizerTable::PUBLISHED, OptimizerTable::PUBLISHED + 1] {
            // SAFETY: the first bytes of a table.
            let older = unsafe { completed(&raw const table, size) };
            assert!(older.narrow.is_none());
            // SAFETY: it looks at nothing.
            assert_eq!(unsafe { (older.step)(std::ptr::null()) }, 7);
        }
    }

    #[test]
    fn versions_fit_or_are_refused_with_both_numbers() {
        let version = |major, required_minor| AbiVersion { major, required_minor };
        assert!(version_fits("p", version(abi::MAJOR, 0)).is_ok());
        assert!(version_fits("p", version(abi::MAJOR, abi::MINOR)).is_ok());
        for (plugin, words) in [
            (version(abi::MAJOR, abi::MINOR + 1), "update the host"),
            (version(abi::MAJOR + 1, 0), "update the host"),
            (version(abi::MAJOR - 1, 9), "build the plugin"),
        ] {
            let fault = version_fits("p", plugin).unwrap_err();
            assert_eq!(fault.code, "R016");
            assert!(fault.message.contains(&format!("{}.{}", plugin.major, plugin.required_minor)), "{fault}");
            assert!(fault.message.contains(&format!("{}.{}", abi::MAJOR, abi::MINOR)), "{fault}");
            assert!(fault.hint.unwrap().starts_with(words));
        }
    }
}
