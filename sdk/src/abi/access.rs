//! Reading a table of the other side: by id, and no further than it reaches.
//! Both sides use it; it calls nothing.
#![allow(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;

use super::TableHeader;
use super::host_tables::{CoreTable, LinalgTable, RngTable, TensorTable};
use super::plugin_tables::{
    ArchOpTable, EvaluationTable, OptimizerTable, PassesTable, PluginCoreTable, ProjectionTable, RuleTable, SlotsTable,
    SumsTable,
};

/// A table with an id.
///
/// # Safety
/// The type is `#[repr(C)]`, begins with a [`TableHeader`], and all other fields are function pointers; those that begin at
/// `PUBLISHED` or later are an `Option`.
pub unsafe trait Table: 'static {
    /// Under which it is asked for.
    const ID: &'static str;
    /// Bytes of the table as it was first published. No table is shorter.
    const PUBLISHED: usize;
}

macro_rules! tables {
    ($($table:ident = $id:literal $(before $grown:ident)?),* $(,)?) => { $(
        // SAFETY: see the type's definition: `#[repr(C)]`, a header, function pointers, an `Option` from `$grown` on.
        unsafe impl Table for $table {
            const ID: &'static str = $id;
            const PUBLISHED: usize = tables!(@published $table $($grown)?);
        }
    )* };
    (@published $table:ident) => { size_of::<$table>() };
    (@published $table:ident $grown:ident) => { offset_of!($table, $grown) };
}
tables!(
    PluginCoreTable = "plugin.core/1",
    RuleTable = "plugin.rule/1" before narrow,
    SumsTable = "plugin.sums/1" before measure_f32_narrow,
    EvaluationTable = "plugin.evaluation/1" before prepare_f32_narrow,
    SlotsTable = "plugin.slots/1",
    OptimizerTable = "plugin.optimizer/1" before narrow,
    PassesTable = "plugin.passes/1",
    ProjectionTable = "plugin.projection/1",
    ArchOpTable = "plugin.arch_op/1",
    CoreTable = "host.core/1",
    TensorTable = "host.tensor/1",
    LinalgTable = "host.linalg/1",
    RngTable = "host.rng/1",
);

/// A table of the other side, which may be shorter than `T` is here. Its functions are read by [`table_entry!`].
///
/// [`table_entry!`]: crate::table_entry
pub struct TableRef<T: Table> {
    at: NonNull<TableHeader>,
    table: PhantomData<&'static T>,
}

impl<T: Table> fmt::Debug for TableRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.header())
    }
}

impl<T: Table> Clone for TableRef<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Table> Copy for TableRef<T> {}

// SAFETY: a table is never written after it was handed out.
unsafe impl<T: Table> Send for TableRef<T> {}
// SAFETY: as above.
unsafe impl<T: Table> Sync for TableRef<T> {}

impl<T: Table> TableRef<T> {
    /// Takes what the other side gave for `T::ID`.
    ///
    /// # Errors
    /// There is none, or it is another table.
    ///
    /// # Safety
    /// `header` is null, or points to a table that lives as long as the process and whose first `struct_size` bytes are
    /// laid out as those of the table type that its `id` names.
    pub unsafe fn new(header: *const TableHeader) -> Result<TableRef<T>, String> {
        let Some(at) = NonNull::new(header.cast_mut()) else { return Err(format!("there is no table `{}`", T::ID)) };
        // SAFETY: not null, so a table, which begins with a header.
        let found = unsafe { at.read() };
        if found.id.as_str() != T::ID || found.struct_size < size_of::<TableHeader>() {
            let TableHeader { struct_size, id, .. } = found;
            return Err(format!("table `{}` was asked for, `{id}` of {struct_size} bytes was given", T::ID));
        }
        Ok(TableRef { at, table: PhantomData })
    }

    /// What it begins with.
    pub fn header(&self) -> TableHeader {
        // SAFETY: `new` was promised a table, and tables begin with a header.
        unsafe { self.at.read() }
    }

    /// Reads a field, or nothing where the table ends before it.
    ///
    /// # Safety
    /// `offset` and `F` are those of the field that `field` names.
    #[doc(hidden)]
    pub unsafe fn read<F: Copy>(&self, offset: usize, field: fn(&T) -> &F) -> Option<F> {
        // only there so that the field's type need not be written
        let _ = field;
        if self.header().struct_size < offset + size_of::<F>() {
            return None;
        }
        // SAFETY: the field lies within the table, whose fields are laid out as those of `T`.
        Some(unsafe { self.at.as_ptr().byte_add(offset).cast::<F>().read() })
    }
}

/// A function of a table, as an `Option`: none where the table of the other side is too old to have it.
///
/// `table_entry!(table, TensorTable, matmul)` for a `table: TableRef<TensorTable>`.
#[macro_export]
macro_rules! table_entry {
    ($table:expr, $type:ty, $field:ident) => {{
        let table: &$crate::abi::TableRef<$type> = &$table;
        // SAFETY: offset and type are those of the field named.
        #[allow(unsafe_code)]
        unsafe {
            table.read(::core::mem::offset_of!($type, $field), |table: &$type| &table.$field)
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{PluginCoreTable, root::GetTable};
    use abi_stable::std_types::{RStr, RString};

    extern "C" fn connect(_: GetTable) -> u32 {
        7
    }
    extern "C" fn take_fault() -> RString {
        RString::from("none")
    }

    fn table(struct_size: usize, id: &'static str) -> &'static PluginCoreTable {
        let header = TableHeader { struct_size, id: RStr::from_str(id), revision: 0 };
        Box::leak(Box::new(PluginCoreTable { header, connect, take_fault }))
    }

    #[test]
    fn functions_are_read_up_to_the_end_of_the_table() {
        let whole = size_of::<PluginCoreTable>();
        // SAFETY: whole tables, and prefixes of them.
        let [full, short] = [whole, core::mem::offset_of!(PluginCoreTable, take_fault)]
            .map(|size| unsafe { TableRef::<PluginCoreTable>::new(&table(size, "plugin.core/1").header) }.unwrap());
        assert!(table_entry!(full, PluginCoreTable, connect).is_some());
        assert_eq!(table_entry!(full, PluginCoreTable, take_fault).unwrap()(), "none");
        assert!(table_entry!(short, PluginCoreTable, connect).is_some());
        assert!(table_entry!(short, PluginCoreTable, take_fault).is_none());
    }

    #[test]
    fn a_missing_or_other_table_is_an_error() {
        let whole = size_of::<PluginCoreTable>();
        // SAFETY: null, or a whole table.
        let [none, other, tiny] = unsafe {
            [
                TableRef::<PluginCoreTable>::new(core::ptr::null()),
                TableRef::new(&table(whole, "plugin.core/2").header),
                TableRef::new(&table(1, "plugin.core/1").header),
            ]
        };
        assert_eq!(none.unwrap_err(), "there is no table `plugin.core/1`");
        assert!(other.unwrap_err().contains("`plugin.core/2`"));
        assert!(tiny.is_err());
    }
}
