//! Every optimizer of the registry against trajectories of reference implementations, step by step.
//!
//! The cases stand in `tests/goldens`, with the script that made them; `GOLDENS_DIR` names another folder. More of the
//! rules' flags stand in `branches/` there, made by the script with `--cases branches/cases`. They go the
//! way of training: registry, plugin, parameter groups, `Optim::step`. Nothing of a case is left out: an option that
//! the plugin does not know is a failure, as is a label of the registry without a case.
//!
//! An option that a reference leaves at `None` is the plugin's 0, `false` or first choice: in our rules 0 stands for
//! "none" wherever a number may be absent.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use host::{
    config::{
        Settings, knobs,
        settings::{GroupSettings, HyperValue},
    },
    model::{Parameter, Role},
    optim::{Optim, clip, labels_wanted},
    registry::{Catalogue, Kind, Registry},
    rules::pass,
    tensor::bytes::from_bytes,
};
use safetensors::SafeTensors;
use sdk::abi::HyperDescriptor;
use serde_json::{Map, Value};
use tch::{Device, Kind as Dtype, Tensor};

/// Options whose value is a list, and the hyper-parameters that its items are.
const LISTS: [(&str, &[&str]); 6] = [
    ("betas", &["beta1", "beta2", "beta3"]),
    ("eps", &["eps1", "eps2"]),
    ("eps2", &["eps1", "eps2"]),
    ("etas", &["eta_minus", "eta_plus"]),
    ("ns_coefficients", &["ns_a", "ns_b", "ns_c"]),
    ("step_sizes", &["step_size_min", "step_size_max"]),
];
/// Options that choose among implementations of one rule, or among storage formats that no case has.
const NOT_OF_THE_RULE: [&str; 2] = ["foreach", "kahan_sum"];
/// An option that says for each parameter what it is, and the hyper-parameter that says it for a group.
const KINDS: (&str, &str) = ("kinds", "kind");

/// A folder of goldens.
struct Goldens {
    cases: Vec<Value>,
    data: Vec<u8>,
}

impl Goldens {
    /// Those of every label.
    fn open() -> Goldens {
        let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens");
        Goldens::of(&std::env::var_os("GOLDENS_DIR").map_or(default, PathBuf::from))
    }

    /// Flags and numbers that the others leave at their defaults.
    fn branches() -> Goldens {
        Goldens::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/branches"))
    }

    fn of(folder: &Path) -> Goldens {
        let read = |name: &Path| fs::read(name).unwrap_or_else(|error| panic!("{}: {error}", name.display()));
        // A set may have any name: the index names its data.
        let is_index = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let index: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(is_index).collect();
        assert_eq!(index.len(), 1, "one index (*.json) in {}", folder.display());
        let index: Value = serde_json::from_slice(&read(&index[0])).unwrap();
        let data = read(&folder.join(index["data_file"].as_str().expect("data_file")));
        Goldens { cases: index["cases"].as_array().expect("cases").clone(), data }
    }

    fn labels(&self) -> BTreeSet<&str> {
        self.cases.iter().map(|case| case["label"].as_str().expect("label")).collect()
    }
}

/// The plugins of the registry, as runs get them.
struct Plugins {
    registry: Registry,
    of_label: BTreeMap<String, Catalogue>,
}

impl Plugins {
    fn open() -> Plugins {
        let registry = Registry::open(&support::registry()).unwrap_or_else(|faults| panic!("{faults}"));
        let registry = registry.with_plugin_dir(support::plugins());
        let resolve = |label: &str| {
            let wanted = labels_wanted(&settings_of(label), &registry, &|key| key.to_string());
            registry.resolve(&wanted).unwrap_or_else(|faults| panic!("{faults}"))
        };
        let labels = registry.labels(Kind::Optimizer);
        let of_label = labels.into_iter().map(|label| (label.to_string(), resolve(label))).collect();
        Plugins { registry, of_label }
    }
}

fn settings_of(label: &str) -> Settings {
    let mut settings = knobs::builtin();
    settings.optimizer.label = label.to_string();
    settings
}

/// One case in one element type.
struct Replay<'a> {
    case: &'a Value,
    tensors: &'a SafeTensors<'a>,
    dtype: Dtype,
}

impl Replay<'_> {
    fn name_of_dtype(&self) -> &'static str {
        if self.dtype == Dtype::Double { "f64" } else { "f32" }
    }

    fn tensor(&self, key: &str) -> Result<Tensor, String> {
        let view = self.tensors.tensor(key).map_err(|error| format!("{key}: {error}"))?;
        from_bytes(view.dtype(), view.shape(), view.data(), Device::Cpu).map_err(|fault| fault.to_string())
    }

    /// Largest distance from the reference over all steps and parameters. `nudge` changes a hyper-parameter on the way.
    fn distance(&self, plugins: &Plugins, nudge: Option<(&str, f64)>) -> Result<f64, String> {
        let case = self.case;
        let (name, set, ty) = (text(case, "name")?, text(case, "inputs")?, self.name_of_dtype());
        let catalogue = &plugins.of_label[text(case, "label")?];
        let settings = self.settings(catalogue, nudge)?;
        let steps = case["steps"].as_u64().ok_or("no steps")? as usize;
        let count = case["shapes"].as_array().ok_or("no shapes")?.len();

        let mut params = Vec::new();
        for p in 0..count {
            let init = self.tensor(&format!("in/{set}/init/p{p}"))?.to_kind(self.dtype);
            let role = if init.dim() >= 2 { Role::Matrix } else { Role::Vector };
            let name = format!("g{}.{}.p{p}", self.group_of(p)?, self.kind_of(p).unwrap_or("any"));
            params.push(Parameter { name, role, layer: None, tensor: init, frozen: false });
        }
        let grads = (0..count).map(|p| self.tensor(&format!("in/{set}/grad/p{p}"))).collect::<Result<Vec<_>, _>>()?;
        let outs = (0..count).map(|p| self.tensor(&format!("out/{name}/{ty}/p{p}"))).collect::<Result<Vec<_>, _>>()?;
        let source = |key: &str| key.to_string();
        let mut optim = Optim::plan(&settings, &source, catalogue, &params).map_err(|faults| faults.to_string())?;

        let mut worst = 0.0f64;
        for step in 0..steps {
            for (p, param) in params.iter_mut().enumerate() {
                // A leaf of its own for each step, so that a parameter may have no gradient.
                param.tensor = param.tensor.detach().copy().set_requires_grad(true);
                if !self.without_grad(step, p) {
                    let grad = grads[p].get(step as i64).to_kind(self.dtype);
                    (&param.tensor * grad).sum(self.dtype).backward();
                }
            }
            let norm = clip::measure(&params).map_err(|fault| fault.to_string())?;
            let factor =
                case["lr_factors"].as_array().map_or(Some(1.0), |all| all[step].as_f64()).ok_or("lr_factors")?;
            let report = optim.step(&mut params, factor, norm.norm, &vec![false; count]);
            report.map_err(|fault| fault.to_string())?;
            for (p, param) in params.iter().enumerate() {
                let grad = param.tensor.grad();
                if grad.defined() && grad != grads[p].get(step as i64).to_kind(self.dtype) {
                    return Err(format!("the gradient of p{p} was changed in step {step}"));
                }
                let reference = outs[p].get(step as i64).to_kind(Dtype::Double);
                worst = worst.max(distance(&param.tensor.detach(), &reference));
            }
        }
        if self.tensors.names().iter().any(|key| key.starts_with(&format!("out/{name}/{ty}/eval/"))) {
            let weights = optim.eval_weights(&params).map_err(|fault| fault.to_string())?;
            if weights.len() != count {
                return Err(format!(
                    "{} of {count} parameters have weights of their own to evaluate at",
                    weights.len()
                ));
            }
            for (p, found) in weights {
                let reference = self.tensor(&format!("out/{name}/{ty}/eval/p{p}"))?.to_kind(Dtype::Double);
                worst = worst.max(distance(&found, &reference));
            }
        }
        Ok(worst)
    }

    /// One parameter group per group of the case and kind of parameter, with every option of the reference as a
    /// hyper-parameter.
    fn settings(&self, catalogue: &Catalogue, nudge: Option<(&str, f64)>) -> Result<Settings, String> {
        let label = text(self.case, "label")?;
        let mut settings = settings_of(label);
        let schema = catalogue.get(Kind::Optimizer, label).ok_or("not resolved")?.schema();
        for (index, options) in self.options()?.into_iter().enumerate() {
            let mut hyper = hyper_values(&options, schema)?;
            if let Some((name, factor)) = nudge
                && let Some(HyperValue::Number(value)) = hyper.get_mut(name)
            {
                *value *= factor;
            }
            let kinds: BTreeSet<&str> = options
                .get(KINDS.0)
                .and_then(Value::as_array)
                .map_or_else(|| BTreeSet::from(["any"]), |kinds| kinds.iter().filter_map(Value::as_str).collect());
            for kind in kinds {
                let mut hyper = hyper.clone();
                if kind != "any" {
                    hyper.insert(KINDS.1.to_string(), HyperValue::Choice(kind.to_string()));
                }
                let pattern = Some(format!("g{index}.{kind}.*"));
                settings.group.push(GroupSettings {
                    pattern,
                    roles: Vec::new(),
                    optimizer: None,
                    state_format: None,
                    hyper,
                });
            }
        }
        Ok(settings)
    }

    /// The options of every group; those of a case that lists only what it sets are those, and the grafting.
    fn options(&self) -> Result<Vec<Map<String, Value>>, String> {
        let table = |value: &Value| value.as_object().cloned().ok_or("the options are no table".to_string());
        if let Some(groups) = self.case["hyper_full"].as_array() {
            return groups.iter().map(table).collect();
        }
        let mut options = table(&self.case["hyper"])?;
        if let Some(grafting) = self.case.get("grafting") {
            options.insert("grafting".to_string(), grafting.clone());
        }
        Ok(vec![options])
    }

    fn kind_of(&self, parameter: usize) -> Option<&str> {
        self.case["hyper_full"][0][KINDS.0][parameter].as_str()
    }

    fn group_of(&self, parameter: usize) -> Result<usize, String> {
        let Some(groups) = self.case["groups"].as_array() else { return Ok(0) };
        let has = |group: &Value| {
            group["params"].as_array().is_some_and(|all| all.iter().any(|p| p.as_u64() == Some(parameter as u64)))
        };
        groups.iter().position(has).ok_or_else(|| format!("p{parameter} is in no group"))
    }

    fn without_grad(&self, step: usize, parameter: usize) -> bool {
        let is_this =
            |pair: &Value| pair[0].as_u64() == Some(step as u64) && pair[1].as_u64() == Some(parameter as u64);
        self.case["no_grad"].as_array().is_some_and(|pairs| pairs.iter().any(is_this))
    }
}

/// The options of a reference as hyper-parameters of the plugin.
fn hyper_values(
    options: &Map<String, Value>,
    schema: &[HyperDescriptor],
) -> Result<BTreeMap<String, HyperValue>, String> {
    let mut values = BTreeMap::new();
    for (option, value) in options {
        if NOT_OF_THE_RULE.contains(&option.as_str()) || option == KINDS.0 {
            continue;
        }
        let items: Vec<(&str, &Value)> = match (value, LISTS.iter().find(|(list, _)| list == option)) {
            (Value::Array(items), Some((_, names))) => names.iter().copied().zip(items).collect(),
            _ => vec![(option.as_str(), value)],
        };
        for (name, value) in items {
            let known = schema.iter().find(|hyper| hyper.name == name);
            let known = known.ok_or_else(|| format!("the plugin has no hyper-parameter for `{option}` = {value}"))?;
            let value = match value {
                Value::Number(number) => HyperValue::Number(number.as_f64().ok_or("a number beyond f64")?),
                Value::Bool(flag) => HyperValue::Flag(*flag),
                Value::String(choice) => HyperValue::Choice(choice.clone()),
                Value::Null => match known.kind.as_str() {
                    "number" => HyperValue::Number(0.0),
                    "flag" => HyperValue::Flag(false),
                    _ => HyperValue::Choice(known.choices[0].to_string()),
                },
                other => return Err(format!("`{option}` = {other} stands for nothing the plugin could be given")),
            };
            values.insert(name.to_string(), value);
        }
    }
    Ok(values)
}

/// How far a trajectory may be from its reference. A case that does not say so says how far f32 is from f64.
fn tolerance(case: &Value, ty: &str) -> Result<f64, String> {
    if let Some(tolerance) = case["tolerance"][ty].as_f64() {
        return Ok(tolerance);
    }
    let measured = case["f32_vs_f64_max_abs"].as_f64().ok_or("no tolerance, and none can be derived")?;
    // Its f64 is f32 in places: that much an independent f64 is off in the case that has one.
    let independent = case["check"]["max_abs_diff_f64"].as_f64().unwrap_or(5e-9);
    Ok(if ty == "f64" { 2.0 * independent } else { (16.0 * measured).max(4e-6) })
}

fn distance(found: &Tensor, reference: &Tensor) -> f64 {
    let off = (found.to_kind(Dtype::Double) - reference).abs().max().double_value(&[]);
    if off.is_nan() { f64::INFINITY } else { off }
}

fn text<'a>(case: &'a Value, key: &str) -> Result<&'a str, String> {
    case[key].as_str().ok_or_else(|| format!("no {key}"))
}

const DTYPES: [(Dtype, &str); 2] = [(Dtype::Double, "f64"), (Dtype::Float, "f32")];

#[test]
fn every_optimizer_follows_its_reference() {
    // A set of someone's own may be about a few labels.
    let all = std::env::var_os("GOLDENS_DIR").is_none();
    follow(&Goldens::open(), &Plugins::open(), all, |_| true);
}

#[test]
fn every_branch_follows_its_reference() {
    follow(&Goldens::branches(), &Plugins::open(), false, |_| true);
}

/// What a card runs of a rule over whole tensors: its passes by their expressions.
#[test]
fn passes_by_their_expressions_follow_the_references() {
    pass::by_expression(true);
    let plugins = Plugins::open();
    let loaded = |label: &str| plugins.of_label[label].get(Kind::Optimizer, label);
    let by_passes = |label: &str| loaded(label).is_some_and(|loaded| loaded.alone_from().is_some());
    for goldens in [Goldens::open(), Goldens::branches()] {
        follow(&goldens, &plugins, false, by_passes);
    }
    pass::by_expression(false);
}

/// Replays every case of the labels that `taken` says; with `all`, every label of the registry must have one.
fn follow(goldens: &Goldens, plugins: &Plugins, all: bool, taken: impl Fn(&str) -> bool) {
    let tensors = SafeTensors::deserialize(&goldens.data).unwrap();
    let known: BTreeSet<&str> = plugins.registry.labels(Kind::Optimizer).into_iter().collect();
    let labels: BTreeSet<&str> = known.iter().copied().filter(|label| taken(label)).collect();
    let mut failures = Vec::new();
    let mut replayed: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for case in goldens.cases.iter().filter(|case| labels.contains(case["label"].as_str().unwrap_or_default())) {
        let (name, label) = (text(case, "name").unwrap(), text(case, "label").unwrap());
        if case["portable"] == Value::Bool(false) {
            println!("{name}: not compared, its bits depend on the LAPACK");
            continue;
        }
        for (dtype, ty) in DTYPES {
            let distance = Replay { case, tensors: &tensors, dtype }.distance(plugins, None);
            match (distance, tolerance(case, ty)) {
                (Ok(off), Ok(tolerance)) if off <= tolerance => {
                    let (cases, worst) = replayed.entry(label).or_default();
                    (*cases, *worst) = (*cases + 1, worst.max(off / tolerance));
                }
                (Ok(off), Ok(tolerance)) => {
                    failures.push(format!("{name} {ty}: off by {off:.2e}, tolerance {tolerance:.2e}"))
                }
                (Err(error), _) | (_, Err(error)) => failures.push(format!("{name} {ty}: {error}")),
            }
        }
    }
    for (label, (cases, worst)) in &replayed {
        println!("{label}: {cases} trajectories, at most {worst:.2} of the tolerance");
    }
    for label in goldens.labels().difference(&known) {
        failures.push(format!("{label}: not in the registry"));
    }
    if all {
        for label in labels.difference(&goldens.labels()) {
            failures.push(format!("{label}: no case"));
        }
    }
    assert!(!replayed.is_empty(), "no case was replayed");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_learning_rate_off_by_a_tenth_is_noticed() {
    let (goldens, plugins) = (Goldens::open(), Plugins::open());
    let tensors = SafeTensors::deserialize(&goldens.data).unwrap();
    for label in plugins.registry.labels(Kind::Optimizer).into_iter().filter(|label| goldens.labels().contains(label)) {
        let mut noticed = false;
        let comparable = |case: &&Value| case["label"] == *label && case["portable"] != Value::Bool(false);
        for case in goldens.cases.iter().filter(comparable) {
            let replay = Replay { case, tensors: &tensors, dtype: Dtype::Float };
            let tolerance = tolerance(case, "f32").unwrap();
            noticed |= replay.distance(&plugins, Some(("lr", 1.1))).is_ok_and(|off| off > tolerance);
        }
        assert!(noticed, "{label}: its learning rate can be off by a tenth");
    }
}
