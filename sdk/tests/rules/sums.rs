//! Sums: same bits from every instruction set, for any chunks, and from the interpreter; and what a tape of a rule with
//! sums and memory says.
#![allow(unsafe_code)]

use sdk::abi::{KernelCall, MeasureCall};
use sdk::cpu::{self, Isa, Single, from_bf16, to_bf16};
use sdk::rule::{GlobalKernel, Kernel, ReducingKernel};
use sdk::{Global, Knob, Lane, Record, Reducing, Scalar, Slot, Step, knob, tape};

/// A step as long as the parameter's norm.
struct Trusted;

#[derive(Record)]
struct Hyper<T> {
    lr: T,
    beta: T,
}

#[derive(Record)]
struct State<T> {
    exp_avg: T,
}

#[derive(Record)]
struct Norms<T> {
    x_squared: T,
    step_squared: T,
}

fn hyper() -> Hyper<Knob> {
    Hyper { lr: knob(0.1, 0.0..=1.0, "step"), beta: knob(0.9, 0.0..=1.0, "decay") }
}

impl Reducing for Trusted {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Norms<T>;

    fn hyper() -> Hyper<Knob> {
        hyper()
    }
    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().degree(1) }
    }
    fn measure<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, State<L>) -> Norms<L> {
        move |x, g, state| {
            let average = h.beta * state.exp_avg + (1.0 - h.beta) * g;
            Norms { x_squared: x * x, step_squared: average * average }
        }
    }
    fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>, sums: Norms<Scalar<L>>) -> impl Fn(L, L, &mut State<L>) -> L {
        let ratio = h.lr * (sums.x_squared / sums.step_squared).sqrt();
        move |x, g, state| {
            state.exp_avg = h.beta * state.exp_avg + (1.0 - h.beta) * g;
            x - ratio * state.exp_avg
        }
    }
}

/// Steps shorter the longer all gradients together have been.
struct Weary;

#[derive(Record)]
struct Fatigue<T> {
    fatigue: T,
}

impl Global for Weary {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = State<T>;
    type Sums<T: Copy> = Norms<T>;
    type Memory<T: Copy> = Fatigue<T>;

    fn hyper() -> Hyper<Knob> {
        hyper()
    }
    fn state(_: &Hyper<f64>) -> State<Slot> {
        State { exp_avg: Slot::zeros().only_if(0.0) }
    }
    fn memory(h: &Hyper<f64>) -> Fatigue<f64> {
        Fatigue { fatigue: h.beta }
    }
    fn measure<L: Lane>(
        _: Hyper<Scalar<L>>,
        _: Step<L>,
        memory: Fatigue<Scalar<L>>,
    ) -> impl Fn(L, L, State<L>) -> Norms<L> {
        move |x, g, _| Norms { x_squared: x * x, step_squared: g * g * memory.fatigue }
    }
    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        step: Step<L>,
        sums: Norms<Scalar<L>>,
        memory: Fatigue<Scalar<L>>,
    ) -> Fatigue<Scalar<L>> {
        Fatigue { fatigue: memory.fatigue + h.beta * sums.step_squared / step.t }
    }
    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        memory: Fatigue<Scalar<L>>,
    ) -> impl Fn(L, L, &mut State<L>) -> L {
        let length = h.lr / memory.fatigue;
        move |x, g, _| x - length * g
    }
}

const HYPER: [f64; 2] = [0.1, 0.9];

/// Numbers of many sizes, the same every time.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut random = seed;
    (0..n)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let unit = (random >> 33) as f32 / (1u64 << 30) as f32 - 1.0;
            unit * [1.0, 1e-3, 1e3][(random >> 20) as usize % 3]
        })
        .collect()
}

/// Rows of sums, measured in chunks of `chunk` elements.
fn rows<R: Kernel>(isa: Isa, step: &[f64], x: &[f32], g: &[f32], m: &[f32], chunk: usize) -> Vec<f64> {
    let count = <R::Sums<f64> as Record<f64>>::NAMES.len();
    let mut all = Vec::new();
    for ((x, g), m) in x.chunks(chunk).zip(g.chunks(chunk)).zip(m.chunks(chunk)) {
        // One more than is needed, to see that it is left alone.
        let mut rows = vec![f64::NAN; (cpu::blocks(x.len()) + 1) * count];
        let state = [m.as_ptr().cast()];
        let call = MeasureCall {
            struct_size: size_of::<MeasureCall>(),
            isa: isa as u32,
            hyper: HYPER.as_ptr(),
            step: step.as_ptr(),
            n: x.len(),
            x: x.as_ptr().cast(),
            g: g.as_ptr().cast(),
            state: state.as_ptr(),
            rows: rows.as_mut_ptr(),
        };
        // SAFETY: all slices are as long as the call says, and there is room for the rows.
        unsafe { cpu::measure::<R, Single>(&call, 0) };
        // The slot in bf16, which holds it exactly.
        if m.iter().all(|&m| from_bf16(to_bf16(m)) == m) {
            let narrow: Vec<u16> = m.iter().map(|&m| to_bf16(m)).collect();
            let (state, mut again) = ([narrow.as_ptr().cast()], vec![f64::NAN; rows.len()]);
            let call = MeasureCall { state: state.as_ptr(), rows: again.as_mut_ptr(), ..call };
            // SAFETY: as above; the slot's elements are bf16.
            unsafe { cpu::measure::<R, Single>(&call, 1) };
            let bits = |rows: &[f64]| rows.iter().map(|row| row.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&again), bits(&rows), "{isa}, {} elements, the slot in bf16", x.len());
        }
        let spare = rows.split_off(rows.len() - count);
        assert!(spare.iter().all(|spare| spare.is_nan()), "a row beyond the last was written");
        all.extend(rows);
    }
    all
}

fn column(rows: &[f64], count: usize, index: usize) -> Vec<f64> {
    rows.iter().skip(index).step_by(count).copied().collect()
}

#[test]
fn sums_have_the_bits_of_the_interpreter_for_any_chunks() {
    let nodes = tape::record_kernel::<ReducingKernel<Trusted>>(&HYPER).unwrap();
    for n in [1, 7, 63, 64, 65, 4095, 4096, 4097, 12_345] {
        let (x, g) = (numbers(n, 1), numbers(n, 2));
        let m: Vec<f32> = numbers(n, 3).into_iter().map(|m| from_bf16(to_bf16(m))).collect();
        let step = [1.0, n as f64, 1.0, 0.0, 0.0];
        let scalars = tape::scalars(&nodes, &HYPER, &step);
        let terms: Vec<Vec<f32>> = (0..n).map(|i| tape::terms_f32(&nodes, &scalars, x[i], g[i], &[m[i]])).collect();
        for index in 0..2 {
            let shares: Vec<f64> = terms.iter().map(|shares| f64::from(shares[index])).collect();
            let expected = cpu::rows_of(&shares);
            let exact: f64 = shares.iter().sum();
            assert!((cpu::sum(&expected) - exact).abs() <= 1e-12 * exact.abs());
            for isa in Isa::all_of_this_machine() {
                for chunk in [4096, 8192, 65_536] {
                    let rows = rows::<ReducingKernel<Trusted>>(isa, &step, &x, &g, &m, chunk);
                    assert_eq!(column(&rows, 2, index), expected, "{isa}, n {n}, chunk {chunk}, sum {index}");
                }
            }
        }
    }
}

#[test]
fn an_update_sees_sums_and_memory() {
    let (x, g, m) = (numbers(100, 1), numbers(100, 2), numbers(100, 3));
    let step = [2.0, 100.0, 1.0, 3.0, 5.0, 7.0];
    fn check<R: Kernel>(step: &[f64], x: &[f32], g: &[f32], m: &[f32]) {
        let nodes = tape::record_kernel::<R>(&HYPER).unwrap();
        let scalars = tape::scalars(&nodes, &HYPER, step);
        let (mut new_x, mut new_m) = (x.to_vec(), m.to_vec());
        let state = [new_m.as_mut_ptr().cast()];
        let call = KernelCall {
            struct_size: size_of::<KernelCall>(),
            isa: 2,
            hyper: HYPER.as_ptr(),
            step: step.as_ptr(),
            n: x.len(),
            x: new_x.as_mut_ptr().cast(),
            g: g.as_ptr().cast(),
            state: state.as_ptr(),
        };
        // SAFETY: all slices are as long as the call says.
        unsafe { cpu::update_kernel::<R, Single>(&call, 0) };
        for i in 0..x.len() {
            let (expected, _) = tape::element_f32(&nodes, &scalars, x[i], g[i], &[m[i]]);
            assert_eq!(new_x[i].to_bits(), expected.to_bits());
        }
        assert_ne!(new_x, x, "the step changes something");
    }
    check::<ReducingKernel<Trusted>>(&step, &x, &g, &m);
    check::<GlobalKernel<Weary>>(&step, &x, &g, &m);
}

#[test]
fn memory_moves_on_as_recorded() {
    let nodes = tape::record_kernel::<GlobalKernel<Weary>>(&HYPER).unwrap();
    let scalars = tape::scalars(&nodes, &HYPER, &[2.0, 100.0, 1.0, 3.0, 5.0, 7.0]);
    assert_eq!(tape::advanced(&nodes, &scalars), [7.0 + 0.9 * 5.0 / 2.0]);
}

#[test]
fn sums_and_memory_are_part_of_the_formula() {
    let nodes = tape::record_kernel::<GlobalKernel<Weary>>(&HYPER).unwrap();
    let names = tape::Names {
        hyper: &["lr", "beta"],
        state: &["exp_avg"],
        sums: &["x_squared", "step_squared"],
        memory: &["fatigue"],
    };
    assert_eq!(
        tape::formula_with(&nodes, &names),
        "x_squared = Σ(x·x)\n\
         step_squared = Σ(g·g·fatigue)\n\
         fatigue ← fatigue + beta·step_squared / t\n\
         x ← x − (lr / fatigue′)·g"
    );
}

#[test]
fn a_tape_whose_sums_follow_from_sums_is_refused() {
    let good = tape::record_kernel::<GlobalKernel<Weary>>(&HYPER).unwrap();
    assert_eq!(tape::check(&good, 2, &[]), Ok(()));
    let refused = |change: &dyn Fn(&mut tape::Node)| {
        let mut nodes = good.clone();
        nodes.iter_mut().for_each(change);
        tape::check(&nodes, 2, &[]).unwrap_err().to_string()
    };
    let swap = |from: tape::Op, to: tape::Op| {
        move |node: &mut tape::Node| {
            if node.operation() == Some(from) {
                node.op = to as u32;
            }
        }
    };
    assert!(refused(&swap(tape::Op::Memory, tape::Op::Sum)).contains("follows from sums"));
    assert!(
        refused(&|node| {
            if node.operation() == Some(tape::Op::Sum) {
                node.bits = 2;
            }
        })
        .contains("sum 2 is not measured")
    );
    assert!(
        refused(&|node| {
            if node.operation() == Some(tape::Op::OutSum) {
                node.bits = 0;
            }
        })
        .contains("sum")
    );
}
