//! The tables as they were published: a function never moves, changes its signature or goes. New ones are added at the
//! end, here and in `abi/tables.txt`, with a raised `MINOR`.

use std::fmt::Write;
use std::mem::offset_of;

use sdk::abi::{
    ArchOpTable, CoreTable, EvaluationTable, KernelCall, LinalgTable, MeasureCall, MemoryTable, OptimizerCall,
    OptimizerTable, PassBlock, PassCall, PassesTable, PluginCoreTable, ProjectionCall, ProjectionTable, RngTable,
    RuleTable, SlotsTable, SumsTable, Table, TableHeader, TensorTable,
};
use sdk::tape::Node;

/// Name of a field's type, without a value of it and without the paths of modules.
fn type_name<T, F>(_: fn(&T) -> &F) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut name = std::any::type_name::<F>().to_string();
    while let Some(end) = name.find("::") {
        let start = name[..end].rfind(|c| !is_word(c)).map_or(0, |before| before + 1);
        name.replace_range(start..end + 2, "");
    }
    name
}

fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! describe {
    ($text:ident, $type:ident, $name:expr, $first:expr, { $($field:ident),* $(,)? }) => {{
        writeln!($text, "{} {} bytes", $name, size_of::<$type>()).unwrap();
        let mut end: usize = $first;
        $(
            let name = type_name(|table: &$type| &table.$field);
            writeln!($text, "  {:4} {}: {name}", offset_of!($type, $field), stringify!($field)).unwrap();
            assert!(offset_of!($type, $field) >= end, "{} is out of order", stringify!($field));
            end = offset_of!($type, $field) + size_of_field(|table: &$type| &table.$field);
        )*
        // were a field missing in the list above, the last one would not end where the struct does
        assert!(size_of::<$type>() < end + 8, "a field of {} is not listed", stringify!($type));
    }};
}

macro_rules! table {
    ($text:ident, $type:ident { $($field:ident),* $(,)? }) => {{
        describe!($text, $type, <$type as Table>::ID, size_of::<TableHeader>(), { $($field),* });
        let functions = [$(stringify!($field)),*].len();
        assert_eq!(size_of::<$type>(), size_of::<TableHeader>() + functions * size_of::<usize>());
        assert!(functions < 60);
    }};
}

#[test]
fn tables_are_as_published() {
    let mut text = String::new();
    describe!(text, TableHeader, "header", 0, { struct_size, id, revision });
    table!(text, PluginCoreTable { connect, take_fault });
    table!(
        text,
        RuleTable { slots, record, update_f32, update_f64, update_bf16, narrow, update_f32_narrow, update_bf16_narrow }
    );
    table!(
        text,
        SumsTable {
            scope,
            names,
            memory,
            measure_f32,
            measure_f64,
            measure_bf16,
            measure_f32_narrow,
            measure_bf16_narrow,
        }
    );
    table!(
        text,
        EvaluationTable { record, prepare_f32, prepare_f64, prepare_bf16, prepare_f32_narrow, prepare_bf16_narrow }
    );
    table!(text, MemoryTable { numbers });
    table!(text, OptimizerTable { accepts, slots, step, narrow });
    table!(text, SlotsTable { slots });
    table!(text, PassesTable { alone_from });
    table!(text, ProjectionTable { inputs, metrics, project });
    table!(text, ArchOpTable { plan });
    table!(text, CoreTable { log, take_error });
    table!(
        text,
        TensorTable {
            shape,
            dtype,
            device,
            item,
            cast,
            copy,
            reshape,
            transpose,
            narrow,
            index_select,
            concat,
            full,
            eye,
            neg,
            abs,
            sign,
            sqrt,
            rsqrt,
            reciprocal,
            exp,
            ln,
            tanh,
            add,
            sub,
            mul,
            div,
            max,
            min,
            gt,
            ge,
            add_scalar,
            mul_scalar,
            pow_scalar,
            max_scalar,
            add_scaled,
            select,
            sum,
            mean,
            norm,
            matmul,
            add_matmul,
            pass,
        }
    );
    table!(text, LinalgTable { qr, eigh, svd, symmetric_product });
    table!(text, RngTable { uniform, normal });
    describe!(text, KernelCall, "KernelCall", 0, { struct_size, isa, hyper, step, n, x, g, state });
    describe!(text, MeasureCall, "MeasureCall", 0, { struct_size, isa, hyper, step, n, x, g, state, rows });
    describe!(text, OptimizerCall, "OptimizerCall", 0, { struct_size, batch, hyper, step, x, g, state, new_x });
    describe!(text, ProjectionCall, "ProjectionCall", 0, { struct_size, hyper, g, inputs, metrics, kept });
    describe!(
        text,
        PassCall,
        "PassCall",
        0,
        { struct_size, record, run_f32, run_f64, take_fault, numbers, inputs, input_per, result_per, replaces }
    );
    describe!(
        text,
        PassBlock,
        "PassBlock",
        0,
        { struct_size, isa, numbers, rows, columns, stride, inputs, input_per, results, result_per }
    );
    describe!(text, Node, "Node", 0, { op, a, b, c, bits });

    let golden = include_str!("abi/tables.txt");
    assert!(text == golden, "the tables differ from sdk/tests/abi/tables.txt; they are now:\n{text}");
}

/// abi_stable compares the version of the package that defines a type, and refuses another minor of 0.x and another major.
/// So leaving this range refuses every plugin built before: it is a new `MAJOR`.
#[test]
fn the_package_version_stays_in_the_range_that_older_plugins_load_in() {
    assert_eq!((sdk::abi::MAJOR, env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR")), (1, "0", "1"));
}
