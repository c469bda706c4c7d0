//! Networks that grow, for every optimizer and every operation: what stays, what follows, what the network computes.
//! The other side of each comparison is the same run made otherwise: never grown, or grown before it was trained.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use host::{
    config::{
        Settings, knobs,
        settings::{Format, GrownState, HyperValue, ModelSettings, OnError, OperationSettings},
    },
    growth::{self, Applied, Operation},
    model::{Gpt, Parameter},
    optim::Optim,
    registry::{Catalogue, Kind, Registry},
};
use sdk::abi::NetworkPlan;
use tch::{Device, Kind as Dtype, Tensor};

const TOKENS: usize = 11;

/// All labels, loaded once.
fn catalogue() -> &'static Catalogue {
    static LOADED: OnceLock<Catalogue> = OnceLock::new();
    LOADED.get_or_init(|| {
        let registry = Registry::open(&support::registry()).unwrap_or_else(|faults| panic!("{faults}"));
        registry.with_plugin_dir(support::plugins()).load_all().unwrap_or_else(|faults| panic!("{faults}"))
    })
}

fn optimizers() -> impl Iterator<Item = &'static str> {
    catalogue().iter().filter(|loaded| loaded.kind == Kind::Optimizer).map(|loaded| loaded.label.as_str())
}

fn plain() -> ModelSettings {
    let sizes = ModelSettings { n_layer: 2, n_head: 2, n_embd: 8, block_size: 8, ..knobs::builtin().model };
    ModelSettings { bias: true, dropout: 0.0, mlp_width: Some(12), ..sizes }
}

fn with_adapters() -> ModelSettings {
    ModelSettings { lora_rank: 2, vocab_lora_divisor: Some(4.0), lora_alpha: 6.0, ..plain() }
}

/// Every operation on the network: its name, its hyper-parameters, and the network that it is tried on.
fn operations() -> Vec<(Operation, ModelSettings)> {
    let word = |name: &str, word: &str| (name.to_string(), HyperValue::Choice(word.to_string()));
    let number = |name: &str, number: f64| (name.to_string(), HyperValue::Number(number));
    let all = vec![
        ("stack-layers", vec![], plain()),
        ("stack-layers", vec![word("mode", "plain"), word("order", "each"), number("times", 3.0)], plain()),
        ("stack-layers", vec![], with_adapters()),
        ("duplicate-layer", vec![], plain()),
        ("widen-mlp", vec![number("factor", 2.5)], plain()),
        ("widen-mlp", vec![], with_adapters()),
        ("set-mlp-width", vec![number("width", 13.0)], plain()),
        ("set-attn-lora-rank", vec![number("rank", 3.0)], plain()),
        ("set-attn-lora-rank", vec![number("rank", 0.0)], with_adapters()),
        ("set-vocab-lora-rank", vec![number("rank", 1.0)], plain()),
        ("decrease-attn-lora-scaling", vec![], with_adapters()),
        ("decrease-vocab-lora-scaling", vec![number("factor", 1.5)], with_adapters()),
        ("merge-lora-weights", vec![], with_adapters()),
        ("resize-vocabulary", vec![number("size", 16.0)], plain()),
        ("resize-vocabulary", vec![number("size", 12.0)], with_adapters()),
        ("freeze-layer", vec![], plain()),
    ];
    all.into_iter().map(|(name, hyper, model)| (operation(name, hyper), model)).collect()
}

fn operation(name: &str, hyper: Vec<(String, HyperValue)>) -> Operation {
    let settings = OperationSettings {
        name: name.to_string(),
        value: None,
        trigger_loss: None,
        max_wait_steps: Some(0),
        reevaluate: false,
        on_error: OnError::Stop,
        note: None,
        hyper: hyper.into_iter().collect(),
    };
    Operation::new(&settings, catalogue(), "a test").unwrap_or_else(|faults| panic!("{faults}"))
}

/// A network and what trains it.
struct Run {
    settings: Settings,
    model: Gpt,
    optim: Optim,
}

impl Run {
    /// A network with values of the size of a trained one's. `still` is a rate at which its values hardly move; nothing
    /// else moves them then, and no eps is added to what the rule keeps.
    fn new(label: &str, sizes: &ModelSettings, format: Format, still: Option<f64>) -> Run {
        let mut settings = Settings { model: sizes.clone(), format, ..knobs::builtin() };
        settings.optimizer.label = label.to_string();
        let loaded = catalogue().get(Kind::Optimizer, label).unwrap();
        let number = HyperValue::Number;
        for (name, value) in still.into_iter().flat_map(|lr| {
            [
                ("lr", number(lr)),
                ("weight_decay", number(0.0)),
                ("eps", number(1e-16)),
                ("relative_step", HyperValue::Flag(false)),
            ]
        }) {
            if loaded.hyper_index(name).is_some() {
                settings.optimizer.hyper.insert(name.to_string(), value);
            }
        }
        let model = Gpt::new(sizes, TOKENS, 5, format, Device::Cpu).unwrap();
        tch::no_grad(|| {
            for parameter in model.parameters() {
                let is_zero = parameter.tensor.abs().max().double_value(&[]) == 0.0;
                let mut tensor = parameter.handle();
                let _ = tensor.g_mul_scalar_(if tensor.dim() == 2 { 10.0 } else { 1.0 });
                if is_zero {
                    tensor.copy_(&(gradient(parameter, &parameter.name) * 0.1));
                }
            }
        });
        let optim = plan(&settings, &model);
        Run { settings, model, optim }
    }

    fn trained(label: &str, sizes: &ModelSettings, format: Format, still: Option<f64>, steps: i64) -> Run {
        let mut run = Run::new(label, sizes, format, still);
        run.train(steps);
        run
    }

    /// Steps by autograd's gradients of the loss on a few tokens, others in every step.
    fn train(&mut self, steps: i64) {
        for step in 0..steps {
            let tokens = tokens(step);
            self.zero_grads();
            self.model.loss(&tokens, &tokens.roll([1], [1]), None).unwrap().backward();
            self.step();
        }
    }

    fn step(&mut self) {
        let parameters = self.model.parameters_mut();
        let skip = vec![false; parameters.len()];
        self.optim.step(parameters, 1.0, 1.0, &skip).unwrap_or_else(|fault| panic!("{fault}"));
    }

    fn zero_grads(&mut self) {
        for parameter in self.model.parameters_mut() {
            parameter.tensor.zero_grad();
        }
    }

    fn plan(&self, operation: &Operation) -> NetworkPlan {
        let network = growth::network(self.model.parameters(), &self.model.facts());
        operation.plan(&network).unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// The run goes on with the network that the operation makes of its own.
    fn grow(&mut self, operation: &Operation) -> Applied {
        let plan = self.plan(operation);
        let (model, mut applied) = growth::grow(&self.model, &plan, 1, 3).unwrap();
        let mut optim = self::plan(&self.settings, &model);
        applied.state =
            optim.carry(&self.optim, (self.model.parameters(), model.parameters()), &plan, GrownState::Carry).unwrap();
        (self.model, self.optim) = (model, optim);
        growth::freeze_as_planned(self.model.parameters_mut(), &plan);
        applied
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        self.optim.state().into_iter().map(|(key, tensor)| (key, tensor.copy())).collect()
    }

    fn parameter(&self, name: &str) -> &Parameter {
        self.model.parameters().iter().find(|one| one.name == name).unwrap()
    }

    fn logits(&self) -> Tensor {
        let tokens = tokens(9);
        // an enlarged vocabulary has rows that stand for no token
        self.model.logits(&tokens).unwrap().narrow(2, 0, TOKENS as i64)
    }
}

fn plan(settings: &Settings, model: &Gpt) -> Optim {
    let source = |key: &str| format!("source of {key}");
    Optim::plan(settings, &source, catalogue(), model.parameters()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn tokens(step: i64) -> Tensor {
    let all = Tensor::arange(24, (Dtype::Int64, Device::Cpu)) * 7 + step * 5;
    all.remainder(TOKENS as i64).reshape([3, 8])
}

/// Gradients that depend on a name alone.
fn gradient(parameter: &Parameter, name: &str) -> Tensor {
    let seed = name.bytes().map(f64::from).sum::<f64>();
    let shape = parameter.tensor.size();
    let n = shape.iter().product::<i64>();
    ((Tensor::arange(n, (Dtype::Double, Device::Cpu)) + seed) * 0.7)
        .sin()
        .to_kind(parameter.tensor.kind())
        .reshape(shape)
}

/// Slots of one parameter.
fn slots<'a>(state: &'a BTreeMap<String, Tensor>, name: &str) -> BTreeMap<&'a str, &'a Tensor> {
    let of = |key: &'a String| key.strip_prefix(name)?.strip_prefix('/');
    state.iter().filter_map(|(key, tensor)| Some((of(key)?, tensor))).collect()
}

/// Names before the colon.
fn names(told: &[String]) -> BTreeSet<&str> {
    told.iter().filter_map(|one| one.split(": ").next()).collect()
}

/// Kept parameters keep every slot and step count to the bit, and their next update is that of a network that never
/// grew. Fresh ones begin as fresh ones do.
#[test]
fn untouched_parameters_go_on_as_if_nothing_had_happened() {
    for label in optimizers() {
        for (operation, sizes) in operations() {
            let about = format!("{label}, {operation}");
            let mut never = Run::trained(label, &sizes, Format::F32, None, 3);
            let mut run = Run::trained(label, &sizes, Format::F32, None, 3);
            let plan = run.plan(&operation);
            let applied = run.grow(&operation);
            let (state, old_state) = (run.state(), never.state());
            let (counts, old_counts) = (run.optim.counts(), never.optim.counts());
            let begun = self::plan(&run.settings, &run.model);
            let begun: BTreeMap<String, Tensor> = begun.state().into_iter().collect();
            let mut kept: Vec<(&str, &str)> = Vec::new();
            for one in &plan.parameters {
                let (name, source) = (one.name.as_str(), one.source.as_str());
                match one.lineage {
                    0 => {
                        assert!(slots(&state, name).into_iter().eq(slots(&begun, name)), "{about}: {name}");
                        assert_eq!(counts[name], 0, "{about}: {name}");
                    }
                    1 => {
                        assert!(slots(&state, name).into_iter().eq(slots(&old_state, source)), "{about}: {name}");
                        assert_eq!(counts[name], old_counts[source], "{about}: {name}");
                        assert_eq!(run.parameter(name).tensor, never.parameter(source).tensor, "{about}: {name}");
                        kept.push((name, source));
                    }
                    _ => {}
                }
            }
            assert!(!kept.is_empty(), "{about}");
            assert!(kept.iter().all(|(name, _)| !names(&applied.state.reset).contains(name)), "{about}: {applied}");

            run.zero_grads();
            never.zero_grads();
            let trained: Vec<(&str, &str)> = kept
                .into_iter()
                .filter(|(name, source)| !run.parameter(name).frozen && !never.parameter(source).frozen)
                .collect();
            for (name, source) in &trained {
                for parameter in [run.parameter(name), never.parameter(source)] {
                    (&parameter.tensor * gradient(parameter, source)).sum(Dtype::Float).backward();
                }
            }
            only(&mut run, &trained.iter().map(|(name, _)| *name).collect());
            only(&mut never, &trained.iter().map(|(_, source)| *source).collect());
            run.step();
            never.step();
            for (name, source) in &trained {
                assert_eq!(
                    run.parameter(name).tensor,
                    never.parameter(source).tensor,
                    "{about}: the next update of {name}"
                );
            }
        }
    }
}

/// Lets the optimizer see gradients of these parameters alone.
fn only(run: &mut Run, names: &BTreeSet<&str>) {
    for parameter in run.model.parameters_mut() {
        parameter.frozen |= !names.contains(parameter.name.as_str());
        let _ = parameter.tensor.set_requires_grad(!parameter.frozen);
    }
}

/// Growing after training leaves the state that training after growing makes, with autograd's gradients: what the maps
/// say of gradients and what rules say of their slots is true. Rates are so small that values stay. Where a slot is
/// said to be approximated or reset, it is not compared.
#[test]
fn carried_state_is_what_training_the_grown_network_makes() {
    // roots and eigenvectors of statistics of so few steps are not determined
    for label in optimizers().filter(|label| !["soap", "shampoo", "shampoo-meta"].contains(label)) {
        for (sizes, factor) in [(plain(), 2.5), (with_adapters(), 2.0)] {
            let operation = operation("widen-mlp", vec![("factor".to_string(), HyperValue::Number(factor))]);
            let about = format!("{label}, {operation}");
            let mut after = Run::trained(label, &sizes, Format::F64, Some(1e-12), 4);
            let applied = after.grow(&operation);
            let mut before = Run::new(label, &sizes, Format::F64, Some(1e-12));
            before.grow(&operation);
            before.train(4);
            let (state, expected) = (after.state(), before.state());
            let (reset, approximated) = (names(&applied.state.reset), &applied.state.approximated);
            let mut compared = 0;
            for (key, tensor) in &state {
                let Some((parameter, slot)) = key.rsplit_once('/') else { continue };
                // nothing moves the loss along a key's bias: its gradient is rounding
                if parameter.ends_with("c_attn.bias")
                    || reset.contains(parameter)
                    || approximated.contains(&format!("{parameter}: {slot}"))
                {
                    continue;
                }
                let other = &expected[key];
                let scale = other.abs().max().double_value(&[]).max(1e-30);
                let error = (tensor - other).abs().max().double_value(&[]) / scale;
                assert!(error < 1e-3, "{about}: {key} differs by {error:.1e} of its largest");
                compared += 1;
            }
            assert!(compared > 0 || state.is_empty(), "{about}: {applied}");
        }
    }
}

/// Where an adapter is merged into a weight, what holds the weight's values moves with them, and the rest stays.
#[test]
fn merged_weights_take_their_state_along() {
    let rank = |rank: f64| operation("set-attn-lora-rank", vec![("rank".to_string(), HyperValue::Number(rank))]);
    for label in optimizers() {
        let mut run = Run::trained(label, &plain(), Format::F64, None, 3);
        run.grow(&rank(2.0));
        run.train(2);
        let name = "transformer.h.1.attn.c_attn.weight";
        let (old, state, count) = (run.parameter(name).tensor.detach().copy(), run.state(), run.optim.counts()[name]);
        let applied = run.grow(&rank(0.0));
        assert!(applied.state.reset.is_empty() && applied.merged == 4, "{label}: {applied}");
        assert_eq!((run.optim.counts()[name], count), (3, 3), "{label}: it was frozen beside its adapter");
        let moved = run.parameter(name).tensor.detach() - &old;
        // its steps are as large as the parameter is, so a B of zeros stays
        let is_stuck = label == "tiger-authors";
        assert_eq!(moved.abs().max().double_value(&[]) == 0.0, is_stuck, "{label}");
        let loaded = catalogue().get(Kind::Optimizer, label).unwrap();
        let declared = loaded.slots_of(&loaded.defaults(), &old.size()).unwrap();
        let after = run.state();
        for (slot, tensor) in slots(&after, name) {
            let degree = declared.iter().find(|one| one.name == slot).unwrap().value_degree;
            let expected = &state[&format!("{name}/{slot}")];
            let expected = if degree == 1 { expected + &moved } else { expected.shallow_clone() };
            let error = (tensor - expected).abs().max().double_value(&[]);
            assert!(error < 1e-12, "{label}: {slot} is {error:.1e} off");
        }
    }
}

/// What an operation promises of the network's output.
#[test]
fn function_preserving_operations_preserve_the_function() {
    for (format, bound) in [(Format::F32, 1e-5), (Format::F64, 1e-12)] {
        for (operation, sizes) in operations() {
            let mut run = Run::trained("adamw", &sizes, format, None, 3);
            let (logits, text) = (run.logits(), operation.to_string());
            let bias = "transformer.h.0.mlp.c_proj.bias";
            let old_bias = run.parameter(bias).tensor.copy();
            run.grow(&operation);
            let apart = (run.logits() - &logits).abs().max().double_value(&[]);
            let is_plain = text.contains("mode=plain");
            let is_exact =
                ["stack-layers", "duplicate-layer", "freeze-layer"].iter().any(|name| text.starts_with(name));
            match (is_plain, is_exact) {
                (true, _) => assert!(apart > 100.0 * bound, "{text}: {apart:.1e}"),
                (false, true) => assert_eq!(apart, 0.0, "{text}"),
                (false, false) => assert!(apart <= bound, "{text} in {format:?}: {apart:.1e}"),
            }
            if text.contains("mlp") {
                assert_eq!(run.parameter(bias).tensor, old_bias, "{text}: the output bias is kept");
            }
        }
    }
}

/// Copies of a unit do not stay copies: their shares differ, so their gradients do.
#[test]
fn copies_of_a_unit_part() {
    let mut run = Run::trained("sgdm", &plain(), Format::F64, None, 2);
    run.grow(&operation("widen-mlp", vec![]));
    let rows = |run: &Run| {
        let weight = run.parameter("transformer.h.0.mlp.c_fc.weight").tensor.detach();
        (weight.narrow(0, 0, 12), weight.narrow(0, 12, 12))
    };
    let (one, other) = rows(&run);
    assert_eq!(one, other);
    run.train(2);
    let (one, other) = rows(&run);
    assert!((one - other).abs().min().double_value(&[]) > 0.0);
}
