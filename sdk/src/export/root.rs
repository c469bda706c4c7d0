//! The root module: version, list, tables.

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RStr, RString, RVec};

use super::core_table::core_table;
use super::entry::Entry;
use super::guard;
use crate::abi::{AbiVersion, Descriptor, PluginCoreTable, Root, RootRef, Table, TableHeader};

/// The root module of a plugin that was built for this version.
pub fn root<const MAJOR: u32, const REQUIRED_MINOR: u32>() -> RootRef {
    Root { abi_version: abi_version::<MAJOR, REQUIRED_MINOR>, describe, get_table }.leak_into_prefix()
}

extern "C" fn abi_version<const MAJOR: u32, const REQUIRED_MINOR: u32>() -> AbiVersion {
    AbiVersion { major: MAJOR, required_minor: REQUIRED_MINOR }
}

extern "C" fn describe() -> RResult<RVec<Descriptor>, RString> {
    guard::install_hook();
    guard::value(|| Entry::all()?.into_iter().map(Entry::describe).collect())
}

extern "C" fn get_table(id: RStr<'_>, label: RStr<'_>) -> usize {
    let found = guard::plain(core::ptr::null(), || find(id.as_str(), label.as_str()));
    found.expose_provenance()
}

fn find(id: &str, label: &str) -> *const TableHeader {
    if id == PluginCoreTable::ID && label.is_empty() {
        return core_table();
    }
    let entries = inventory::iter::<Entry>.into_iter().filter(|entry| entry.label == label);
    let tables = entries.map(|entry| entry.find(id));
    tables.into_iter().find(|table| !table.is_null()).unwrap_or(core::ptr::null())
}
