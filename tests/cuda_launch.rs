//! The kernels that a card runs, whole: NVRTC takes them; as C++, with threads for a block, they have the bits of the
//! CPU's pass, sums included; and on a card, where there is one.
#![allow(unsafe_code)]

mod support;

use std::{collections::BTreeSet, fmt::Write, fs, process::Command};

use host::rules::{
    Memory, Pass, Rule, Target, Touched,
    cuda::{
        Item, nvrtc, rows,
        source::{self, EMULATION, Shape, Storage},
    },
    kernel::slot_kind,
};
use libloading::{Library, Symbol};
use sdk::{abi::SlotDescriptor, tape};
use support::rules::{Case, Numbers, cases};
use tch::{Device, Kind, Tensor};

/// Storage format, element type of parameters, slots in bf16 where they are there.
const FORMATS: [(Storage, Kind, u32); 6] = [
    (Storage::F32, Kind::Float, 0),
    (Storage::F64, Kind::Double, 0),
    (Storage::Bf16, Kind::BFloat16, 0),
    (Storage::F32, Kind::Float, 0b1111_1111),
    (Storage::F32, Kind::Float, 0b0101_0101),
    (Storage::Bf16, Kind::BFloat16, 0b1111_1111),
];
/// One element, a rest alone, whole tiles, more than one chunk and one row of sums, and each with a rest.
const SIZES: [i64; 6] = [1, 63, 320, 4096, 4170, 9001];
/// Threads of an emulated block: 16 per sum, and few enough to start quickly.
const THREADS: u32 = 128;

/// Tensors of one step: parameter, gradient and every slot, by size.
struct Tensors {
    x: Tensor,
    g: Tensor,
    state: Vec<Option<Tensor>>,
}

impl Tensors {
    fn new(case: &Case, kind: Kind, narrow: u32, corners: bool) -> Vec<Tensors> {
        let mut numbers = Numbers(29);
        let slots = elementwise(case);
        let places = slots.iter().map(|slot| slot.index as usize + 1).max().unwrap_or(0);
        let mut tensor = |size: i64, kind: Kind| {
            let mut number = || loop {
                let number = numbers.next();
                if corners || (number.is_finite() && number.abs() < 1e3) {
                    return number;
                }
            };
            let values: Vec<f64> = (0..=size).map(|_| number()).collect();
            let values = Tensor::from_slice(&values).to_kind(kind);
            // Every other tensor begins at an odd address.
            if size % 2 == 1 { values.narrow(0, 1, size) } else { values.narrow(0, 0, size) }
        };
        let of_size = |&size: &i64| {
            let (x, g) = (tensor(size, kind), tensor(size, kind));
            let mut state: Vec<Option<Tensor>> = (0..places).map(|_| None).collect();
            for slot in &slots {
                let kind = slot_kind(kind, narrow.into(), slot);
                state[slot.index as usize] = Some(tensor(size, kind));
            }
            Tensors { x, g, state }
        };
        SIZES.iter().map(of_size).collect()
    }

    fn copies(all: &[Tensors], device: Device) -> Vec<Tensors> {
        // A copy begins where its source does, as far as 16 bytes matter.
        let copy = |tensor: &Tensor| {
            let size = tensor.numel() as i64;
            let room = Tensor::zeros([size + 1], (tensor.kind(), device));
            let mut place = room.narrow(0, size % 2, size);
            place.copy_(tensor);
            place
        };
        let one = |tensors: &Tensors| Tensors {
            x: copy(&tensors.x),
            g: copy(&tensors.g),
            state: tensors.state.iter().map(|slot| slot.as_ref().map(copy)).collect(),
        };
        all.iter().map(one).collect()
    }
}

/// The numbers that the sums of a step and a memory are, where a rule has them.
fn memory(case: &Case) -> Vec<f64> {
    case.loaded.memory(&case.hyper).unwrap().into_iter().enumerate().map(|(k, _)| 0.3 + 0.1 * k as f64).collect()
}

fn targets<'a>(case: &'a Case, tensors: &'a [Tensors], memory: &'a [f64], t: f64) -> Vec<Target<'a>> {
    let target = |tensors: &'a Tensors| Target {
        name: "w",
        x: &tensors.x,
        g: tensors.g.shallow_clone(),
        state: &tensors.state,
        hyper: &case.hyper,
        step: [t, tensors.x.numel() as f64, 0.7],
        memory,
        expression: &case.nodes,
        touched: Touched::ALL,
    };
    tensors.iter().map(target).collect()
}

/// Bits, with one for every NaN.
fn bits(tensor: &Tensor) -> Vec<u64> {
    let wide: Vec<f64> = tensor.to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1).try_into().unwrap();
    wide.into_iter().map(|value| if value.is_nan() { u64::MAX } else { value.to_bits() }).collect()
}

fn same(at: &str, left: &[Tensors], right: &[Tensors]) {
    for (left, right) in left.iter().zip(right) {
        let size = left.x.numel();
        assert_eq!(bits(&left.x), bits(&right.x), "{at}: x of {size} elements");
        for (k, (left, right)) in left.state.iter().zip(&right.state).enumerate() {
            assert_eq!(left.as_ref().map(bits), right.as_ref().map(bits), "{at}: slot {k} of {size} elements");
        }
    }
}

/// The first of every label's cases.
fn defaults(cases: &[Case]) -> Vec<&Case> {
    let mut seen = BTreeSet::new();
    cases.iter().filter(|case| seen.insert(&case.loaded.label)).collect()
}

#[test]
fn emulated_launches_have_the_bits_of_the_cpu() {
    let cases = cases();
    let cases = defaults(&cases);
    let folder = tempfile::tempdir().unwrap();
    let (text, library) = (folder.path().join("rules.cpp"), folder.path().join("librules.so"));
    fs::write(&text, cpp(&cases)).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_string());
    let compiled = Command::new(&compiler)
        .args(["-std=c++20", "-O1", "-ffp-contract=off", "-pthread", "-shared", "-fPIC", "-w", "-o"])
        .args([&library, &text])
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // SAFETY: the library was just made, and has no constructors.
    let library = unsafe { Library::new(&library) }.unwrap();
    let mut compared = 0;
    for case in cases.iter().filter(|case| tape::portable(&case.nodes)) {
        for (storage, kind, narrow) in formats(case) {
            emulate(case, (storage, kind, narrow), &library);
            compared += 1;
        }
    }
    println!("{compared} launches");
    assert!(compared > 120);
}

/// Its slots, without the numbers it keeps per tensor.
fn elementwise(case: &Case) -> Vec<SlotDescriptor> {
    let slots = case.loaded.slots(&case.hyper).unwrap();
    slots.into_iter().filter(|slot| !slot.is_number()).collect()
}

/// The formats that differ for a case: a rule without state has none in bf16.
fn formats(case: &Case) -> Vec<(Storage, Kind, u32)> {
    let slots = elementwise(case);
    let there = slots.iter().fold(0, |bits, slot| bits | 1 << slot.index);
    let mut all: Vec<(Storage, Kind, u32)> = Vec::new();
    for (storage, kind, narrow) in FORMATS {
        let format = (storage, kind, narrow & there);
        if !all.contains(&format) {
            all.push(format);
        }
    }
    all
}

/// All kernels in one text, each in a room of its own.
fn cpp(cases: &[&Case]) -> String {
    let mut text = EMULATION.to_string();
    for case in cases {
        for (storage, _, narrow) in formats(case) {
            let name = format!("{}_{storage:?}_{narrow}", case.name);
            let shape = Shape::of(&case.nodes, storage).with_narrow(narrow);
            for kernel in ["update", "measure", "total"] {
                let _ = writeln!(text, "#define {kernel} {kernel}_{name}");
            }
            let source = source::source(&case.nodes, &shape, THREADS);
            let _ = writeln!(text, "namespace {name} {{\n{source}");
            let _ = writeln!(
                text,
                "extern \"C\" void launch_update_{name}(const Row* rows, const Chunk* chunks, unsigned count) {{\n\
                 emulate(count, THREADS, [=] {{ update(rows, chunks); }});\n}}"
            );
            if shape.sums > 0 {
                let _ = writeln!(
                    text,
                    "extern \"C\" void launch_measure_{name}(const Row* rows, const Chunk* chunks, unsigned count, \
                     double* partial, const Span* spans, unsigned tensors, double* out) {{\n\
                     emulate(count, THREADS, [=] {{ measure(rows, chunks, partial); }});\n\
                     emulate(tensors, THREADS, [=] {{ total(partial, spans, out); }});\n}}"
                );
            }
            text += "}\n";
            let words =
                "VALUE HELD REAL SLOTS READ WRITTEN NARROW SCALARS SUMS PACK THREADS SUMMED update measure total";
            words.split(' ').for_each(|word| {
                let _ = writeln!(text, "#undef {word}");
            });
        }
    }
    text
}

fn emulate(case: &Case, (storage, kind, narrow): (Storage, Kind, u32), library: &Library) {
    type Update = unsafe extern "C" fn(*const u8, *const u8, u32);
    type Measure = unsafe extern "C" fn(*const u8, *const u8, u32, *mut f64, *const u8, u32, *mut f64);
    let name = format!("{}_{storage:?}_{narrow}", case.name);
    let at = format!("{} {storage:?}, slots {narrow:b} in bf16", case.loaded.label);
    let shape = Shape::of(&case.nodes, storage).with_narrow(narrow);
    let rule = Rule::of(&case.loaded).unwrap();
    let memory = memory(case);
    let start = Tensors::new(case, kind, narrow, true);
    let (by_pass, by_source) = (Tensors::copies(&start, Device::Cpu), Tensors::copies(&start, Device::Cpu));
    let mut pass = Pass::default();
    let numels: Vec<usize> = SIZES.iter().map(|&size| size as usize).collect();
    let by_source_targets = targets(case, &by_source, &memory, 2.0);
    let with_numbers = |sums: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let one = |(index, target): (usize, &Target<'_>)| {
            let of_tensor = sums.get(index).cloned().unwrap_or_else(|| vec![0.0; shape.sums]);
            target.step.iter().copied().chain(of_tensor).chain(memory.iter().copied()).collect()
        };
        by_source_targets.iter().enumerate().map(one).collect()
    };
    let rows_of = |numbers: &[Vec<f64>]| {
        let items: Vec<Item<'_>> = by_source_targets
            .iter()
            .zip(numbers)
            .map(|(target, numbers)| Item { target, g: &target.g, numbers })
            .collect();
        let mut bytes = Vec::new();
        rows::rows(&case.nodes, &shape, &items.iter().collect::<Vec<_>>(), &mut bytes);
        bytes
    };
    let mut sums = Vec::new();
    if shape.sums > 0 {
        let expected = pass.sums(&rule, &targets(case, &by_pass, &memory, 2.0)).unwrap();
        let (chunks, spans) = rows::measure_chunks(&numels);
        let count = chunks.len() / rows::CHUNK_BYTES;
        let (mut partial, mut out) = (vec![f64::NAN; count * shape.sums], vec![f64::NAN; numels.len() * shape.sums]);
        let rows = rows_of(&with_numbers(&[]));
        // SAFETY: made with this signature; all memory is as long as the kernels read and write.
        unsafe {
            let measure: Symbol<'_, Measure> = library.get(format!("launch_measure_{name}").as_bytes()).unwrap();
            let (rows, chunks, spans) = (rows.as_ptr(), chunks.as_ptr(), spans.as_ptr());
            let tensors = numels.len() as u32;
            measure(rows, chunks, count as u32, partial.as_mut_ptr(), spans, tensors, out.as_mut_ptr());
        }
        sums = out.chunks_exact(shape.sums).map(<[f64]>::to_vec).collect();
        let known = |all: &[Vec<f64>]| -> Vec<Vec<u64>> {
            let bits = |value: &f64| if value.is_nan() { u64::MAX } else { value.to_bits() };
            all.iter().map(|sums| sums.iter().map(bits).collect()).collect()
        };
        assert_eq!(known(&sums), known(&expected), "{at}: sums");
        if rule.memory() != Memory::Nothing {
            sums.clear();
        }
    }
    pass.run(&rule, &targets(case, &by_pass, &memory, 2.0)).unwrap();
    let (rows, chunks) = (rows_of(&with_numbers(&sums)), rows::update_chunks(&numels));
    // SAFETY: as above.
    unsafe {
        let update: Symbol<'_, Update> = library.get(format!("launch_update_{name}").as_bytes()).unwrap();
        update(rows.as_ptr(), chunks.as_ptr(), (chunks.len() / rows::CHUNK_BYTES) as u32);
    }
    same(&at, &by_pass, &by_source);
}

#[test]
fn describe_prints_the_source_that_is_compiled() {
    let shop = support::Workshop::new();
    let cases = cases();
    let lion = defaults(&cases).into_iter().find(|case| case.loaded.label == "lion").unwrap();
    for (storage, word) in [(Storage::F32, "f32"), (Storage::F64, "f64"), (Storage::Bf16, "bf16")] {
        let printed = shop.run(&["describe", "lion", "--cuda-source", word], &[]).expect(0).stdout;
        let shape = Shape::of(&lion.nodes, storage);
        assert_eq!(printed.trim_end(), source::source(&lion.nodes, &shape, source::THREADS).trim_end());
    }
    shop.run(&["describe", "muon", "--cuda-source", "f32"], &[]).expect(4).says(&["error[R033]", "muon"]);
    shop.run(&["describe", "lion", "--cuda-source", "f16"], &[]).expect(2).says(&["f16", "bf16"]);
}

#[test]
fn nvrtc_compiles_every_kernel() {
    if let Err(why) = nvrtc::version() {
        println!("skipped: {why}");
        return;
    }
    let cases = cases();
    let architectures = ["sm_80", "sm_90", "sm_100"];
    for (index, case) in defaults(&cases).into_iter().enumerate() {
        for (offset, (storage, _, narrow)) in formats(case).into_iter().enumerate() {
            let shape = Shape::of(&case.nodes, storage).with_narrow(narrow);
            let text = source::source(&case.nodes, &shape, source::THREADS);
            // Every architecture meets every storage format, and no rule takes all of them.
            let architecture = architectures[(index + offset) % architectures.len()];
            let compiled = nvrtc::compile(&text, architecture);
            let cubin = compiled
                .unwrap_or_else(|log| panic!("{} {storage:?} {narrow:b} {architecture}: {log}", case.loaded.label));
            assert!(cubin.len() > 1000);
        }
    }
}

#[test]
fn a_card_has_the_bits_of_the_cpu() {
    let card = match host::tensor::device::open(host::config::settings::Device::Cuda) {
        Ok(card) => card,
        Err(fault) => return println!("skipped: {fault}"),
    };
    let (mut portable, mut others) = (0, 0);
    for case in &cases() {
        let rule = Rule::of(&case.loaded).unwrap();
        let exact = tape::portable(&case.nodes);
        for (storage, kind, narrow) in formats(case) {
            let at = format!("{} {storage:?}, slots {narrow:b} in bf16, hyper {:?}", case.loaded.label, case.hyper);
            let mut memory = memory(case);
            let start = Tensors::new(case, kind, narrow, exact);
            let (on_cpu, on_card) = (Tensors::copies(&start, Device::Cpu), Tensors::copies(&start, card));
            let mut pass = Pass::default();
            for t in [1.0, 2.0, 3.0] {
                if case.loaded.sums().is_some_and(|table| !(table.names)().is_empty()) {
                    let expected = pass.sums(&rule, &targets(case, &on_cpu, &memory, t)).unwrap();
                    let sums = pass.sums(&rule, &targets(case, &on_card, &memory, t)).unwrap();
                    if exact {
                        assert_eq!(format!("{sums:?}"), format!("{expected:?}"), "{at}: sums");
                    }
                }
                pass.run(&rule, &targets(case, &on_cpu, &memory, t)).unwrap();
                pass.run(&rule, &targets(case, &on_card, &memory, t)).unwrap();
                memory.iter_mut().for_each(|number| *number += 0.01);
            }
            if exact {
                same(&at, &on_cpu, &on_card);
                portable += 1;
            } else {
                for (left, right) in on_cpu.iter().zip(&on_card) {
                    let far = (&left.x - right.x.to_device(Device::Cpu)).abs().max().double_value(&[]);
                    let largest = left.x.abs().max().double_value(&[]);
                    assert!(far <= 1e-2 * largest, "{at}: {far} of {largest}");
                }
                others += 1;
            }
        }
    }
    println!("{portable} cases bit for bit, {others} whose bits are the device's");
    // 65 cases of the registry are portable, in three formats each.
    assert!(portable >= 195);
}
