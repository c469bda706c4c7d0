//! Every rule over elements as CUDA source, element by element: compiled as C++ it has the bits of the CPU kernel and of
//! the interpreter, with slots in bf16 too. The loops around it are `cuda_launch.rs`'s.
#![allow(unsafe_code)]

mod support;

use std::{fmt::Write, fs, process::Command};

use host::{registry::Loaded, rules::cuda::source::EMULATION};
use libloading::{Library, Symbol};
use sdk::{
    abi::{KernelCall, OK},
    cpu::{Isa, from_bf16, to_bf16},
    tape::{self, Float, Node},
};
use support::rules::{Case, Numbers, cases};

/// Elements per comparison: whole tiles of a kernel, and a rest.
const N: usize = 321;
const STEPS: [f64; 3] = [1.0, 2.0, 1000.0];
/// t, numel, grad_norm, and room for sums and memory.
const NUMBERS: usize = 3 + 16;
const MOST_SLOTS: usize = 8;

/// A float of the test: what differs between f32 and f64.
trait Real: Copy + PartialEq + Into<f64> + std::fmt::Debug + 'static {
    const FLOAT: Float;
    const C: &'static str;
    fn of(x: f64) -> Self;
    fn bits(self) -> u64;
    fn kernel(loaded: &Loaded) -> unsafe extern "C" fn(*const KernelCall) -> u32;
    fn element(nodes: &[Node], u: &[f64], x: Self, g: Self, state: &[Self]) -> (Self, Vec<Self>);
    fn terms(nodes: &[Node], u: &[f64], x: Self, g: Self, state: &[Self]) -> Vec<Self>;
}

macro_rules! real {
    ($float:ident, $of:ident, $c:literal, $kernel:ident, $element:ident, $terms:ident) => {
        impl Real for $float {
            const FLOAT: Float = Float::$of;
            const C: &'static str = $c;
            fn of(x: f64) -> Self {
                x as $float
            }
            fn bits(self) -> u64 {
                // The payload of a NaN is nobody's promise.
                if self.is_nan() { u64::MAX } else { self.to_bits().into() }
            }
            fn kernel(loaded: &Loaded) -> unsafe extern "C" fn(*const KernelCall) -> u32 {
                loaded.rule().expect("a rule over elements").$kernel
            }
            fn element(nodes: &[Node], u: &[f64], x: Self, g: Self, state: &[Self]) -> (Self, Vec<Self>) {
                tape::$element(nodes, u, x, g, state)
            }
            fn terms(nodes: &[Node], u: &[f64], x: Self, g: Self, state: &[Self]) -> Vec<Self> {
                tape::$terms(nodes, u, x, g, state)
            }
        }
    };
}
real!(f32, F32, "float", update_f32, element_f32, terms_f32);
real!(f64, F64, "double", update_f64, element_f64, terms_f64);

/// The nearest bf16.
fn in_bf16(value: f64) -> f64 {
    from_bf16(to_bf16(value as f32)).into()
}

/// The functions of a case, and a loop over elements around them: slots lie one after another, sums too.
fn with_loop<F: Real>(case: &Case) -> String {
    let (name, c) = (format!("{}_{}", case.name, F::C), F::C);
    let mut text = tape::cuda_source(&case.nodes, &name, F::FLOAT);
    let _ = write!(
        text,
        "extern \"C\" void run_{name}({c}* x, const {c}* g, {c}* s, const {c}* u, long n) {{\n\
         for (long i = 0; i < n; i++) update_{name}(x[i], g[i], s + i * {MOST_SLOTS}, u);\n}}\n"
    );
    if case.loaded.sums().is_some_and(|table| !(table.names)().is_empty()) {
        let _ = write!(
            text,
            "extern \"C\" void sum_{name}(const {c}* x, const {c}* g, const {c}* s, const {c}* u, {c}* t, long n) {{\n\
             for (long i = 0; i < n; i++) measure_{name}(x[i], g[i], s + i * {MOST_SLOTS}, u, t + i * {MOST_SLOTS});\n}}\n"
        );
    }
    text
}

#[test]
fn as_cpp_the_source_has_the_bits_of_kernel_and_interpreter() {
    let cases = cases();
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("rules.cpp"), folder.path().join("librules.so"));
    let mut text = EMULATION.to_string();
    for case in &cases {
        text += &with_loop::<f32>(case);
        text += &with_loop::<f64>(case);
    }
    fs::write(&source, text).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_string());
    let compiled = Command::new(&compiler)
        .args(["-std=c++20", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-w", "-o"])
        .args([&library, &source])
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // SAFETY: the library was just made, and has no constructors.
    let library = unsafe { Library::new(&library) }.unwrap();
    let mut compared = 0;
    for case in &cases {
        for t in STEPS {
            compared += compare::<f32>(case, &library, t, 0) + compare::<f64>(case, &library, t, 0);
            compared += compare::<f32>(case, &library, t, 0xff) + compare::<f32>(case, &library, t, 0x55);
        }
    }
    println!("{compared} comparisons of {} rules and settings", cases.len());
    assert!(compared > 600);
}

/// One step of one case, with the slots of the bits `narrow` in bf16: widened before the step, rounded after it. 1 where it
/// was compared, 0 where its bits are the device's.
fn compare<F: Real>(case: &Case, library: &Library, t: f64, narrow: u64) -> usize {
    if !tape::portable(&case.nodes) {
        return 0;
    }
    let mut slots = case.loaded.slots(&case.hyper).unwrap();
    slots.retain(|slot| !slot.is_number());
    let mut random = Numbers(17 + t as u64);
    let mut column = || -> Vec<F> { (0..N).map(|_| F::of(random.next())).collect() };
    let (x, g) = (column(), column());
    let mut state: Vec<Vec<F>> = (0..MOST_SLOTS).map(|_| column()).collect();
    let is_narrow = |k: usize| narrow >> k & 1 != 0;
    let rounded = |k: usize, value: F| if is_narrow(k) { F::of(in_bf16(value.into())) } else { value };
    for (k, slot) in state.iter_mut().enumerate() {
        slot.iter_mut().for_each(|value| *value = rounded(k, *value));
    }
    let mut numbers = [0.0; NUMBERS];
    numbers[..3].copy_from_slice(&[t, N as f64, 0.7]);
    numbers[3..].iter_mut().enumerate().for_each(|(k, number)| *number = 0.3 + 0.1 * k as f64);
    let scalars = tape::scalars(&case.nodes, &case.hyper, &numbers);
    let u: Vec<F> = tape::lifted(&case.nodes).iter().map(|&node| F::of(scalars[node as usize])).collect();
    let at = format!("{} {} at step {t}, slots {narrow:b} in bf16, hyper {:?}", case.loaded.label, F::C, case.hyper);

    // the kernel
    let (mut kernel_x, mut kernel_state) = (x.clone(), state.clone());
    let mut pointers = [std::ptr::null_mut::<()>(); MOST_SLOTS];
    let mut kernel_narrow: Vec<Vec<u16>> =
        state.iter().map(|slot| slot.iter().map(|&value| to_bf16(value.into() as f32)).collect()).collect();
    for k in slots.iter().map(|slot| slot.index as usize) {
        let wide = kernel_state[k].as_mut_ptr().cast();
        pointers[k] = if is_narrow(k) { kernel_narrow[k].as_mut_ptr().cast() } else { wide };
    }
    let call = KernelCall {
        struct_size: size_of::<KernelCall>(),
        isa: Isa::of_this_machine() as u32,
        hyper: case.hyper.as_ptr(),
        step: numbers.as_ptr(),
        n: N,
        x: kernel_x.as_mut_ptr().cast(),
        g: g.as_ptr().cast(),
        state: pointers.as_ptr(),
    };
    // SAFETY: all memory is borrowed here, and as long as the call says.
    let status = unsafe {
        match narrow {
            0 => F::kernel(&case.loaded)(&call),
            _ => case.loaded.rule().and_then(|rule| rule.update_f32_narrow).expect("an entry of 1.2")(&call, narrow),
        }
    };
    assert_eq!(status, OK, "{at}");
    for (k, slot) in kernel_narrow.iter().enumerate().filter(|(k, _)| is_narrow(*k)) {
        kernel_state[k] = slot.iter().map(|&bits| F::of(from_bf16(bits).into())).collect();
    }

    // the source
    let (mut source_x, mut source_state) = (x.clone(), vec![F::of(0.0); N * MOST_SLOTS]);
    for i in 0..N {
        for k in 0..MOST_SLOTS {
            source_state[i * MOST_SLOTS + k] = state[k][i];
        }
    }
    let before = source_state.clone();
    let name = format!("{}_{}", case.name, F::C);
    type Run<F> = unsafe extern "C" fn(*mut F, *const F, *mut F, *const F, i64);
    type Sum<F> = unsafe extern "C" fn(*const F, *const F, *const F, *const F, *mut F, i64);
    // SAFETY: the functions were made with these signatures, and all memory is as long as they read and write.
    unsafe {
        let run: Symbol<'_, Run<F>> = library.get(format!("run_{name}").as_bytes()).unwrap();
        run(source_x.as_mut_ptr(), g.as_ptr(), source_state.as_mut_ptr(), u.as_ptr(), N as i64);
    }
    for i in 0..N {
        let old: Vec<F> = (0..MOST_SLOTS).map(|k| state[k][i]).collect();
        let (interpreted_x, interpreted_state) = F::element(&case.nodes, &scalars, x[i], g[i], &old);
        let bits = [kernel_x[i].bits(), source_x[i].bits(), interpreted_x.bits()];
        assert!(bits[0] == bits[1] && bits[0] == bits[2], "{at}: x {i}: kernel, source, interpreter {bits:x?}");
        for slot in &slots {
            let k = slot.index as usize;
            let source = rounded(k, source_state[i * MOST_SLOTS + k]).bits();
            let bits = [kernel_state[k][i].bits(), source, rounded(k, interpreted_state[k]).bits()];
            assert!(bits[0] == bits[1] && bits[0] == bits[2], "{at}: slot {} {i}: {bits:x?}", slot.name);
        }
    }
    if case.loaded.sums().is_some_and(|table| !(table.names)().is_empty()) {
        let mut shares = vec![F::of(0.0); N * MOST_SLOTS];
        // SAFETY: as above.
        unsafe {
            let sum: Symbol<'_, Sum<F>> = library.get(format!("sum_{name}").as_bytes()).unwrap();
            sum(x.as_ptr(), g.as_ptr(), before.as_ptr(), u.as_ptr(), shares.as_mut_ptr(), N as i64);
        }
        for i in 0..N {
            let old: Vec<F> = (0..MOST_SLOTS).map(|k| state[k][i]).collect();
            for (k, share) in F::terms(&case.nodes, &scalars, x[i], g[i], &old).into_iter().enumerate() {
                assert_eq!(shares[i * MOST_SLOTS + k].bits(), share.bits(), "{at}: share {k} of element {i}");
            }
        }
    }
    1
}
