//! A plugin as the host sees it: root module, descriptors, tables, calls, failures.
#![allow(unsafe_code)]

use std::cell::RefCell;

use abi_stable::std_types::{RSlice, RStr, RString, RVec};
use sdk::abi::host_tables::Handle;
use sdk::abi::{
    ArchOpTable, CoreTable, Descriptor, FAILED, GetTable, KernelCall, MAJOR, OK, OptimizerCall, OptimizerTable,
    PANICKED, PluginCoreTable, ProjectionCall, ProjectionTable, REQUIRED_MINOR, RootRef, RuleTable, Table, TableHeader,
    TableRef,
};
use sdk::*;

fn lr() -> Knob {
    knob(0.5, 0.0..=1.0, "step size")
}

#[derive(Record)]
struct Hyper<T> {
    lr: T,
}

#[derive(Record)]
struct State<T> {
    first: T,
    off: T,
}

fn two_slots() -> State<Slot> {
    State { first: Slot::zeros().degree(1), off: Slot::fill(2.0).only_if(0.0) }
}

struct Descent;

impl Elementwise for Descent {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { lr: lr() }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        two_slots()
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        assert!(format!("{:?}", step.t) != "Scalar(3.0)", "no third step");
        move |x, g, s| {
            s.first = g;
            s.off = g;
            x - h.lr * g
        }
    }
}

/// What the whole-tensor rules of this test do at each step, counted from 1.
struct Whole;

impl Optimizer for Whole {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { lr: lr() }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        two_slots()
    }

    fn accepts(shape: &[i64]) -> Result<()> {
        if shape.len() == 2 { Ok(()) } else { Err(format!("not a matrix: {shape:?}").into()) }
    }

    fn update<'t>(
        h: &Hyper<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut State<Tensor<'t>>,
    ) -> Result<Tensor<'t>> {
        match step.t as u32 {
            1 => {
                assert_eq!((h.lr, step.numel, step.grad_norm), (0.25, 6.0, 7.0));
                state.first = g.neg()?;
                state.off = x;
                Ok(x)
            }
            2 => Err("two is too many".into()),
            3 => panic!("no third step"),
            4 => state.off.neg(),
            5 => x.matmul(g),
            6 => x.neg()?.neg(),
            7 => Ok(state.off),
            _ => {
                state.first = state.off;
                Ok(x)
            }
        }
    }
}

struct Keep;

impl Projection for Keep {
    type Hyper<T: Copy> = Nothing<T>;
    type Inputs<T: Copy> = Hyper<T>;
    type Metrics<T: Copy> = State<T>;

    fn hyper() -> Nothing<Knob> {
        Nothing::default()
    }

    fn project<'t>(_: &Nothing<f64>, g: Tensor<'t>, inputs: Hyper<Tensor<'t>>) -> Result<(Tensor<'t>, State<f64>)> {
        inputs.lr.neg()?;
        Ok((g, State { first: 1.0, off: 2.0 }))
    }
}

struct Same;

impl ArchOp for Same {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { lr: lr() }
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        let mut plan = network.keep_all();
        plan.set_fact("scale", h.lr);
        Ok(plan)
    }
}

register!(Elementwise Descent, "descent", summary = "one line", paper = "a paper");
register!(Optimizer Whole, "whole", summary = "one line", paper = "a paper");
register!(Projection Keep, "keep", summary = "one line", paper = "a paper");
register!(ArchOp Same, "a-same", summary = "one line", paper = "a paper");
plugin!();

fn root() -> RootRef {
    sdk::export::root::<MAJOR, REQUIRED_MINOR>()
}

fn table<T: Table>(label: &str) -> core::result::Result<TableRef<T>, String> {
    let address = root().get_table()(RStr::from_str(T::ID), RStr::from_str(label));
    // SAFETY: a table of this very binary, or null.
    unsafe { TableRef::new(std::ptr::with_exposed_provenance::<TableHeader>(address)) }
}

fn take_fault() -> String {
    let core = table::<PluginCoreTable>("").unwrap();
    sdk::table_entry!(core, PluginCoreTable, take_fault).unwrap()().into()
}

/// A host whose tables are cut short after `neg`'s place, and which knows one operation. Its tensors are numbers: `neg`
/// of 40 is 41, and of that an error.
mod host {
    use super::*;

    thread_local! { static ERROR: RefCell<String> = const { RefCell::new(String::new()) }; }

    extern "C" fn log(_: u32, _: RStr<'_>) {}

    extern "C" fn take_error() -> RString {
        ERROR.take().into()
    }

    extern "C" fn neg(a: Handle, out: *mut Handle) -> u32 {
        if a != 40 {
            ERROR.set(format!("neg of {a} is not defined"));
            return FAILED;
        }
        // SAFETY: the caller's place for one handle.
        unsafe { *out = a + 1 };
        OK
    }

    #[repr(C)]
    struct ShortTensorTable {
        header: TableHeader,
        between: [usize; (core::mem::offset_of!(sdk::abi::TensorTable, neg) - size_of::<TableHeader>()) / 8],
        neg: extern "C" fn(Handle, *mut Handle) -> u32,
    }

    static CORE: CoreTable = CoreTable {
        header: TableHeader { struct_size: size_of::<CoreTable>(), id: RStr::from_str(CoreTable::ID), revision: 0 },
        log,
        take_error,
    };
    static TENSOR: ShortTensorTable = ShortTensorTable {
        header: TableHeader {
            struct_size: size_of::<ShortTensorTable>(),
            id: RStr::from_str(sdk::abi::TensorTable::ID),
            revision: 0,
        },
        between: [0; _],
        neg,
    };

    pub extern "C" fn get_table(id: RStr<'_>, label: RStr<'_>) -> *const TableHeader {
        assert_eq!(label, "");
        match id.as_str() {
            CoreTable::ID => (&raw const CORE).cast(),
            <sdk::abi::TensorTable as Table>::ID => (&raw const TENSOR).cast(),
            _ => std::ptr::null(),
        }
    }
}

fn connect() {
    let core = table::<PluginCoreTable>("").unwrap();
    let connect = sdk::table_entry!(core, PluginCoreTable, connect).unwrap();
    assert_eq!(connect(host::get_table as GetTable), OK);
}

fn described(label: &str) -> Descriptor {
    let all = root().describe()().unwrap();
    all.iter().find(|descriptor| descriptor.label == label).unwrap().clone()
}

#[test]
fn labels_are_described_in_order_with_kind_table_and_facts() {
    let all = root().describe()().unwrap();
    let rows: Vec<_> = all.iter().map(|d| (d.label.as_str(), d.kind.as_str(), d.table.as_str())).collect();
    assert_eq!(
        rows,
        [
            ("a-same", "arch-op", "plugin.arch_op/1"),
            ("descent", "optimizer", "plugin.rule/1"),
            ("keep", "projection", "plugin.projection/1"),
            ("whole", "optimizer", "plugin.optimizer/1"),
        ]
    );
    let descent = described("descent");
    assert_eq!((descent.summary.as_str(), descent.paper.as_str()), ("one line", "a paper"));
    assert_eq!((descent.hyper.len(), descent.hyper[0].name.as_str(), descent.hyper[0].default), (1, "lr", 0.5));
    let facts: Vec<_> = descent.facts.iter().map(|fact| (fact.0.as_str(), fact.1.as_str())).collect();
    assert!(facts.contains(&("panic", "unwind")), "{facts:?}");
    assert!(facts.contains(&("portable", "true")), "{facts:?}");
    assert!(facts.iter().any(|(key, value)| *key == "rustc" && value.starts_with("rustc ")), "{facts:?}");
    assert!(facts.iter().any(|(key, _)| *key == "opt-level"), "{facts:?}");
    assert!(facts.contains(&("sdk", env!("CARGO_PKG_VERSION"))), "{facts:?}");
}

#[test]
fn the_root_says_for_which_version_it_was_built() {
    let version = root().abi_version()();
    assert_eq!((version.major, version.required_minor), (MAJOR, REQUIRED_MINOR));
    let version = sdk::export::root::<1, 999>().abi_version()();
    assert_eq!((version.major, version.required_minor), (1, 999));
}

#[test]
fn a_table_is_found_by_id_and_label_together() {
    assert!(table::<RuleTable>("descent").is_ok());
    assert!(table::<RuleTable>("whole").is_err());
    assert!(table::<OptimizerTable>("descent").is_err());
    assert!(table::<PluginCoreTable>("descent").is_err());
    assert!(table::<ProjectionTable>("keep").is_ok());
}

fn update(step: f64, struct_size: usize) -> (u32, Vec<f32>, Vec<f32>) {
    let update = sdk::table_entry!(table::<RuleTable>("descent").unwrap(), RuleTable, update_f32).unwrap();
    let (mut x, g, mut first) = (vec![1.0f32; 3], vec![2.0f32; 3], vec![0.0f32; 3]);
    let state = [first.as_mut_ptr().cast(), std::ptr::null_mut()];
    let (hyper, step) = ([0.25], [step, 3.0, 1.0]);
    let call = KernelCall {
        struct_size,
        isa: 0,
        hyper: hyper.as_ptr(),
        step: step.as_ptr(),
        n: 3,
        x: x.as_mut_ptr().cast(),
        g: g.as_ptr().cast(),
        state: state.as_ptr(),
    };
    // SAFETY: three elements each, one slot off.
    let status = unsafe { update(&call) };
    (status, x, first)
}

#[test]
fn a_rule_runs_behind_its_table() {
    assert_eq!(update(1.0, size_of::<KernelCall>()), (OK, vec![0.5; 3], vec![2.0; 3]));
}

#[test]
fn a_panic_in_a_kernel_is_a_status_and_a_text_with_its_place() {
    root().describe()().unwrap();
    assert_eq!(update(3.0, size_of::<KernelCall>()), (PANICKED, vec![1.0; 3], vec![0.0; 3]));
    let text = take_fault();
    assert!(text.starts_with("panicked: no third step at ") && text.contains("boundary.rs:"), "{text}");
    assert_eq!(take_fault(), "");
}

#[test]
fn a_call_shorter_than_the_plugin_knows_it_is_refused() {
    assert_eq!(update(1.0, size_of::<KernelCall>() - 8), (FAILED, vec![1.0; 3], vec![0.0; 3]));
    assert!(take_fault().contains("this plugin needs"));
}

#[test]
fn slots_and_recording_answer_with_a_value_or_a_text() {
    let rule = table::<RuleTable>("descent").unwrap();
    let slots = sdk::table_entry!(rule, RuleTable, slots).unwrap();
    let record = sdk::table_entry!(rule, RuleTable, record).unwrap();
    let found = slots(RSlice::from_slice(&[0.5])).unwrap();
    assert_eq!(found.iter().map(|slot| (slot.name.as_str(), slot.index)).collect::<Vec<_>>(), [("first", 0)]);
    let nodes = record(RSlice::from_slice(&[0.5])).unwrap();
    assert_eq!(tape::check(&nodes, 1, &found), Ok(()));
    for wrong in [&[][..], &[0.5, 0.5]] {
        assert!(slots(RSlice::from_slice(wrong)).unwrap_err().contains("the schema has 1"));
        assert!(record(RSlice::from_slice(wrong)).unwrap_err().contains("the schema has 1"));
    }
}

fn whole_step(t: f64) -> (u32, u64, [u64; 2], String) {
    connect();
    let step = sdk::table_entry!(table::<OptimizerTable>("whole").unwrap(), OptimizerTable, step).unwrap();
    let (hyper, moment) = ([0.25], [t, 6.0, 7.0]);
    let (mut state, mut new_x) = ([11, 0], 99);
    let call = OptimizerCall {
        struct_size: size_of::<OptimizerCall>(),
        batch: 1,
        hyper: hyper.as_ptr(),
        step: moment.as_ptr(),
        x: 40,
        g: 40,
        state: state.as_mut_ptr(),
        new_x: &mut new_x,
    };
    // SAFETY: as many numbers and handles as the schema and the state record have.
    let status = unsafe { step(&call) };
    (status, new_x, state, take_fault())
}

#[test]
fn a_step_over_whole_tensors_hands_over_all_or_nothing() {
    let nothing = |status, text: &str| (status, 99, [11, 0], text.to_string());
    assert_eq!(whole_step(1.0), (OK, 40, [41, 0], String::new()));
    assert_eq!(whole_step(2.0), nothing(FAILED, "two is too many"));
    let panicked = whole_step(3.0);
    assert!(panicked.3.starts_with("panicked: no third step at "), "{}", panicked.3);
    assert_eq!((panicked.0, panicked.1, panicked.2), (PANICKED, 99, [11, 0]));
    let absent = "a tensor is used that is not there, such as a slot that is switched off";
    assert_eq!(whole_step(4.0), nothing(FAILED, absent));
    assert_eq!(whole_step(5.0), nothing(FAILED, "this host's tables have no `matmul`"));
    assert_eq!(whole_step(6.0), nothing(FAILED, "neg: neg of 41 is not defined"));
    assert_eq!(whole_step(7.0), nothing(FAILED, absent));
    assert_eq!(whole_step(8.0), nothing(FAILED, "slot `first` was given a tensor that is not there"));
}

#[test]
fn shapes_are_accepted_or_refused_with_a_reason() {
    let accepts = sdk::table_entry!(table::<OptimizerTable>("whole").unwrap(), OptimizerTable, accepts).unwrap();
    assert!(accepts(RSlice::from_slice(&[2, 3])).is_ok());
    assert_eq!(accepts(RSlice::from_slice(&[2])).unwrap_err(), "not a matrix: [2]");
}

#[test]
fn a_projection_names_its_inputs_and_metrics_and_fills_them() {
    connect();
    let keep = table::<ProjectionTable>("keep").unwrap();
    let names = |f: extern "C" fn() -> RVec<RString>| f().iter().map(RString::to_string).collect::<Vec<_>>();
    assert_eq!(names(sdk::table_entry!(keep, ProjectionTable, inputs).unwrap()), ["lr"]);
    assert_eq!(names(sdk::table_entry!(keep, ProjectionTable, metrics).unwrap()), ["first", "off"]);
    let project = sdk::table_entry!(keep, ProjectionTable, project).unwrap();
    for (input, want) in [(40, (OK, 7, [1.0, 2.0])), (5, (FAILED, 0, [0.0, 0.0]))] {
        let (mut metrics, mut kept) = ([0.0; 2], 0);
        let call = ProjectionCall {
            struct_size: size_of::<ProjectionCall>(),
            hyper: std::ptr::null(),
            g: 7,
            inputs: &input,
            metrics: metrics.as_mut_ptr(),
            kept: &mut kept,
        };
        // SAFETY: one input, two metrics, no hyper-parameter.
        assert_eq!((unsafe { project(&call) }, kept, metrics), want);
    }
    assert_eq!(take_fault(), "neg: neg of 5 is not defined");
}

#[test]
fn an_arch_op_plans_behind_its_table() {
    let plan = sdk::table_entry!(table::<ArchOpTable>("a-same").unwrap(), ArchOpTable, plan).unwrap();
    let network = Network { facts: RVec::new(), parameters: RVec::new() };
    let planned = plan(RSlice::from_slice(&[0.75]), &network).unwrap();
    assert_eq!((planned.facts[0].0.as_str(), planned.facts[0].1), ("scale", 0.75));
    assert!(plan(RSlice::from_slice(&[]), &network).is_err());
}

#[test]
fn without_a_host_logging_is_silent_and_tables_are_counted() {
    // another thread of this binary may have connected; either way nothing happens
    log(Level::Info, "hello");
    let core = table::<PluginCoreTable>("").unwrap().header();
    assert_eq!((core.struct_size, core.revision), (size_of::<PluginCoreTable>(), 0));
}
