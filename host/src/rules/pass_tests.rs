//! Passes against plain loops: every shape, thread count and instruction set gives the bits that follow from the shape.

use abi_stable::std_types::{RErr, ROk, RResult, RSlice, RString, RVec};
use proptest::prelude::*;
use sdk::{
    Lane, Mask, Per, Record, Scalar,
    abi::{OK, PANICKED, PassBlock, PassCall},
    cpu::{self, Double, Single, Storage},
    tape::{self, Node},
};
use tch::{Device, Kind, Tensor};

use super::{
    InstructionSet,
    pass::{Pass, expression},
    tests::alone,
    threads,
};
use crate::tensor::Batch;

/// One result per way of summing, and one that is kept, from one input per way of lying.
struct Mixed;

#[derive(Record)]
struct Numbers<T> {
    share: T,
    most: T,
}

#[derive(Record)]
struct Inputs<T> {
    x: T,
    g: T,
    row: T,
    column: T,
    scale: T,
}

#[derive(Record)]
struct Results<T> {
    kept: T,
    row: T,
    column: T,
    whole: T,
}

impl sdk::Pass for Mixed {
    type Numbers<T: Copy> = Numbers<T>;
    type Inputs<T: Copy> = Inputs<T>;
    type Results<T: Copy> = Results<T>;

    fn each<L: Lane>(n: Numbers<Scalar<L>>) -> impl Fn(Inputs<L>) -> Results<L> {
        move |Inputs { x, g, row, column, scale }| {
            let u = g * (row * column).min(n.most);
            let off = x.gt(g).select(x - u, u);
            // What fills a tile up is zeros, of which these sums would not be zero.
            Results { kept: x * n.share - scale * u, row: u * u + n.share, column: off * x, whole: off + n.share }
        }
    }
}

/// Panics when it runs.
pub(crate) struct Panics;

impl sdk::Pass for Panics {
    type Numbers<T: Copy> = sdk::Nothing<T>;
    type Inputs<T: Copy> = One<T>;
    type Results<T: Copy> = One<T>;

    fn each<L: Lane>(_: sdk::Nothing<Scalar<L>>) -> impl Fn(One<L>) -> One<L> {
        |_| panic!("not this one")
    }
}

#[derive(Record)]
pub(crate) struct One<T> {
    x: T,
}

extern "C" fn record<P: sdk::Pass>(results: RSlice<'_, u32>) -> RResult<RVec<Node>, RString> {
    let results: Vec<Per> = results.iter().map(|code| Per::of(*code).unwrap()).collect();
    match tape::record_pass::<P>(&results) {
        Ok(nodes) => ROk(nodes.into()),
        Err(error) => RErr(error.to_string().into()),
    }
}

unsafe extern "C" fn block<P: sdk::Pass, S: Storage>(block: *const PassBlock) -> u32 {
    // SAFETY: the host's block.
    let run = || unsafe { cpu::pass::<P, S>(&*block) };
    if std::panic::catch_unwind(run).is_ok() { OK } else { PANICKED }
}

extern "C" fn take_fault() -> RString {
    "panicked: not this one".into()
}

/// A pass as a plugin hands it over, but for its tensors' handles.
pub(crate) fn call<'a, P: sdk::Pass>(numbers: &'a [f64], inputs: &'a [u32], results: &'a [u32]) -> PassCall<'a> {
    PassCall {
        struct_size: size_of::<PassCall<'_>>(),
        record: record::<P>,
        run_f32: block::<P, Single>,
        run_f64: block::<P, Double>,
        take_fault,
        numbers: numbers.into(),
        inputs: RSlice::EMPTY,
        input_per: inputs.into(),
        result_per: results.into(),
        replaces: RSlice::EMPTY,
    }
}

const NUMBERS: [f64; 2] = [0.75, 1.5];
const INPUTS: [u32; 5] = [0, 0, 1, 2, 3];
const RESULTS: [u32; 4] = [0, 1, 2, 3];

/// Numbers of many magnitudes, with zeros, from a seed.
fn numbers(shape: &[i64], seed: i64, kind: Kind) -> Tensor {
    let index = Tensor::arange(shape.iter().product::<i64>(), (Kind::Int64, Device::Cpu)) + 7919 * seed;
    let unit = (&index * 48_271i64).remainder(2_147_483_647i64).to_kind(Kind::Double) / 2_147_483_647.0 - 0.5;
    let magnitude = (index.remainder(7i64).to_kind(Kind::Double) - 3.0) * 2.0;
    let zeros = index.remainder(11i64).ne(0).to_kind(Kind::Double);
    (unit * magnitude.exp2() * zeros).reshape(shape).to_kind(Kind::Float).to_kind(kind)
}

/// The inputs of [`Mixed`] for parameters of this shape, the batch's dimension included.
fn inputs(shape: &[i64], kind: Kind) -> Vec<Tensor> {
    let dims = shape.len();
    let row = &shape[..dims - 1];
    let column = [&shape[..dims - 2], &shape[dims - 1..]].concat();
    [shape, shape, row, &column, &shape[..1]].iter().zip(1..).map(|(shape, seed)| numbers(shape, seed, kind)).collect()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap()
}

/// The results of [`Mixed`] by the loop that one would write: arithmetic of the element type, sums in f64, and beside
/// each sum the sum of the magnitudes.
fn plain(shape: &[i64], kind: Kind) -> (Vec<f64>, [Vec<(f64, f64)>; 3]) {
    let all = inputs(shape, kind);
    let [x, g, row, column, scale] = [0, 1, 2, 3, 4].map(|k| values(&all[k]));
    let (batch, rows, columns) = (shape[0] as usize, shape[shape.len() - 2] as usize, shape[shape.len() - 1] as usize);
    let round = |value: f64| if kind == Kind::Double { value } else { f64::from(value as f32) };
    let matrices = shape[..shape.len() - 2].iter().product::<i64>() as usize;
    let mut kept = Vec::new();
    let mut sums = [vec![(0.0, 0.0); matrices * rows], vec![(0.0, 0.0); matrices * columns], vec![(0.0, 0.0); batch]];
    for (i, (&x, &g)) in x.iter().zip(&g).enumerate() {
        let (matrix, at_row, at_column) = (i / (rows * columns), i / columns, i % columns);
        let parameter = matrix / (matrices / batch);
        let product = round(row[at_row] * column[matrix * columns + at_column]);
        let u = round(g * if product < NUMBERS[1] { product } else { NUMBERS[1] });
        let off = if x > g { round(x - u) } else { u };
        let stored = round(round(x * NUMBERS[0]) - round(scale[parameter] * u));
        let least = if kind == Kind::Double { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) };
        kept.push(if stored.abs() < least { 0.0 } else { stored });
        let terms = [
            (at_row, round(round(u * u) + NUMBERS[0])),
            (matrix * columns + at_column, round(off * x)),
            (parameter, round(off + NUMBERS[0])),
        ];
        for (sums, (place, term)) in sums.iter_mut().zip(terms) {
            sums[place].0 += term;
            sums[place].1 += term.abs();
        }
    }
    (kept, sums)
}

fn run(shape: &[i64], kind: Kind, isa: InstructionSet) -> Vec<Vec<f64>> {
    let (call, all) = (call::<Mixed>(&NUMBERS, &INPUTS, &RESULTS), inputs(shape, kind));
    let batches: Vec<Batch> = all.iter().map(stacked).collect();
    all_values(&Pass::new(&call, &each(&batches)).unwrap().run_kernel(isa, &[]).unwrap())
}

fn stacked(all: &Tensor) -> Batch {
    Batch::Stacked(all.shallow_clone())
}

/// Each in memory of its own.
fn apart(all: &Tensor) -> Batch {
    Batch::apart((0..all.size()[0]).map(|index| all.narrow(0, index, 1).copy()).collect())
}

fn each(batches: &[Batch]) -> Vec<&Batch> {
    batches.iter().collect()
}

fn all_values(batches: &[Batch]) -> Vec<Vec<f64>> {
    batches.iter().map(|batch| values(batch.stacked().unwrap())).collect()
}

fn bits(results: &[Vec<f64>]) -> Vec<Vec<u64>> {
    results.iter().map(|one| one.iter().map(|value| value.to_bits()).collect()).collect()
}

/// Kept to the bit, sums to a rounding of what was summed.
fn agrees(shape: &[i64], kind: Kind, results: &[Vec<f64>]) {
    let (kept, sums) = plain(shape, kind);
    let other = kept.iter().zip(&results[0]).position(|(expected, got)| expected.to_bits() != got.to_bits());
    let shown = other.map(|at| (at, kept[at], results[0][at]));
    assert_eq!((shown, kept.len()), (None, results[0].len()), "{shape:?} {kind:?}: kept");
    let rounding = if kind == Kind::Double { 1e-13 } else { 6e-8 };
    for (which, (expected, got)) in sums.iter().zip(&results[1..]).enumerate() {
        assert_eq!(expected.len(), got.len(), "{shape:?}");
        for (place, ((sum, magnitude), got)) in expected.iter().zip(got).enumerate() {
            let allowed = rounding * sum.abs() + 1e-13 * magnitude + f64::from(f32::MIN_POSITIVE);
            assert!((sum - got).abs() <= allowed, "sum {which} at {place} of {shape:?} {kind:?}: {got}, not {sum}");
        }
    }
}

fn instruction_sets() -> impl Iterator<Item = InstructionSet> {
    let best = InstructionSet::detect();
    [InstructionSet::Baseline, InstructionSet::Avx2, InstructionSet::Avx512].into_iter().filter(move |isa| *isa <= best)
}

/// One element, one row, one column, and sizes around those of tiles and blocks.
const SHAPES: [&[i64]; 14] = [
    &[1, 1, 1],
    &[3, 1, 1],
    &[1, 1, 127],
    &[2, 7, 1],
    &[1, 5, 128],
    &[2, 3, 129],
    &[2, 64, 65],
    &[2, 3, 5, 67],
    &[1, 1, 200_003],
    &[1, 40_001, 2],
    &[1, 33, 4097],
    &[2, 300, 300],
    &[1, 70, 2048],
    &[2, 0, 3],
];

#[test]
fn what_is_kept_and_summed_is_what_a_loop_gives() {
    let _alone = alone();
    for shape in SHAPES {
        for kind in [Kind::Float, Kind::Double] {
            agrees(shape, kind, &run(shape, kind, InstructionSet::detect()));
        }
    }
}

#[test]
fn neither_threads_nor_instruction_sets_change_a_bit() {
    let _alone = alone();
    let before = threads::count();
    for shape in SHAPES {
        for kind in [Kind::Float, Kind::Double] {
            assert!(threads::set_count(1));
            let one = bits(&run(shape, kind, InstructionSet::Baseline));
            for count in [1, 2, 5] {
                assert!(threads::set_count(count));
                for isa in instruction_sets() {
                    let same = bits(&run(shape, kind, isa)) == one;
                    assert!(same, "{shape:?} {kind:?} {count} threads {isa:?}");
                }
            }
        }
    }
    assert!(threads::set_count(before));
}

/// What a card runs: the same bits where they are kept, and sums in another order.
#[test]
fn the_expression_gives_what_the_kernel_gives() {
    let _alone = alone();
    for shape in SHAPES {
        for kind in [Kind::Float, Kind::Double] {
            let (call, all) = (call::<Mixed>(&NUMBERS, &INPUTS, &RESULTS), inputs(shape, kind));
            for batches in [all.iter().map(stacked).collect::<Vec<_>>(), all.iter().map(apart).collect()] {
                let pass = Pass::new(&call, &each(&batches)).unwrap();
                let results = pass.interpret().unwrap();
                let sizes: Vec<_> = results.iter().map(Tensor::size).collect();
                let by_kernel = pass.run_kernel(InstructionSet::detect(), &[]).unwrap();
                assert_eq!(sizes, by_kernel.iter().map(Batch::size).collect::<Vec<_>>());
                agrees(shape, kind, &results.iter().map(values).collect::<Vec<_>>());
            }
        }
    }
}

/// Tensors that lie apart give the bits that stacked ones give, also where a result takes the place of an input.
#[test]
fn where_tensors_lie_changes_no_bit() {
    let _alone = alone();
    let replaces = [1, 0, 0, 0];
    let call = PassCall { replaces: replaces[..].into(), ..call::<Mixed>(&NUMBERS, &INPUTS, &RESULTS) };
    for shape in SHAPES {
        for kind in [Kind::Float, Kind::Double] {
            let all = inputs(shape, kind);
            let expected = bits(&run(shape, kind, InstructionSet::detect()));
            let copies: Vec<Batch> = all.iter().map(|tensor| stacked(&tensor.copy())).collect();
            for (how, batches) in [("stacked", copies), ("apart", all.iter().map(apart).collect())] {
                for may in [false, true] {
                    let results = Pass::new(&call, &each(&batches)).unwrap().run(&[may]).unwrap();
                    assert!(bits(&all_values(&results)) == expected, "{shape:?} {kind:?} {how} {may}");
                    let places = |batch: &Batch| batch.parts().iter().map(Tensor::data_ptr).collect::<Vec<_>>();
                    let in_place = places(&results[0]) == places(&batches[0]);
                    assert!(in_place == may || shape.contains(&0), "{shape:?} {how}");
                    let changed = bits(&all_values(&batches[..1])) != bits(&[values(&all[0])]);
                    assert!(may || !changed, "{shape:?} {how}");
                    assert!(bits(&all_values(&batches[1..])) == bits(&all[1..].iter().map(values).collect::<Vec<_>>()));
                }
            }
        }
    }
}

/// What another input still reads is not written over, unless it is read element by element.
#[test]
fn an_input_that_is_read_twice_is_replaced_only_where_that_does_no_harm() {
    let _alone = alone();
    let replaces = [1, 0, 0, 0];
    let call = PassCall { replaces: replaces[..].into(), ..call::<Mixed>(&NUMBERS, &INPUTS, &RESULTS) };
    let all = inputs(&[1, 40, 300], Kind::Float);
    let x = all[0].copy();
    let [row, column] = [x.narrow(2, 0, 1).reshape([1, 40]), x.narrow(1, 39, 1).reshape([1, 300])];
    let cases = [
        (x.shallow_clone(), all[2].shallow_clone(), all[3].shallow_clone(), true),
        (all[1].shallow_clone(), row, column, false),
    ];
    for (g, row, column, in_place) in cases {
        let batches: Vec<Batch> = [&x, &g, &row, &column, &all[4]].into_iter().map(stacked).collect();
        let expected = Pass::new(&call, &each(&batches)).unwrap().run(&[]).unwrap();
        let expected = bits(&all_values(&expected));
        let before = x.copy();
        let results = Pass::new(&call, &each(&batches)).unwrap().run(&[true]).unwrap();
        assert_eq!(results[0].parts()[0].data_ptr() == x.data_ptr(), in_place);
        assert!(bits(&all_values(&results)) == expected);
        x.shallow_clone().copy_(&before);
    }
}

#[test]
fn a_place_that_cannot_be_taken_is_refused() {
    let batches =
        [stacked(&Tensor::ones([2, 3, 4], tch::kind::FLOAT_CPU)), stacked(&Tensor::ones([2], tch::kind::FLOAT_CPU))];
    let (inputs, results) = ([0, 3], [0, 3]);
    for replaces in [&[1][..], &[3, 0], &[2, 0], &[0, 1]] {
        let call = PassCall { replaces: replaces.into(), ..call::<Two>(&[], &inputs, &results) };
        let text = Pass::new(&call, &each(&batches)).map(|_| ()).unwrap_err();
        assert!(text.contains("take the places"), "{replaces:?}: {text}");
    }
    let (inputs, twice) = ([0, 0], [1, 1]);
    let call = PassCall { replaces: twice[..].into(), ..call::<Two>(&[], &inputs, &inputs) };
    let text = Pass::new(&call, &[&batches[0]; 2]).map(|_| ()).unwrap_err();
    assert!(text.contains("take the places"), "{text}");
}

/// Where two inputs are one tensor there is room for one result.
#[test]
fn two_results_are_never_in_one_place() {
    let _alone = alone();
    let (inputs, replaces) = ([0, 0], [1, 2]);
    let x = Tensor::arange(6, tch::kind::FLOAT_CPU).reshape([1, 2, 3]);
    let call = PassCall { replaces: replaces[..].into(), ..call::<Opposites>(&[], &inputs, &inputs) };
    let results = Pass::new(&call, &[&stacked(&x), &stacked(&x)]).unwrap().run(&[true; 2]).unwrap();
    let [plus, minus] = [&all_values(&results)[0], &all_values(&results)[1]];
    assert_eq!((plus, minus), (&vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &vec![0.0, -1.0, -2.0, -3.0, -4.0, -5.0]));
}

/// x and −y.
struct Opposites;

impl sdk::Pass for Opposites {
    type Numbers<T: Copy> = sdk::Nothing<T>;
    type Inputs<T: Copy> = Pair<T>;
    type Results<T: Copy> = Pair<T>;

    fn each<L: Lane>(_: sdk::Nothing<Scalar<L>>) -> impl Fn(Pair<L>) -> Pair<L> {
        |Pair { x, y }| Pair { x, y: -y }
    }
}

/// The two of them.
struct Two;

#[derive(Record)]
struct Pair<T> {
    x: T,
    y: T,
}

impl sdk::Pass for Two {
    type Numbers<T: Copy> = sdk::Nothing<T>;
    type Inputs<T: Copy> = Pair<T>;
    type Results<T: Copy> = Pair<T>;

    fn each<L: Lane>(_: sdk::Nothing<Scalar<L>>) -> impl Fn(Pair<L>) -> Pair<L> {
        |pair| pair
    }
}

/// Sums are taken in f64 whatever the elements are: what is lost in f32 is not lost here.
#[test]
fn a_sum_that_f32_would_lose_is_kept() {
    let _alone = alone();
    let call = call::<Same>(&[], &[0], &[3]);
    let x = Tensor::from_slice(&[1e8f32, 1.0, -1e8, 0.5]).reshape([1, 4]);
    let sum = Pass::new(&call, &[&stacked(&x)]).unwrap().run(&[]).unwrap();
    assert_eq!(all_values(&sum)[0], [1.5]);
}

/// The elements themselves.
pub(crate) struct Same;

impl sdk::Pass for Same {
    type Numbers<T: Copy> = sdk::Nothing<T>;
    type Inputs<T: Copy> = One<T>;
    type Results<T: Copy> = One<T>;

    fn each<L: Lane>(_: sdk::Nothing<Scalar<L>>) -> impl Fn(One<L>) -> One<L> {
        |one| one
    }
}

/// The elements times the number.
pub(crate) struct Scaled;

impl sdk::Pass for Scaled {
    type Numbers<T: Copy> = One<T>;
    type Inputs<T: Copy> = One<T>;
    type Results<T: Copy> = One<T>;

    fn each<L: Lane>(n: One<Scalar<L>>) -> impl Fn(One<L>) -> One<L> {
        move |One { x }| One { x: x * n.x }
    }
}

/// Where nothing asks for rows or columns, a parameter may have any number of dimensions, or none.
#[test]
fn vectors_and_single_numbers_have_sums_too() {
    let _alone = alone();
    for (shape, each) in [(vec![3], 1), (vec![2, 5], 5), (vec![2, 70_001], 70_001), (vec![2, 3, 4, 5], 60)] {
        let x = numbers(&shape, 3, Kind::Double);
        let call = call::<Same>(&[], &[0], &[3]);
        let sum = Pass::new(&call, &[&stacked(&x)]).unwrap().run(&[]).unwrap();
        assert_eq!(sum[0].size(), shape[..1]);
        let expected: Vec<f64> = values(&x).chunks(each).map(|one| one.iter().sum()).collect();
        for (got, expected) in all_values(&sum)[0].iter().zip(expected) {
            assert!((got - expected).abs() < 1e-9, "{shape:?}: {got}, not {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_shape(batch in 1i64..4, rows in 1i64..200, columns in 1i64..700) {
        let _alone = alone();
        let shape = [batch, rows, columns];
        agrees(&shape, Kind::Float, &run(&shape, Kind::Float, InstructionSet::detect()));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let float = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let double = Tensor::zeros([2, 3, 4], (Kind::Double, Device::Cpu));
    let whole = Tensor::zeros([2, 3, 4], (Kind::Int64, Device::Cpu));
    let x = float(&[2, 3, 4]);
    let refused = |inputs: &[u32], results: &[u32], tensors: &[&Tensor]| {
        let call = call::<Mixed>(&NUMBERS, inputs, results);
        let batches: Vec<Batch> = tensors.iter().map(|tensor| stacked(tensor)).collect();
        Pass::new(&call, &each(&batches)).map(|_| ()).unwrap_err()
    };
    let table: [(&[u32], &[u32], &[&Tensor], &str); 9] = [
        (&[3], &[0], &[&float(&[2])], "an input with one number per element expected"),
        (
            &[0, 1],
            &[0],
            &[&float(&[2, 3]), &float(&[2])],
            "rows and columns need matrices, not a batch of shape [2, 3]",
        ),
        (&[0, 1], &[0], &[&x, &float(&[2, 4])], "input 1 is one number per row of [2, 3, 4]: [2, 3] expected"),
        (&[0, 3], &[0], &[&x, &float(&[3])], "input 1 is one number per parameter of [2, 3, 4]: [2] expected"),
        (&[0, 0], &[0], &[&x, &double], "inputs of one element type on one device expected; cast first"),
        (&[0], &[0], &[&whole], "elements of f32 or f64 expected; cast first"),
        (&[0], &[9], &[&x], "code 9 is not known here"),
        (&[0], &[], &[&x], "1 inputs with 1 codes, 0 results"),
        (&[0], &[0], &[&float(&[])], "a batch of parameters expected, not one number"),
    ];
    for (inputs, results, tensors, text) in table {
        assert_eq!(refused(inputs, results, tensors), text);
    }
}

#[test]
fn a_pass_that_panics_is_an_error_with_its_text() {
    let _alone = alone();
    let call = call::<Panics>(&[], &[0], &[0]);
    for shape in [[1, 8], [4, 200_000]] {
        let x = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let run = Pass::new(&call, &[&stacked(&x)]).unwrap().run(&[]);
        assert_eq!(run.map(|_| ()).unwrap_err(), "panicked: not this one");
    }
}

/// An expression comes from a plugin: it is believed only as far as it is checked.
#[test]
fn an_expression_that_is_not_the_passes_is_refused() {
    let whole = call::<Mixed>(&NUMBERS, &INPUTS, &RESULTS);
    let nodes = expression(&whole).unwrap();
    let per: Vec<Per> = RESULTS.iter().map(|code| Per::of(*code).unwrap()).collect();
    let refused = |nodes: &[Node], numbers, inputs, results: &[Per]| {
        tape::check_pass(nodes, numbers, inputs, results).unwrap_err().to_string()
    };
    assert!(refused(&nodes, 1, 5, &per).contains("number 1 of 1"));
    assert!(refused(&nodes, 2, 4, &per).contains("input 4 of 4"));
    assert!(refused(&nodes, 2, 5, &per[..3]).contains("OutSum 3 is no result of this pass"));
    assert!(
        refused(&nodes, 2, 5, &[Per::Row, Per::Row, Per::Column, Per::Parameter]).contains("OutState 0 is no result")
    );
    assert!(refused(&nodes[..nodes.len() - 1], 2, 5, &per).contains("gives result 3 0 times"));
    let twice = [nodes.as_slice(), &nodes[nodes.len() - 1..]].concat();
    assert!(refused(&twice, 2, 5, &per).contains("gives result 3 2 times"));
}
