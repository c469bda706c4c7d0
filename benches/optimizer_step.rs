//! One optimizer step per label, the norm of the gradients, and what crossing the boundary to a plugin costs.
//!
//! `step/<label>/<size>/cpu` steps every parameter of a small GPT; throughput is in parameters. Run one with
//! `cargo bench -p host --bench optimizer_step -- step/adamw`.
#![allow(missing_docs, unsafe_code)]

#[path = "../tests/support/plugins.rs"]
#[allow(dead_code)]
mod plugins;

use std::{hint::black_box, path::Path, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use host::{
    config::{Settings, knobs},
    model::{Parameter, Role},
    optim::{Optim, clip},
    registry::{Catalogue, Kind, Registry},
};
use sdk::abi::KernelCall;
use tch::{Device, Kind as Dtype, Tensor};

/// Width and layers of the networks, by about how many parameters they have.
const SIZES: [(&str, i64, usize); 2] = [("1M", 168, 3), ("10M", 528, 3)];

fn registry() -> Registry {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry.toml");
    let registry = Registry::open(&path).unwrap_or_else(|faults| panic!("{faults}"));
    registry.with_plugin_dir(plugins::plugins())
}

fn parameter(name: String, role: Role, shape: &[i64]) -> Parameter {
    let options = (Dtype::Float, Device::Cpu);
    let tensor = (Tensor::randn(shape, options) * 0.02).set_requires_grad(true);
    (&tensor * Tensor::randn(shape, options)).sum(Dtype::Float).backward();
    Parameter { name, role, layer: None, tensor, frozen: false }
}

/// The parameters of GPT blocks of width `d`, with gradients.
fn network(d: i64, layers: usize) -> Vec<Parameter> {
    let mut params = Vec::new();
    for layer in 0..layers {
        for (name, shape) in [("c_attn", [3 * d, d]), ("proj", [d, d]), ("c_fc", [4 * d, d]), ("c_proj", [d, 4 * d])] {
            params.push(parameter(format!("h.{layer}.{name}.weight"), Role::Matrix, &shape));
        }
        for name in ["ln_1", "ln_2"] {
            params.push(parameter(format!("h.{layer}.{name}.weight"), Role::Vector, &[d]));
        }
    }
    params
}

fn plan(label: &str, catalogue: &Catalogue, params: &[Parameter]) -> Optim {
    let settings = settings(label);
    let planned = Optim::plan(&settings, &|key| key.to_string(), catalogue, params);
    planned.unwrap_or_else(|faults| panic!("{faults}"))
}

fn settings(label: &str) -> Settings {
    let mut settings = knobs::builtin();
    settings.optimizer.label = label.to_string();
    settings
}

fn elements(params: &[Parameter]) -> u64 {
    params.iter().map(|param| param.tensor.numel() as u64).sum()
}

fn step(criterion: &mut Criterion) {
    // As in training.
    host::tensor::memory::keep_freed();
    let registry = registry();
    let catalogue = registry.load_all().unwrap_or_else(|faults| panic!("{faults}"));
    for label in registry.labels(Kind::Optimizer) {
        let mut group = criterion.benchmark_group(format!("step/{label}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(500));
        for (size, d, layers) in SIZES {
            let mut params = network(d, layers);
            let mut optim = plan(label, &catalogue, &params);
            let skip = vec![false; params.len()];
            group.throughput(Throughput::Elements(elements(&params)));
            group.bench_function(BenchmarkId::new(size, "cpu"), |bench| {
                bench.iter(|| optim.step(&mut params, 1.0, 1.0, &skip).unwrap());
            });
        }
    }
}

fn norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grad_norm");
    for (size, d, layers) in SIZES {
        let params = network(d, layers);
        group.throughput(Throughput::Elements(elements(&params)));
        group.bench_function(BenchmarkId::new(size, "cpu"), |bench| bench.iter(|| clip::measure(&params).unwrap()));
    }
}

fn boundary(criterion: &mut Criterion) {
    let registry = registry();
    let catalogue = registry.load_all().unwrap_or_else(|faults| panic!("{faults}"));
    let mut group = criterion.benchmark_group("boundary");

    let loaded = catalogue.get(Kind::Optimizer, "lion").expect("lion is in the registry");
    let table = loaded.rule().expect("lion is an elementwise rule");
    let hyper = loaded.defaults();
    let (step, state) = ([1.0, 0.0, 1.0], [std::ptr::null_mut(); 8]);
    let (mut x, g) = ([0.0f32; 1], [0.0f32; 1]);
    let call = KernelCall {
        struct_size: size_of::<KernelCall>(),
        isa: 0,
        hyper: hyper.as_ptr(),
        step: step.as_ptr(),
        n: 0,
        x: x.as_mut_ptr().cast(),
        g: g.as_ptr().cast(),
        state: state.as_ptr(),
    };
    group.bench_function("kernel of no elements", |bench| {
        // SAFETY: a call over no elements; the pointers are there nevertheless, and the hyper-parameters are lion's.
        bench.iter(|| unsafe { (table.update_f32)(black_box(&call)) })
    });

    for (name, label, shape) in
        [("one tensor of 64 elements", "lion", vec![64]), ("one matrix of 2 by 2", "muon", vec![2, 2])]
    {
        let role = if shape.len() == 2 { Role::Matrix } else { Role::Vector };
        let mut params = vec![parameter("w".into(), role, &shape)];
        let mut optim = plan(label, &catalogue, &params);
        group.bench_function(format!("step of {name}"), |bench| {
            bench.iter(|| optim.step(&mut params, 1.0, 1.0, &[false]).unwrap());
        });
    }
}

criterion_group!(benches, step, norm, boundary);
criterion_main!(benches);
