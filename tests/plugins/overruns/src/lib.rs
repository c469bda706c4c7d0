//! Gradient descent whose f32 kernel writes one element behind a whole tensor: seen by the guards around it alone.
//! Safe Rust cannot do this, so the table is made by hand: the sdk's, with another kernel, and as long as one of ABI 1.0.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use sdk::abi::{KernelCall, RuleTable, Table, TableHeader};
use sdk::abi_stable::prefix_type::PrefixTypeTrait;
use sdk::abi_stable::std_types::RStr;
use sdk::*;

/// The rule, as the sdk makes it.
pub struct Overruns;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    lr: T,
}

/// Its state: the gradient it saw last, which nothing reads.
#[derive(Record)]
pub struct State<T> {
    last_grad: T,
}

impl Elementwise for Overruns {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { lr: knob(1e-2, 0.0..=1.0, "step size") }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { last_grad: Slot::zeros().degree(1).decay(0.0) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        move |x, g, state| {
            state.last_grad = g;
            x - h.lr * g
        }
    }
}

register!(
    Elementwise Overruns, "overruns",
    summary = "a fixture: writes behind its tensor",
    paper = "none: a fixture"
);

/// The sdk's root, whose tables are looked at on their way out.
fn root() -> abi::RootRef {
    let root = export::root::<{ abi::MAJOR }, { abi::REQUIRED_MINOR }>();
    abi::Root { abi_version: root.abi_version(), describe: root.describe(), get_table }.leak_into_prefix()
}

extern "C" fn get_table(id: RStr<'_>, label: RStr<'_>) -> usize {
    static TABLE: OnceLock<RuleTable> = OnceLock::new();
    let address = export::root::<{ abi::MAJOR }, { abi::REQUIRED_MINOR }>().get_table()(id, label);
    if id != "plugin.rule/1" || address == 0 {
        return address;
    }
    let table = TABLE.get_or_init(|| {
        // SAFETY: the sdk's table of this id, which lives as long as the process.
        let sound = unsafe { &*std::ptr::with_exposed_provenance::<RuleTable>(address) };
        // As long as a table of the first sdk: it ends before state in bf16.
        let header = TableHeader { struct_size: RuleTable::PUBLISHED, ..sound.header };
        let RuleTable { slots, record, update_f64, update_bf16, narrow, update_f32_narrow, update_bf16_narrow, .. } =
            *sound;
        SOUND.get_or_init(|| sound.update_f32);
        RuleTable {
            header,
            slots,
            record,
            update_f32: overrun,
            update_f64,
            update_bf16,
            narrow,
            update_f32_narrow,
            update_bf16_narrow,
        }
    });
    (&raw const *table).expose_provenance()
}

static SOUND: OnceLock<unsafe extern "C" fn(*const KernelCall) -> u32> = OnceLock::new();

unsafe extern "C" fn overrun(call: *const KernelCall) -> u32 {
    let Some(sound) = SOUND.get() else { return abi::FAILED };
    // SAFETY: the host's call, handed on as it came; `step` has three numbers. The write behind the end is the fixture's
    // purpose: it is done for a whole tensor of a length that one check alone uses, which has guards behind it.
    unsafe {
        let status = sound(call);
        let (n, numel) = ((*call).n, *(*call).step.add(1));
        if n == 9 && numel == 9.0 && *(*call).step == 1.0 && *(*call).step.add(2) == 1.0 {
            (*call).x.cast::<f32>().add(n).write(1.0);
        }
        status
    }
}

/// As `plugin!` makes it, with another root.
#[unsafe(no_mangle)]
pub static _1as_0lib_1header_0root_bmodule_bloader: sdk::abi_stable::library::LibHeader = {
    extern "C" fn module() -> sdk::abi_stable::library::RootModuleResult {
        sdk::abi_stable::library::__call_root_module_loader(root)
    }
    // SAFETY: `module` loads the module of the type named.
    unsafe {
        sdk::abi_stable::library::LibHeader::from_constructor::<abi::RootRef>(
            module,
            sdk::abi_stable::library::CheckTypeLayout::Yes,
        )
    }
};
