//! Same bits: baseline, AVX2, AVX-512 where the machine has them, and the interpreter of the recorded rule; any length,
//! any chunks, any address; bf16 as f32 between load and store, of parameter and of slots.
#![allow(unsafe_code)]

use sdk::abi::{KernelCall, SlotDescriptor};
use sdk::cpu::{self, Brain, Double, Isa, Single, Storage, from_bf16, to_bf16};
use sdk::rule::ElementwiseKernel;
use sdk::{Elementwise, Knob, Record, tape};

use crate::rule_set::{AdamW, Approximate, Lion, Portable, Sgd, rule};

const LENGTHS: [usize; 9] = [1, 7, 8, 9, 63, 64, 65, 129, 4097];
const STEPS: [f64; 3] = [1.0, 2.0, 1000.0];

/// What the test needs of a float.
trait Float: Copy + Default + std::fmt::Debug + 'static {
    fn of(x: f64) -> Self;
    fn bits(self) -> u64;
    fn is_nan(self) -> bool;
    const DENORMAL: Self;
    fn element(nodes: &[tape::Node], scalars: &[f64], x: Self, g: Self, state: &[Self]) -> (Self, Vec<Self>);
}

macro_rules! float {
    ($float:ident, $element:path, $denormal:literal) => {
        impl Float for $float {
            const DENORMAL: $float = $denormal;
            fn of(x: f64) -> $float {
                x as $float
            }
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
            fn is_nan(self) -> bool {
                $float::is_nan(self)
            }
            fn element(n: &[tape::Node], u: &[f64], x: $float, g: $float, s: &[$float]) -> ($float, Vec<$float>) {
                $element(n, u, x, g, s)
            }
        }
    };
}
float!(f32, tape::element_f32, 3e-42);
float!(f64, tape::element_f64, 3e-310);

/// Ordinary numbers of several sizes, and one in four from the corners.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn float<F: Float>(&mut self) -> F {
        let random = self.next();
        let size = [1.0, 1e-3, 10.0, 1e-6, 1e20, 1e-25][(random >> 8) as usize % 6];
        let unit = (random >> 20) as f64 / (1u64 << 44) as f64 * 2.0 - 1.0;
        match random % 16 {
            0 => F::of(0.0),
            1 => F::of(-0.0),
            2 => F::DENORMAL,
            3 => F::of([f64::from(f32::MIN_POSITIVE), 1.0, -1.0, 3e38][(random >> 40) as usize % 4]),
            _ => F::of(unit * size),
        }
    }

    fn floats<F: Float>(&mut self, n: usize) -> Vec<F> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// Tensors of one step; a slot that is off has none.
#[derive(Clone)]
struct Tensors<V, H> {
    x: Vec<V>,
    g: Vec<V>,
    state: Vec<Option<Vec<H>>>,
}

fn slots<R: Elementwise>(hyper: &[f64]) -> Vec<SlotDescriptor> {
    sdk::slot_descriptors(&R::state(&R::Hyper::build(|k| hyper[k])))
}

fn tensors<R: Elementwise, F: Float>(hyper: &[f64], n: usize, seed: u64) -> Tensors<F, F> {
    let mut numbers = Numbers(seed);
    let present = slots::<R>(hyper);
    let state = (0..<R::State<f64> as Record<f64>>::NAMES.len())
        .map(|k| present.iter().any(|slot| slot.index as usize == k).then(|| numbers.floats(n)))
        .collect();
    Tensors { x: numbers.floats(n), g: numbers.floats(n), state }
}

/// Runs the kernel on elements `from..to` of copies of the tensors.
fn kernel<R: Elementwise, S: Storage>(
    isa: Isa,
    hyper: &[f64],
    step: &[f64; 3],
    tensors: &mut Tensors<S::Value, S::Held>,
    from: usize,
    to: usize,
) {
    assert!(from <= to && to <= tensors.x.len() && to <= tensors.g.len());
    // SAFETY (of the pointers): within the vectors, by the assertion above; every slot has as many elements.
    let pointers: Vec<*mut ()> = tensors
        .state
        .iter_mut()
        .map(|slot| slot.as_mut().map_or(std::ptr::null_mut(), |slot| slot[from..to].as_mut_ptr().cast()))
        .collect();
    let call = KernelCall {
        struct_size: size_of::<KernelCall>(),
        isa: isa as u32,
        hyper: hyper.as_ptr(),
        step: step.as_ptr(),
        n: to - from,
        x: tensors.x[from..to].as_mut_ptr().cast(),
        g: tensors.g[from..to].as_ptr().cast(),
        state: pointers.as_ptr(),
    };
    // SAFETY: the call's memory is borrowed here, and as long as it says.
    unsafe { cpu::update::<R, S>(&call) }
}

fn interpreted<R: Elementwise, F: Float>(hyper: &[f64], step: &[f64; 3], tensors: &mut Tensors<F, F>) {
    let nodes = tape::record::<R>(hyper).unwrap();
    tape::check(&nodes, hyper.len(), &slots::<R>(hyper)).unwrap();
    let scalars = tape::scalars(&nodes, hyper, step);
    for i in 0..tensors.x.len() {
        let state: Vec<F> = tensors.state.iter().map(|slot| slot.as_ref().map_or(F::default(), |s| s[i])).collect();
        let (x, new) = F::element(&nodes, &scalars, tensors.x[i], tensors.g[i], &state);
        tensors.x[i] = x;
        for (slot, new) in tensors.state.iter_mut().zip(new) {
            if let Some(slot) = slot {
                slot[i] = new;
            }
        }
    }
}

/// Bits of everything a step writes; all NaNs are one.
fn bits<F: Float>(tensors: &Tensors<F, F>) -> Vec<u64> {
    let all = tensors.x.iter().chain(tensors.state.iter().flatten().flatten());
    all.map(|&x| if x.is_nan() { u64::MAX } else { x.bits() }).collect()
}

/// Default hyper-parameters, and those with each flag or choice changed, of which the last must not be a number.
fn settings<R: Elementwise>() -> Vec<Vec<f64>> {
    let mut defaults = Vec::new();
    let mut switches = Vec::new();
    R::hyper().visit(|k, knob: Knob| {
        defaults.push(knob.default() * (1.0 - 0.1 * k as f64));
        if knob.is_switch() {
            switches.push(k);
        }
    });
    for &k in &switches {
        defaults[k] = 0.0;
    }
    let mut all = vec![defaults.clone()];
    for k in switches {
        let mut other = defaults.clone();
        other[k] = 1.0;
        all.push(other);
    }
    all
}

fn all_agree<R: Elementwise, F: Float, S: Storage<Value = F, Held = F>>() {
    for hyper in settings::<R>() {
        for (n, t) in LENGTHS.iter().flat_map(|&n| STEPS.map(|t| (n, t))) {
            let step = [t, n as f64, 0.7];
            let start = tensors::<R, F>(&hyper, n, 17 + n as u64);
            let mut reference = start.clone();
            interpreted::<R, F>(&hyper, &step, &mut reference);
            assert_ne!(bits(&reference), bits(&start), "the step changes something");
            for isa in Isa::all_of_this_machine() {
                let mut got = start.clone();
                kernel::<R, S>(isa, &hyper, &step, &mut got, 0, n);
                assert_eq!(bits(&got), bits(&reference), "{isa}, n {n}, t {t}, hyper {hyper:?}");
            }
        }
    }
}

fn brain_agrees<R: Elementwise>() {
    for hyper in settings::<R>() {
        for (n, t) in LENGTHS.iter().flat_map(|&n| STEPS.map(|t| (n, t))) {
            let step = [t, n as f64, 0.7];
            let wide = tensors::<R, f32>(&hyper, n, 91 + n as u64);
            let narrow = |all: &[f32]| all.iter().map(|&x| to_bf16(x)).collect::<Vec<u16>>();
            let widen = |all: &[u16]| all.iter().map(|&x| from_bf16(x)).collect::<Vec<f32>>();
            let start = Tensors { x: narrow(&wide.x), g: narrow(&wide.g), state: wide.state.clone() };
            let mut reference = Tensors { x: widen(&start.x), g: widen(&start.g), state: wide.state };
            interpreted::<R, f32>(&hyper, &step, &mut reference);
            reference.x = widen(&narrow(&reference.x));
            for isa in Isa::all_of_this_machine() {
                let mut got = start.clone();
                kernel::<R, Brain>(isa, &hyper, &step, &mut got, 0, n);
                let got = Tensors { x: widen(&got.x), g: Vec::new(), state: got.state };
                assert_eq!(bits(&got), bits(&reference), "{isa}, n {n}, t {t}, hyper {hyper:?}");
            }
        }
    }
}

/// As f32 between load and store, every second slot and then all of them in bf16.
fn narrow_agrees<R: Elementwise, S: Storage<Held = f32>>(
    narrow: fn(&[f32]) -> Vec<S::Value>,
    widen: fn(&[S::Value]) -> Vec<f32>,
) {
    let in_bf16 = |all: &[f32]| -> Vec<f32> { all.iter().map(|&x| from_bf16(to_bf16(x))).collect() };
    for hyper in settings::<R>() {
        for ((n, t), mask) in
            LENGTHS.iter().flat_map(|&n| STEPS.map(|t| (n, t))).flat_map(|case| [0b10101, u64::MAX].map(|m| (case, m)))
        {
            let step = [t, n as f64, 0.7];
            let is_narrow = |k: usize| mask >> k & 1 != 0;
            let mut start = tensors::<R, f32>(&hyper, n, 57 + n as u64);
            (start.x, start.g) = (widen(&narrow(&start.x)), widen(&narrow(&start.g)));
            for (_, slot) in start.state.iter_mut().enumerate().filter(|(k, _)| is_narrow(*k)) {
                *slot = slot.as_deref().map(in_bf16);
            }
            let mut reference = start.clone();
            interpreted::<R, f32>(&hyper, &step, &mut reference);
            reference.x = widen(&narrow(&reference.x));
            for (_, slot) in reference.state.iter_mut().enumerate().filter(|(k, _)| is_narrow(*k)) {
                *slot = slot.as_deref().map(in_bf16);
            }
            for isa in Isa::all_of_this_machine() {
                let (mut x, g) = (narrow(&start.x), narrow(&start.g));
                // As bytes, one element longer than it is: what lies behind it must stay.
                let mut bytes: Vec<Option<Vec<u8>>> = start
                    .state
                    .iter()
                    .enumerate()
                    .map(|(k, slot)| {
                        let element = |x: &f32| {
                            if is_narrow(k) { to_bf16(*x).to_ne_bytes().to_vec() } else { x.to_ne_bytes().to_vec() }
                        };
                        slot.as_ref().map(|slot| slot.iter().chain(&[7.0]).flat_map(element).collect())
                    })
                    .collect();
                let pointers: Vec<*mut ()> = bytes
                    .iter_mut()
                    .map(|slot| slot.as_mut().map_or(std::ptr::null_mut(), |slot| slot.as_mut_ptr().cast()))
                    .collect();
                let call = KernelCall {
                    struct_size: size_of::<KernelCall>(),
                    isa: isa as u32,
                    hyper: hyper.as_ptr(),
                    step: step.as_ptr(),
                    n,
                    x: x.as_mut_ptr().cast(),
                    g: g.as_ptr().cast(),
                    state: pointers.as_ptr(),
                };
                // SAFETY: `n` elements follow each pointer, of a slot in bf16 where the mask says so.
                unsafe { cpu::update_kernel::<ElementwiseKernel<R>, S>(&call, mask) };
                let state = bytes.iter().enumerate().map(|(k, slot)| {
                    slot.as_ref().map(|slot| -> Vec<f32> {
                        if is_narrow(k) {
                            slot.chunks_exact(2).map(|b| from_bf16(u16::from_ne_bytes([b[0], b[1]]))).collect()
                        } else {
                            slot.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
                        }
                    })
                });
                let mut got = Tensors { x: widen(&x), g: Vec::new(), state: state.collect() };
                for slot in got.state.iter_mut().flatten() {
                    assert_eq!(slot.pop(), Some(7.0), "{isa}, n {n}: written behind a slot");
                }
                assert_eq!(bits(&got), bits(&reference), "{isa}, n {n}, t {t}, slots {mask:b}, hyper {hyper:?}");
            }
        }
    }
}

macro_rules! each_rule {
    ($($test:ident: $rule:ty;)*) => { $(
        #[test]
        fn $test() {
            all_agree::<$rule, f32, Single>();
            all_agree::<$rule, f64, Double>();
            brain_agrees::<$rule>();
            narrow_agrees::<$rule, Single>(<[f32]>::to_vec, <[f32]>::to_vec);
            narrow_agrees::<$rule, Brain>(
                |all| all.iter().map(|&x| to_bf16(x)).collect(),
                |all| all.iter().map(|&x| from_bf16(x)).collect(),
            );
        }
    )* };
}
each_rule! {
    lion: Lion;
    adamw: AdamW;
    every_portable_operation: Portable;
    every_approximate_operation: Approximate;
    without_state: Sgd;
}

#[test]
fn chunks_do_not_matter_and_nothing_outside_a_chunk_is_touched() {
    let (hyper, step, n) = (&settings::<AdamW>()[1], [3.0, 1000.0, 1.0], 1000);
    let start = tensors::<AdamW, f32>(hyper, n, 5);
    for isa in Isa::all_of_this_machine() {
        let mut whole = start.clone();
        kernel::<AdamW, Single>(isa, hyper, &step, &mut whole, 0, n);
        let mut parts = start.clone();
        for (from, to) in [(0, 1), (1, 130), (130, 130), (130, 600), (600, 1000)] {
            let before = parts.clone();
            kernel::<AdamW, Single>(isa, hyper, &step, &mut parts, from, to);
            for i in (0..n).filter(|i| !(from..to).contains(i)) {
                assert_eq!(parts.x[i].to_bits(), before.x[i].to_bits(), "{isa}: element {i} of {from}..{to}");
            }
        }
        assert_eq!(bits(&parts), bits(&whole), "{isa}");
    }
}

#[test]
fn any_address_will_do() {
    let (hyper, step, n) = (&settings::<Lion>()[0], [3.0, 200.0, 1.0], 200);
    let start = tensors::<Lion, f32>(hyper, n, 6);
    let bytes =
        |all: &[f32]| -> Vec<u8> { std::iter::once(0).chain(all.iter().flat_map(|x| x.to_ne_bytes())).collect() };
    for isa in Isa::all_of_this_machine() {
        let mut aligned = start.clone();
        kernel::<Lion, Single>(isa, hyper, &step, &mut aligned, 0, n);
        // one byte in: no address of the two tensors and the slot is aligned, whatever the allocator gave
        let mut x = bytes(&start.x);
        let g = bytes(&start.g);
        let mut slot = bytes(start.state[0].as_ref().unwrap());
        let pointers = [slot[1..].as_mut_ptr().cast()];
        let call = KernelCall {
            struct_size: size_of::<KernelCall>(),
            isa: isa as u32,
            hyper: hyper.as_ptr(),
            step: step.as_ptr(),
            n,
            x: x[1..].as_mut_ptr().cast(),
            g: g[1..].as_ptr().cast(),
            state: pointers.as_ptr(),
        };
        // SAFETY: `n` elements follow each pointer.
        unsafe { cpu::update::<Lion, Single>(&call) };
        assert_eq!(x, bytes(&aligned.x), "{isa}");
        assert_eq!(slot, bytes(aligned.state[0].as_ref().unwrap()), "{isa}");
    }
}

rule!(Larger(lr: knob(0.5, 0.0..=1.0, "")), (m: Slot::zeros().only_if(0.0)), h, step, [], |x, g, _s| x.max(g));
rule!(Smaller(lr: knob(0.5, 0.0..=1.0, "")), (m: Slot::zeros().only_if(0.0)), h, step, [], |x, g, _s| x.min(g));
rule!(Signed(lr: knob(0.5, 0.0..=1.0, "")), (m: Slot::zeros().only_if(0.0)), h, step, [], |x, _g, _s| x.sign());

#[test]
fn zeros_and_nans_are_compared_by_definition() {
    const NAN: f32 = f32::NAN;
    // x, g, larger, smaller, sign of x
    let rows: [[f32; 5]; 8] = [
        [1.0, 2.0, 2.0, 1.0, 1.0],
        [-2.0, -3.0, -2.0, -3.0, -1.0],
        [0.0, -0.0, -0.0, -0.0, 0.0],
        [-0.0, 0.0, 0.0, 0.0, 0.0],
        [NAN, 1.0, 1.0, 1.0, 0.0],
        [1.0, NAN, NAN, NAN, 1.0],
        [f32::INFINITY, 1.0, f32::INFINITY, 1.0, 1.0],
        [f32::NEG_INFINITY, 1.0, 1.0, f32::NEG_INFINITY, -1.0],
    ];
    fn ran<R: Elementwise>(isa: Isa, rows: &[[f32; 5]]) -> Vec<u64> {
        // long enough for whole tiles and a rest
        let column = |k: usize| -> Vec<f32> { rows.iter().cycle().take(100).map(|row| row[k]).collect() };
        let mut tensors = Tensors { x: column(0), g: column(1), state: vec![None] };
        kernel::<R, Single>(isa, &[0.5], &[1.0, 100.0, 0.0], &mut tensors, 0, 100);
        bits(&tensors)
    }
    let wanted = |k: usize| {
        let column = rows.iter().cycle().take(100).map(|row| row[k]).collect();
        bits(&Tensors { x: column, g: Vec::new(), state: Vec::new() })
    };
    for isa in Isa::all_of_this_machine() {
        assert_eq!(ran::<Larger>(isa, &rows), wanted(2), "{isa}: max");
        assert_eq!(ran::<Smaller>(isa, &rows), wanted(3), "{isa}: min");
        assert_eq!(ran::<Signed>(isa, &rows), wanted(4), "{isa}: sign");
    }
}

#[test]
fn state_holds_no_denormals() {
    let hyper = [0.5, 0.5, 0.5, 0.0];
    let mut tensors =
        Tensors { x: vec![1.0f32; 70], g: vec![0.0; 70], state: vec![Some(vec![f32::MIN_POSITIVE * 1.5; 70])] };
    kernel::<Lion, Single>(Isa::of_this_machine(), &hyper, &[1.0, 70.0, 0.0], &mut tensors, 0, 70);
    assert!(tensors.state[0].as_ref().unwrap().iter().all(|&m| m == 0.0));
}

#[test]
fn an_instruction_set_beyond_the_machine_is_not_used() {
    let hyper = [0.5];
    for isa in [3, u32::MAX] {
        let (mut x, g, state) = (vec![1.0f32; 5], vec![1.0f32; 5], [std::ptr::null_mut()]);
        let call = KernelCall {
            struct_size: size_of::<KernelCall>(),
            isa,
            hyper: hyper.as_ptr(),
            step: [1.0, 5.0, 0.0].as_ptr(),
            n: 5,
            x: x.as_mut_ptr().cast(),
            g: g.as_ptr().cast(),
            state: state.as_ptr(),
        };
        // SAFETY: five elements each; the slot is off.
        unsafe { cpu::update::<Sgd, Single>(&call) };
        assert_eq!(x, [0.5; 5]);
    }
}
