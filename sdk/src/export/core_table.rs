//! `plugin.core/1`: the host's tables come in, texts of failures go out.

use abi_stable::std_types::RStr;

use super::guard;
use crate::abi::{GetTable, PluginCoreTable, Table, TableHeader};
use crate::host;

pub fn core_table() -> *const TableHeader {
    static TABLE: PluginCoreTable =
        PluginCoreTable { header: header::<PluginCoreTable>(), connect, take_fault: guard::take_fault };
    (&raw const TABLE).cast()
}

/// What a table of this plugin begins with.
pub const fn header<T: Table>() -> TableHeader {
    TableHeader { struct_size: size_of::<T>(), id: RStr::from_str(T::ID), revision: 0 }
}

extern "C" fn connect(get_table: GetTable) -> u32 {
    guard::install_hook();
    guard::status(|| host::connect(get_table))
}
