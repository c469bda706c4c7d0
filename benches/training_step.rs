//! One training step of nanoGPT's CPU recipe, from batch to update, per optimizer: `training_step/<label>/0.8M/cpu`.
//! Synthetic text, so that it runs without any file; the sizes are the recipe's.

use std::{path::Path, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use host::{
    config::{self, Flags, Variables},
    train::{Trainer, prepare},
};

fn training_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training_step");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host lies in the repository");
    for label in ["adamw", "sgdm", "lion", "muon"] {
        let flags = ["preset=nanogpt-cpu", "seed=1", "device=cpu"];
        let flags = flags.iter().fold(Flags::default(), |flags, pair| {
            let (flag, text) = pair.split_once('=').expect("a pair");
            flags.with(flag, text).expect("a flag of the table")
        });
        let flags = flags.with("optimizer", label).expect("a label");
        let told = config::examine(&flags, &Variables::new(), repository);
        let plugins = Path::new(env!("CARGO_BIN_EXE_host")).parent().expect("the binary lies in a folder");
        let prepared = prepare(told, Some(&repository.join("registry.toml")), Some(plugins))
            .unwrap_or_else(|faults| panic!("{faults}"));
        let mut trainer = Trainer::new(&prepared).unwrap_or_else(|faults| panic!("{faults}"));
        group.bench_function(format!("{label}/0.8M/cpu"), |bencher| {
            bencher.iter(|| trainer.step().unwrap_or_else(|fault| panic!("{fault}")).loss);
        });
    }
    group.finish();
}

criterion_group!(benches, training_step);
criterion_main!(benches);
