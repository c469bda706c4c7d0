//! Parameter groups and steps through real plugins: who takes what, and what becomes of state and step counts.

mod support;

use std::{collections::BTreeMap, sync::OnceLock};

use host::{
    config::{
        Settings, knobs,
        settings::{GroupSettings, HyperValue, StateFormat},
    },
    fault::{Exit, Faults},
    model::{Parameter, Role},
    optim::{Optim, clip},
    registry::{Catalogue, Kind, Registry},
};
use tch::{Device, Kind as Dtype, Tensor};

/// Names, roles and shapes of a small network.
const NETWORK: [(&str, Role, &[i64]); 6] = [
    ("wte.weight", Role::Embedding, &[7, 4]),
    ("h.0.c_fc.weight", Role::Matrix, &[8, 4]),
    ("h.0.c_proj.weight", Role::Matrix, &[4, 8]),
    ("h.1.c_fc.weight", Role::Matrix, &[8, 4]),
    ("ln_f.weight", Role::Vector, &[4]),
    ("lm_head.weight", Role::Head, &[7, 4]),
];

/// Values that depend on a number alone.
fn values(shape: &[i64], seed: usize) -> Tensor {
    let n: i64 = shape.iter().product();
    ((Tensor::arange(n, (Dtype::Double, Device::Cpu)) + seed as f64) * 0.7).sin().to_kind(Dtype::Float).reshape(shape)
}

fn network() -> Vec<Parameter> {
    let make = |(index, (name, role, shape)): (usize, &(&str, Role, &[i64]))| {
        let tensor = values(shape, index).set_requires_grad(true);
        Parameter { name: name.to_string(), role: *role, layer: None, tensor, frozen: false }
    };
    NETWORK.iter().enumerate().map(make).collect()
}

fn settings(label: &str, hyper: &[(&str, f64)]) -> Settings {
    let mut settings = knobs::builtin();
    settings.optimizer.label = label.to_string();
    settings.optimizer.hyper = map(hyper);
    settings
}

fn map(hyper: &[(&str, f64)]) -> BTreeMap<String, HyperValue> {
    hyper.iter().map(|(name, value)| (name.to_string(), HyperValue::Number(*value))).collect()
}

fn group(pattern: Option<&str>, roles: &[&str], optimizer: Option<&str>, hyper: &[(&str, f64)]) -> GroupSettings {
    GroupSettings {
        pattern: pattern.map(str::to_string),
        roles: roles.iter().map(|role| role.to_string()).collect(),
        optimizer: optimizer.map(str::to_string),
        state_format: None,
        hyper: map(hyper),
    }
}

/// All labels, loaded once.
fn catalogue() -> &'static Catalogue {
    static LOADED: OnceLock<Catalogue> = OnceLock::new();
    LOADED.get_or_init(|| {
        let registry = Registry::open(&support::registry()).unwrap_or_else(|faults| panic!("{faults}"));
        registry.with_plugin_dir(support::plugins()).load_all().unwrap_or_else(|faults| panic!("{faults}"))
    })
}

fn optimizers() -> impl Iterator<Item = &'static str> {
    let optimizers = catalogue().iter().filter(|loaded| loaded.kind == Kind::Optimizer);
    optimizers.map(|loaded| loaded.label.as_str())
}

fn plan(settings: &Settings, params: &[Parameter]) -> Result<Optim, Faults> {
    Optim::plan(settings, &|key| format!("source of {key}"), catalogue(), params)
}

fn planned(settings: &Settings, params: &[Parameter]) -> Optim {
    plan(settings, params).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Gives every parameter a fresh leaf, and those that `reach` names a gradient.
fn backward(params: &mut [Parameter], step: usize, reach: &dyn Fn(&str) -> bool) {
    for (index, param) in params.iter_mut().enumerate() {
        param.tensor = param.tensor.detach().copy().set_requires_grad(true);
        if reach(&param.name) {
            let grad = values(&param.tensor.size(), 100 * step + index);
            (&param.tensor * grad).sum(Dtype::Float).backward();
        }
    }
}

fn bits(tensors: impl IntoIterator<Item = Tensor>) -> Vec<u64> {
    let flat = |tensor: Tensor| Vec::<f64>::try_from(tensor.detach().reshape([-1]).to_kind(Dtype::Double)).unwrap();
    tensors.into_iter().flat_map(flat).map(f64::to_bits).collect()
}

fn parameter_bits(params: &[Parameter]) -> Vec<u64> {
    bits(params.iter().map(Parameter::handle))
}

fn state_bits(optim: &Optim) -> Vec<u64> {
    bits(optim.state().into_iter().map(|(_, tensor)| tensor))
}

fn step(optim: &mut Optim, params: &mut [Parameter], number: usize) {
    backward(params, number, &|_| true);
    let norm = clip::measure(params).unwrap();
    optim.step(params, 1.0, norm.norm, &vec![false; params.len()]).unwrap();
}

#[test]
fn default_groups() {
    let rows = |settings: &Settings| {
        let row = |row: host::optim::GroupRow| {
            let value = |name: &str| row.value(name).unwrap_or("-").to_string();
            format!(
                "{}: {} x{} lr {} decay {}",
                row.takes,
                row.optimizer,
                row.tensors,
                value("lr"),
                value("weight_decay")
            )
        };
        planned(settings, &network()).table().into_iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(
        rows(&settings("adamw", &[("lr", 0.5), ("weight_decay", 0.25)])),
        ["roles matrix, embedding, head: adamw x5 lr 0.5 decay 0.25", "roles vector: adamw x1 lr 0.5 decay 0"]
    );
    assert_eq!(
        rows(&settings("muon", &[("lr", 0.5)])),
        [
            "roles matrix: muon x3 lr 0.5 decay 0.1",
            "roles embedding, head (companion of muon): adamw x2 lr 0.003 decay 0.01",
            "roles vector (companion of muon): adamw x1 lr 0.003 decay 0"
        ]
    );
}

#[test]
fn every_value_has_its_source() {
    let mut settings = settings("adamw", &[("lr", 0.5)]);
    settings.group = vec![
        group(Some("h.*"), &[], Some("lion"), &[("beta1", 0.5)]),
        group(None, &["vector"], None, &[("weight_decay", 0.125)]),
        group(None, &[], None, &[]),
    ];
    let table = planned(&settings, &network()).table();
    let found = |row: usize, name: &str| {
        let (_, value, source) = table[row].hyper.iter().find(|(known, ..)| known == name).unwrap();
        format!("{value} ({source})")
    };
    assert_eq!(table.iter().map(|row| row.tensors).collect::<Vec<_>>(), [3, 1, 2]);
    assert_eq!(table[0].takes, "pattern h.*");
    // Another optimizer's group does not inherit the main one's values.
    assert_eq!(found(0, "lr"), "1e-4 (plugin)".replace("1e-4", table[0].value("lr").unwrap()));
    assert_eq!(found(0, "beta1"), "0.5 (source of group.0.beta1)");
    assert_eq!(found(1, "lr"), "0.5 (source of optimizer.lr)");
    assert_eq!(found(1, "weight_decay"), "0.125 (source of group.1.weight_decay)");
    assert_eq!(found(2, "weight_decay"), "0.01 (plugin)");
    assert_eq!(table[2].takes, "all the rest");
    assert_eq!(table[2].parameters, 56);
    assert_eq!(table[2].state_bytes, 56 * 2 * 4);
}

#[test]
fn groups_that_cannot_be() {
    let with = |groups: Vec<GroupSettings>| Settings { group: groups, ..settings("adamw", &[]) };
    let rest = || group(None, &[], None, &[]);
    let table: Vec<(Settings, &[&str])> = vec![
        (with(vec![group(None, &["matirx"], None, &[]), rest()]), &["C040", "`matirx`", "did you mean `matrix`?"]),
        (with(vec![rest(), group(Some("h.*"), &[], None, &[])]), &["C041", "parameter group 1 (pattern h.*)"]),
        (with(vec![group(None, &[], Some("lion"), &[])]), &["C042", "optimizer `adamw` takes no parameter"]),
        (with(vec![group(None, &["matrix"], None, &[])]), &["C043", "wte.weight, ln_f.weight, lm_head.weight"]),
        (with(vec![group(None, &["vector"], Some("muon"), &[]), rest()]), &["C044", "`ln_f.weight`", "companion"]),
        (
            with(vec![group(None, &["vector"], Some("muon-cwd"), &[]), rest()]),
            &["C044", "`ln_f.weight`", "muon-cwd makes matrices orthogonal"],
        ),
        (settings("adamw", &[("betaa1", 0.9)]), &["R008", "`adamw` has no hyper-parameter `betaa1`", "beta1"]),
        (settings("adamw", &[("lr", -1.0)]), &["R008", "`lr` = -1 is out of range", "source of optimizer.lr"]),
    ];
    for (settings, expected) in table {
        let Err(faults) = plan(&settings, &network()) else { panic!("accepted: {expected:?}") };
        let text = faults.to_string();
        assert!(expected.iter().all(|part| text.contains(part)), "{expected:?} in\n{text}");
        assert_eq!(faults.0.len(), 1, "{text}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let mut settings = settings("adamw", &[("betaa1", 0.9), ("lr", 7e9)]);
    settings.group = vec![group(None, &["matirx"], None, &[]), group(Some("nothing*"), &[], None, &[("eps", -1.0)])];
    let Err(faults) = plan(&settings, &network()) else { panic!("accepted") };
    let codes: Vec<&str> = faults.0.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["C040", "C043", "C041", "R008", "R008", "R008"]);
    assert_eq!(faults.exit(), Exit::Registry);
}

#[test]
fn what_is_left_out_keeps_values_state_and_count() {
    for label in optimizers() {
        let mut params = network();
        let mut optim = planned(&settings(label, &[]), &params);
        step(&mut optim, &mut params, 1);
        let left_out = ["h.0.c_fc.weight", "h.1.c_fc.weight", "lm_head.weight"];
        backward(&mut params, 2, &|name| name != left_out[0]);
        params[3].frozen = true;
        let skip: Vec<bool> = params.iter().map(|param| param.name == left_out[2]).collect();
        let before: BTreeMap<String, Vec<u64>> = all(&optim, &params);
        let report = optim.step(&mut params, 1.0, 1.0, &skip).unwrap();
        assert_eq!((report.updated, report.frozen, report.without_grad), (3, 1, 1), "{label}");
        assert_eq!(report.skipped, ["lm_head.weight"], "{label}");
        let after = all(&optim, &params);
        let is_same = |key: &String| before[key] == after[key];
        for key in after.keys().filter(|key| left_out.iter().any(|name| key.starts_with(name))) {
            assert!(is_same(key), "{label}: {key}");
        }
        // A slot may be as it was, such as a copy of the start; not all of them.
        for (name, ..) in NETWORK.iter().filter(|(name, ..)| !left_out.contains(name)) {
            let slots: Vec<&String> = after.keys().filter(|key| key.starts_with(&format!("{name}/"))).collect();
            assert!(!is_same(&name.to_string()), "{label}: {name}");
            assert!(slots.is_empty() || !slots.into_iter().all(is_same), "{label}: the state of {name}");
        }
        let counts = optim.counts();
        assert!(NETWORK.iter().all(|(name, ..)| counts[*name] == 2 - u64::from(left_out.contains(name))), "{counts:?}");
    }
}

/// Bits of every parameter and slot by name.
fn all(optim: &Optim, params: &[Parameter]) -> BTreeMap<String, Vec<u64>> {
    let of_params = params.iter().map(|param| (param.name.clone(), param.tensor.copy()));
    of_params.chain(optim.state()).map(|(name, tensor)| (name, bits([tensor]))).collect()
}

#[test]
fn a_run_that_goes_on_from_a_saved_state_has_the_same_bits() {
    for label in optimizers() {
        let mut params = network();
        let mut optim = planned(&settings(label, &[]), &params);
        (1..4).for_each(|number| step(&mut optim, &mut params, number));
        let mut others = network();
        let mut resumed = planned(&settings(label, &[]), &others);
        for (other, param) in others.iter_mut().zip(&params) {
            other.tensor = param.tensor.detach().copy();
        }
        let saved = optim.state().into_iter().map(|(key, tensor)| (key, tensor.copy())).collect();
        resumed.load_state(saved, optim.counts()).unwrap();
        (4..7).for_each(|number| step(&mut optim, &mut params, number));
        (4..7).for_each(|number| step(&mut resumed, &mut others, number));
        assert_eq!(parameter_bits(&params), parameter_bits(&others), "{label}");
        assert_eq!(state_bits(&optim), state_bits(&resumed), "{label}");
        assert_ne!(parameter_bits(&params), parameter_bits(&network()), "{label}");
    }
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let mut params = network();
    let mut optim = planned(&settings("adamw", &[]), &params);
    step(&mut optim, &mut params, 1);
    let (before, counts) = (state_bits(&optim), optim.counts());
    let mut wrong: Vec<(String, Tensor)> =
        optim.state().into_iter().map(|(key, tensor)| (key, tensor.copy() + 1.0)).collect();
    // All fit but the last one.
    wrong.last_mut().unwrap().1 = Tensor::zeros([3], (Dtype::Float, Device::Cpu));
    let faults = optim.load_state(wrong, counts.clone()).unwrap_err();
    assert!(faults.to_string().contains("`lm_head.weight/exp_avg_sq` does not fit"), "{faults}");
    assert_eq!(faults.exit(), Exit::Data);
    assert_eq!(state_bits(&optim), before);
    assert_eq!(optim.counts(), counts);
}

#[test]
fn two_names_for_one_memory_are_refused() {
    let mut params = network();
    params[5].tensor = params[0].handle();
    let Err(faults) = plan(&settings("adamw", &[]), &params) else { panic!("accepted") };
    assert!(faults.to_string().contains("`wte.weight` and `lm_head.weight` share their memory"), "{faults}");
}

/// What a rule keeps of a tensor follows from that tensor's own group, whatever else runs beside it.
#[test]
fn numbers_of_a_tensor_move_on_by_its_own_group() {
    let remembers = |label: &&str| catalogue().get(Kind::Optimizer, label).unwrap().remembers();
    let labels: Vec<&str> = optimizers().filter(remembers).collect();
    assert_eq!(labels, ["asgd", "laprop", "nadam", "novograd", "schedulefree-adamw", "schedulefree-sgd"]);
    for label in labels {
        let decay = match label {
            "asgd" => "alpha",
            "schedulefree-sgd" => "r",
            _ => "beta2",
        };
        let of = |lr: f64, decay_to: f64| [("lr", lr), (decay, decay_to)];
        let (one, other) = (of(0.01, 0.9), of(0.03, 0.5));
        let mut both = matrices(&[9, 5], &[1, 2]);
        let groups = vec![group(Some("p1"), &[], None, &one), group(Some("p2"), &[], None, &other)];
        let mut optim = planned(&Settings { group: groups, ..settings(label, &[]) }, &both);
        let mut apart: Vec<(Vec<Parameter>, Optim)> = [(1, &one), (2, &other)]
            .into_iter()
            .map(|(seed, hyper)| {
                let params = matrices(&[9, 5], &[seed]);
                let optim = planned(&settings(label, hyper), &params);
                (params, optim)
            })
            .collect();
        for number in 1..5 {
            give_grads(&both, number);
            optim.step(&mut both, 1.0 / number as f64, 1.0, &[false; 2]).unwrap();
            for (params, optim) in &mut apart {
                give_grads(params, number);
                optim.step(params, 1.0 / number as f64, 1.0, &[false]).unwrap();
            }
        }
        let alone = |f: &dyn Fn(&(Vec<Parameter>, Optim)) -> Vec<u64>| apart.iter().flat_map(f).collect::<Vec<_>>();
        assert_eq!(parameter_bits(&both), alone(&|one| parameter_bits(&one.0)), "{label}");
        assert_eq!(state_bits(&optim), alone(&|one| state_bits(&one.1)), "{label}");
    }
}

/// Labels that go by passes.
const BY_PASSES: [&str; 7] = ["adafactor", "adafactor-fairseq", "came", "ranger", "mars", "adamp", "tiger-authors"];

fn matrices(shape: &[i64], seeds: &[usize]) -> Vec<Parameter> {
    let make = |&seed: &usize| {
        let tensor = values(shape, seed).set_requires_grad(true);
        Parameter { name: format!("p{seed}"), role: Role::Matrix, layer: None, tensor, frozen: false }
    };
    seeds.iter().map(make).collect()
}

/// Gradients by the parameter's name, so that it has the same one wherever it stands.
fn give_grads(params: &[Parameter], step: usize) {
    for param in params {
        let seed: usize = param.name[1..].parse().unwrap();
        (&param.tensor * values(&param.tensor.size(), 100 * step + seed)).sum(Dtype::Float).backward();
    }
}

/// Parameters and state stay where they are, alone and in a batch, whatever the step; nothing is copied.
#[test]
fn labels_that_go_by_passes_step_in_place() {
    let goes_by_passes = |label: &&str| catalogue().get(Kind::Optimizer, label).unwrap().alone_from().is_some();
    assert_eq!(optimizers().filter(goes_by_passes).count(), BY_PASSES.len());
    assert!(BY_PASSES.iter().all(goes_by_passes));
    for label in BY_PASSES {
        for shape in [[1500, 1500], [300, 300], [9, 5]] {
            let mut params = matrices(&shape, &[1, 2]);
            let mut optim = planned(&settings(label, &[]), &params);
            let places = |params: &[Parameter], optim: &Optim| {
                let of_parameter = |tensor: &Tensor| tensor.size() == shape;
                let state = optim.state().into_iter().map(|(_, tensor)| tensor).filter(of_parameter);
                let all = params.iter().map(|one| one.tensor.shallow_clone()).chain(state);
                all.map(|tensor| tensor.data_ptr() as usize).collect::<Vec<_>>()
            };
            let before = places(&params, &optim);
            for number in 1..8 {
                give_grads(&params, number);
                optim.step(&mut params, 1.0, 1.0, &[false; 2]).unwrap();
                assert_eq!(places(&params, &optim), before, "{label} {shape:?}, step {number}");
            }
        }
    }
}

/// With others in a batch or by itself: that may not change a bit.
#[test]
fn in_a_stack_or_alone_is_one_step() {
    let in_f32 = BY_PASSES.into_iter().chain(["soap", "shampoo"]).map(|label| (label, StateFormat::F32));
    let in_bf16 = ["came", "ranger", "mars", "adamp", "soap"].map(|label| (label, StateFormat::Bf16));
    for (label, format) in in_f32.chain(in_bf16) {
        let mut settings = settings(label, &[]);
        settings.state_format = format;
        let mut together = matrices(&[9, 5], &[1, 2, 3]);
        let mut optim = planned(&settings, &together);
        let mut alone: Vec<Vec<Parameter>> = [1, 2, 3].iter().map(|&seed| matrices(&[9, 5], &[seed])).collect();
        let mut optims: Vec<Optim> = alone.iter().map(|params| planned(&settings, params)).collect();
        for number in 1..8 {
            give_grads(&together, number);
            optim.step(&mut together, 1.0, 1.0, &[false; 3]).unwrap();
            for (optim, params) in optims.iter_mut().zip(&mut alone) {
                give_grads(params, number);
                optim.step(params, 1.0, 1.0, &[false]).unwrap();
            }
        }
        let all = bits(alone.iter().flatten().map(Parameter::handle));
        assert!(all == parameter_bits(&together), "{label}");
        assert!(all != parameter_bits(&matrices(&[9, 5], &[1, 2, 3])), "{label}");
        let state = bits(optims.iter().flat_map(Optim::state).map(|(_, tensor)| tensor));
        assert!(!state.is_empty() && state == bits(optim.state().into_iter().map(|(_, tensor)| tensor)), "{label}");
    }
}

/// What comes back for a parameter takes its place, where it is not written there: other handles must not stay behind.
#[test]
fn handles_to_a_parameter_see_its_step() {
    // muon's step comes back in memory of its own, alone and for two small ones stacked.
    for (label, size) in BY_PASSES.iter().map(|label| (*label, 300)).chain([("muon", 600), ("muon", 20)]) {
        let mut params = matrices(&[size, size], &[1, 2]);
        let mut optim = planned(&settings(label, &[]), &params);
        let (handles, before) = (params.iter().map(Parameter::handle).collect::<Vec<_>>(), parameter_bits(&params));
        for number in 1..4 {
            give_grads(&params, number);
            optim.step(&mut params, 1.0, 1.0, &[false; 2]).unwrap();
            assert!(bits(handles.iter().map(Tensor::shallow_clone)) == parameter_bits(&params), "{label}");
        }
        assert!(before != parameter_bits(&params), "{label}");
        assert!(params.iter().all(|param| param.tensor.is_leaf() && param.tensor.requires_grad()), "{label}");
    }
}
