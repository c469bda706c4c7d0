//! Rules that go by passes, as a host sees them: under another table, and refused where they do not say so.
#![allow(unsafe_code)]

use abi_stable::std_types::{RStr, RString};
use sdk::abi::{
    CoreTable, FAILED, GetTable, OK, OptimizerCall, OptimizerTable, PassesTable, PluginCoreTable, RootRef, SlotsTable,
    Table, TableHeader, TableRef, TensorTable,
};
use sdk::*;

#[derive(Record)]
struct Pair<T> {
    x: T,
    off: T,
}

#[derive(Record)]
struct One<T> {
    x: T,
}

/// The sum of the products.
struct Products;

impl Pass for Products {
    type Numbers<T: Copy> = Nothing<T>;
    type Inputs<T: Copy> = Pair<T>;
    type Results<T: Copy> = One<T>;

    fn each<L: Lane>(_: Nothing<Scalar<L>>) -> impl Fn(Pair<L>) -> One<L> {
        |Pair { x, off }| One { x: x * off }
    }
}

/// A rule of one pass, which says so or not. At step 2 it uses a slot that is off; at step 3 it panics.
struct Rule<const SAYS_SO: bool>;

impl<const SAYS_SO: bool> Optimizer for Rule<SAYS_SO> {
    type Hyper<T: Copy> = Nothing<T>;
    type State<T: Copy> = One<T>;

    const BY_PASSES: bool = SAYS_SO;

    fn hyper() -> Nothing<Knob> {
        Nothing::default()
    }

    fn state(_: &Nothing<f64>) -> One<Slot> {
        One { x: Slot::zeros().only_if(0.0) }
    }

    fn accepts(_: &[i64]) -> Result<()> {
        Ok(())
    }

    fn update<'t>(
        _: &Nothing<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut One<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        assert!(step.t != 3.0, "no third step");
        let off = if step.t == 2.0 { state.x } else { g };
        let inputs = Pair { x: (x, Per::Element), off: (off, Per::Element) };
        Ok(Products::run(Nothing::default(), inputs, One { x: Per::Parameter })?.x)
    }
}

register!(Optimizer Rule<true>, "by-passes", summary = "one line", paper = "a paper");
register!(Optimizer Rule<false>, "says-nothing", summary = "one line", paper = "a paper");

fn root() -> RootRef {
    sdk::export::root::<{ abi::MAJOR }, { abi::REQUIRED_MINOR }>()
}

fn table<T: Table>(label: &'static str) -> core::result::Result<TableRef<T>, String> {
    let address = root().get_table()(RStr::from_str(T::ID), RStr::from_str(label));
    // SAFETY: null or a static table of the id asked for.
    unsafe { TableRef::new(core::ptr::with_exposed_provenance(address)) }
}

/// A host whose table of tensor operations ends before passes.
mod older_host {
    use super::*;

    extern "C" fn log(_: u32, _: RStr<'_>) {}

    extern "C" fn take_error() -> RString {
        RString::new()
    }

    static CORE: CoreTable = CoreTable {
        header: TableHeader { struct_size: size_of::<CoreTable>(), id: RStr::from_str(CoreTable::ID), revision: 0 },
        log,
        take_error,
    };
    static TENSOR: TableHeader =
        TableHeader { struct_size: size_of::<TableHeader>(), id: RStr::from_str(TensorTable::ID), revision: 0 };

    pub extern "C" fn get_table(id: RStr<'_>, _: RStr<'_>) -> *const TableHeader {
        match id.as_str() {
            CoreTable::ID => (&raw const CORE).cast(),
            TensorTable::ID => &raw const TENSOR,
            _ => core::ptr::null(),
        }
    }
}

fn step(label: &'static str, t: f64) -> (u32, String) {
    let core = table::<PluginCoreTable>("").unwrap();
    let connect = sdk::table_entry!(core, PluginCoreTable, connect).unwrap();
    assert_eq!(connect(older_host::get_table as GetTable), OK);
    let step = sdk::table_entry!(table::<OptimizerTable>(label).unwrap(), OptimizerTable, step).unwrap();
    let (moment, mut state, mut new_x) = ([t, 6.0, 7.0], [0], 0);
    let call = OptimizerCall {
        struct_size: size_of::<OptimizerCall>(),
        batch: 1,
        hyper: [].as_ptr(),
        step: moment.as_ptr(),
        x: 40,
        g: 41,
        state: state.as_mut_ptr(),
        new_x: &mut new_x,
    };
    // SAFETY: as many numbers and handles as the schema and the state record have.
    let status = unsafe { step(&call) };
    (status, sdk::table_entry!(core, PluginCoreTable, take_fault).unwrap()().into_string())
}

/// A host looks for the table that a label is listed under, and so one without passes refuses that label alone.
#[test]
fn a_rule_that_goes_by_passes_is_listed_under_their_table() {
    let all = root().describe()().unwrap();
    let rows: Vec<_> = all.iter().map(|one| (one.label.as_str(), one.table.as_str())).collect();
    assert_eq!(rows, [("by-passes", "plugin.passes/1"), ("says-nothing", "plugin.optimizer/1")]);
    let alone = sdk::table_entry!(table::<PassesTable>("by-passes").unwrap(), PassesTable, alone_from).unwrap();
    assert!(alone() > 1);
    for label in ["by-passes", "says-nothing"] {
        assert!(table::<OptimizerTable>(label).is_ok() && table::<SlotsTable>(label).is_ok(), "{label}");
    }
    assert!(table::<PassesTable>("says-nothing").is_err());
}

#[test]
fn a_pass_that_cannot_be_run_says_why() {
    let undeclared = "pass: for optimizers alone that declare `const BY_PASSES: bool = true`";
    assert_eq!(step("says-nothing", 1.0), (FAILED, undeclared.into()));
    assert_eq!(step("by-passes", 1.0), (FAILED, "this host's tables have no `pass`".into()));
    let off = "pass: input `off` is not there, such as a slot that is switched off";
    assert_eq!(step("by-passes", 2.0), (FAILED, off.into()));
    // What one rule may do is over with it, also after a panic.
    assert!(step("by-passes", 3.0).1.starts_with("panicked: no third step"));
    assert_eq!(step("says-nothing", 1.0), (FAILED, undeclared.into()));
}
