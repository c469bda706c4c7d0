//! Kernels against each other and against the recorded expression, on values from all corners of floating point.
//! The rules here are no optimizers: together they use every operation.

use std::sync::{Arc, Mutex, MutexGuard};

use abi_stable::std_types::{RErr, RResult, RSlice, RStr, RString, RVec};
use sdk::{
    Elementwise, Knob, Lane, Mask, Record, Scalar, Slot, Step,
    abi::{KernelCall, NarrowKernel, OK, PANICKED, RuleTable, SlotDescriptor, TableHeader},
    cpu::{self, Brain, Double, Single},
    flag, knob,
    rule::ElementwiseKernel,
    tape::{self, Node},
};
use tch::{Device, Kind, Tensor};

use super::{InstructionSet, Pass, Rule, Target, Touched, interpret, kernel::state_kind, threads};
use crate::fault::{Exit, Fault};

/// The number of threads is the process's, so tests that set it take turns.
static THREADS: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    THREADS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Every operation that has exact bits in f32 and f64.
struct Exact;

#[derive(Record)]
struct Hyper<T> {
    lr: T,
    beta: T,
    root: T,
}

#[derive(Record)]
struct State<T> {
    average: T,
    off: T,
    largest: T,
}

impl Elementwise for Exact {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { lr: knob(0.1, 0.0..=1.0, "step"), beta: knob(0.9, 0.0..=1.0, "decay"), root: flag(true, "takes roots") }
    }

    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { average: Slot::zeros(), off: Slot::zeros().only_if(0.0), largest: Slot::fill(0.5) }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
        let correction = 1.0 - h.beta.pow(step.t);
        let early = step.t.gt(2.5);
        let per_element = h.lr / step.numel.sqrt();
        move |x, g, state| {
            state.average = h.beta * state.average + (1.0 - h.beta) * g;
            state.largest = state.largest.max(state.average.abs()).min(1e20);
            state.off = state.off + g;
            let size = if h.root.is_on() { state.largest.sqrt() } else { state.largest * state.largest };
            let direction = early.choose(state.average / (size + 1e-8), state.average.sign() * correction);
            let against = (direction * x).ge(0.0) & !x.gt(g) | g.gt(3.0);
            let direction = against.select(-direction, direction);
            x - per_element * direction - (x * h.lr) * (state.off / 3.0)
        }
    }
}

/// Fused multiplication and addition, whose expression is exact in f32 alone.
struct Fused;

#[derive(Record)]
struct Nothing<T> {
    average: T,
}

impl Elementwise for Fused {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Hyper<Knob> {
        Exact::hyper()
    }

    fn state(_: &Hyper<f64>) -> Nothing<Slot> {
        Nothing { average: Slot::zeros() }
    }

    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut Nothing<L>) -> L {
        move |x, g, state| {
            state.average = state.average.fma(L::from(h.beta), g);
            x.fma(g, state.average)
        }
    }
}

unsafe extern "C" fn f32<R: Elementwise>(call: *const KernelCall) -> u32 {
    // SAFETY: called by `Pass`, which upholds what the call promises.
    unsafe { cpu::update::<R, Single>(&*call) };
    OK
}
unsafe extern "C" fn f64<R: Elementwise>(call: *const KernelCall) -> u32 {
    // SAFETY: as above.
    unsafe { cpu::update::<R, Double>(&*call) };
    OK
}
unsafe extern "C" fn bf16<R: Elementwise>(call: *const KernelCall) -> u32 {
    // SAFETY: as above.
    unsafe { cpu::update::<R, Brain>(&*call) };
    OK
}
unsafe extern "C" fn f32_narrow<R: Elementwise>(call: *const KernelCall, narrow: u64) -> u32 {
    // SAFETY: as above.
    unsafe { cpu::update_kernel::<ElementwiseKernel<R>, Single>(&*call, narrow) };
    OK
}
unsafe extern "C" fn bf16_narrow<R: Elementwise>(call: *const KernelCall, narrow: u64) -> u32 {
    // SAFETY: as above.
    unsafe { cpu::update_kernel::<ElementwiseKernel<R>, Brain>(&*call, narrow) };
    OK
}
unsafe extern "C" fn panics(_: *const KernelCall) -> u32 {
    PANICKED
}
extern "C" fn no_slots(_: RSlice<'_, f64>) -> RResult<RVec<SlotDescriptor>, RString> {
    RErr("not asked in these tests".into())
}
extern "C" fn no_record(_: RSlice<'_, f64>) -> RResult<RVec<Node>, RString> {
    RErr("not asked in these tests".into())
}

type Kernel = unsafe extern "C" fn(*const KernelCall) -> u32;

fn rule(label: &str, [update_f32, update_f64, update_bf16]: [Kernel; 3], narrow: [Option<NarrowKernel>; 2]) -> Rule {
    let header = TableHeader { struct_size: size_of::<RuleTable>(), id: RStr::from_str("plugin.rule/1"), revision: 0 };
    let (slots, record, [update_f32_narrow, update_bf16_narrow]) = (no_slots, no_record, narrow);
    let table = RuleTable {
        header,
        slots,
        record,
        update_f32,
        update_f64,
        update_bf16,
        narrow: None,
        update_f32_narrow,
        update_bf16_narrow,
    };
    let on_failure = |status, stage: &str| Fault::new("P001", Exit::Plugin, format!("status {status} in {stage}"));
    Rule::new(label, Box::leak(Box::new(table)), Arc::new(on_failure))
}

fn rule_of<R: Elementwise>() -> Rule {
    rule("test", [f32::<R>, f64::<R>, bf16::<R>], [Some(f32_narrow::<R>), Some(bf16_narrow::<R>)])
}

/// Ordinary values, and one in four from the corners.
struct Values(u64);

impl Values {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn value(&mut self) -> f64 {
        let bits = self.next();
        let corners = [0.0, -0.0, 1.0, -1.0, f64::from(f32::MAX), 1e-30, 1e30, f64::from(f32::MIN_POSITIVE)];
        let wild = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0];
        match bits % 16 {
            0 | 1 => corners[(bits >> 40) as usize % corners.len()],
            2 => f64::from(f32::from_bits((bits >> 32) as u32 & 0x807f_ffff)),
            3 => wild[(bits >> 40) as usize % wild.len()],
            _ => (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0,
        }
    }

    fn tensor(&mut self, shape: &[i64], kind: Kind) -> Tensor {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| self.value()).collect();
        Tensor::from_slice(&values).reshape(shape).to_kind(kind)
    }
}

/// Tensors of one step: x, g, state by place.
struct Case(Vec<(Tensor, Tensor, Vec<Option<Tensor>>)>);

const SHAPES: [&[i64]; 9] = [&[], &[1], &[7], &[8], &[3, 3], &[64], &[129], &[4097], &[70_001]];

/// `narrow`: slots in bf16, as bits.
fn case((kind, narrow): (Kind, u64), seed: u64, places: &[bool]) -> Case {
    let mut values = Values(seed);
    let mut one = |shape: &&[i64]| {
        let (x, g) = (values.tensor(shape, kind), values.tensor(shape, kind));
        let slot = |(k, there): (usize, &bool)| {
            let held = if narrow >> k & 1 != 0 { Kind::BFloat16 } else { state_kind(kind) };
            there.then(|| values.tensor(shape, held))
        };
        let state = places.iter().enumerate().map(slot).collect();
        (x, g, state)
    };
    Case(SHAPES.iter().map(&mut one).collect())
}

impl Case {
    fn copy(&self) -> Case {
        let copy = |(x, g, s): &(Tensor, Tensor, Vec<Option<Tensor>>)| {
            (x.copy(), g.copy(), s.iter().map(|slot| slot.as_ref().map(Tensor::copy)).collect())
        };
        Case(self.0.iter().map(copy).collect())
    }

    fn targets<'a>(&'a self, hyper: &'a [f64], t: f64, expression: &'a [Node]) -> Vec<Target<'a>> {
        let target = |(x, g, state): &'a (Tensor, Tensor, Vec<Option<Tensor>>)| Target {
            name: "w",
            x,
            g: g.shallow_clone(),
            state,
            hyper,
            step: [t, x.numel() as f64, 2.5],
            memory: &[],
            expression,
            touched: Touched::of(expression),
        };
        self.0.iter().map(target).collect()
    }

    /// Bits of parameters and state, all NaNs alike.
    fn bits(&self) -> Vec<u64> {
        let tensors = self.0.iter().flat_map(|(x, _, s)| std::iter::once(x).chain(s.iter().flatten()));
        let all = tensors.flat_map(|t| Vec::<f64>::try_from(t.to_kind(Kind::Double).reshape([-1])).unwrap());
        all.map(|value| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }).collect()
    }
}

/// Element type of parameters, slots in bf16.
const FORMATS: [(Kind, u64); 7] = [
    (Kind::Float, 0),
    (Kind::Double, 0),
    (Kind::BFloat16, 0),
    (Kind::Float, 0b1),
    (Kind::Float, 0b111),
    (Kind::BFloat16, 0b100),
    (Kind::BFloat16, 0b111),
];

#[test]
fn same_bits_for_any_threads_chunks_and_instructions() {
    let _alone = alone();
    let before = threads::count();
    let hyper = [0.1, 0.9, 1.0];
    for format in FORMATS {
        let start = case(format, 1, &[true, false, true]);
        let mut first: Option<Vec<u64>> = None;
        for threads in [1, 2, 3] {
            assert!(threads::set_count(threads));
            for chunk in [33, 4096, 65_536, 1 << 24] {
                for isa in InstructionSet::ALL.into_iter().filter(|isa| *isa <= InstructionSet::detect()) {
                    let run = start.copy();
                    Pass::new(chunk, isa).run(&rule_of::<Exact>(), &run.targets(&hyper, 3.0, &[])).unwrap();
                    let bits = run.bits();
                    let same = first.get_or_insert_with(|| bits.clone()) == &bits;
                    assert!(same, "{format:?}, {threads} threads, chunks of {chunk}, {}", isa.name());
                }
            }
        }
        assert_ne!(first, Some(start.bits()), "nothing was done");
    }
    threads::set_count(before);
}

fn kernel_against_expression<R: Elementwise>(formats: &[(Kind, u64)], places: &[bool]) {
    for &format in formats {
        for root in [0.0, 1.0] {
            let hyper = [0.1, 0.9, root];
            let expression = tape::record::<R>(&hyper).unwrap();
            for t in [1.0, 2.0, 3.0, 1000.0] {
                let kernel = case(format, 99 + t as u64, places);
                let interpreted = kernel.copy();
                Pass::default().run(&rule_of::<R>(), &kernel.targets(&hyper, t, &expression)).unwrap();
                for target in interpreted.targets(&hyper, t, &expression) {
                    interpret::step(&target, &target.step).unwrap();
                }
                let (a, b) = (kernel.bits(), interpreted.bits());
                let different = a.iter().zip(&b).filter(|(a, b)| a != b).count();
                let first = a.iter().zip(&b).position(|(a, b)| a != b);
                let shown = first.map(|i| (i, f64::from_bits(a[i]), f64::from_bits(b[i])));
                assert_eq!(different, 0, "{format:?} root {root} t {t} of {}: {shown:?}", a.len());
            }
        }
    }
}

#[test]
fn the_expression_has_the_bits_of_the_kernel() {
    kernel_against_expression::<Exact>(&FORMATS, &[true, false, true]);
}

#[test]
fn a_fused_expression_has_the_bits_of_the_kernel_in_f32() {
    let formats: Vec<(Kind, u64)> = FORMATS.into_iter().filter(|(kind, _)| *kind != Kind::Double).collect();
    kernel_against_expression::<Fused>(&formats, &[true]);
}

#[test]
fn a_gradient_in_another_order_of_memory_is_the_same_gradient() {
    let hyper = [0.1, 0.9, 1.0];
    let mut values = Values(5);
    let mut make = || values.tensor(&[6, 5], Kind::Float);
    let (x, g, average, largest) = (make(), make(), make(), make());
    let results = [g.copy(), g.transpose(0, 1).contiguous().transpose(0, 1)].map(|g| {
        let run = Case(vec![(x.copy(), g, vec![Some(average.copy()), None, Some(largest.copy())])]);
        Pass::default().run(&rule_of::<Exact>(), &run.targets(&hyper, 1.0, &[])).unwrap();
        run.bits()
    });
    assert_eq!(results[0], results[1]);
}

#[test]
fn a_panic_names_label_parameter_and_step() {
    let rule = rule("boom", [panics; 3], [None; 2]);
    let run = case((Kind::Float, 0), 3, &[]);
    let fault = Pass::default().run(&rule, &run.targets(&[], 17.0, &[])).unwrap_err();
    let text = fault.to_string();
    assert_eq!(fault.exit, Exit::Plugin);
    assert!(text.contains("optimizer: `boom`") && text.contains("parameter: `w`, its step 17"), "{text}");
}

#[test]
fn what_does_not_fit_reaches_no_kernel() {
    let rule = rule("boom", [panics; 3], [None; 2]);
    let zeros = |shape: &[i64], kind| Tensor::zeros(shape, (kind, Device::Cpu));
    let table = [
        (zeros(&[2], Kind::Int64), zeros(&[2], Kind::Int64), None, "no kernel"),
        (zeros(&[2, 3], Kind::Float).transpose(0, 1), zeros(&[3, 2], Kind::Float), None, "not contiguous"),
        (zeros(&[2], Kind::Float), zeros(&[3], Kind::Float), None, "does not fit the parameter"),
        (zeros(&[2], Kind::Float), zeros(&[2], Kind::Double), None, "does not fit the parameter"),
        (zeros(&[2], Kind::Float), zeros(&[2], Kind::Float), Some(zeros(&[3], Kind::Float)), "a state slot"),
        (zeros(&[2], Kind::Float), zeros(&[2], Kind::Float), Some(zeros(&[2], Kind::Double)), "a state slot"),
        (zeros(&[2], Kind::Double), zeros(&[2], Kind::Double), Some(zeros(&[2], Kind::BFloat16)), "a state slot"),
        // The plugin has no kernel for it.
        (zeros(&[2], Kind::Float), zeros(&[2], Kind::Float), Some(zeros(&[2], Kind::BFloat16)), "with state in bf16"),
    ];
    for (x, g, slot, expected) in table {
        let run = Case(vec![(x, g, vec![slot])]);
        let fault = Pass::default().run(&rule, &run.targets(&[], 1.0, &[])).unwrap_err();
        assert!(fault.message.contains(expected), "{fault}");
    }
}
