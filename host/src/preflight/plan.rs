//! From an order to the list of runs. Everything that can be refused is refused here, before any run is started.
//! Starts nothing and writes nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    Order, Via,
    ask::{Ask, Change},
    sending::{self, LABEL, SEED, Told},
    shape,
};
use crate::{
    config::{
        self, Resolved, Settings, Value,
        settings::HyperValue,
        write::{CONFIG, config_toml},
    },
    fault::{Exit, Fault, Faults},
    registry::{Kind, Loaded, Registry, lock::hex},
    run::record::RegistryRecord,
    train::{Prepared, prepare},
};

/// Seeds of check 1.
pub const SEEDS: u64 = 4;

/// The label that nobody has, unless somebody does: then it grows.
const FAKE: &str = "no-such-optimizer";

/// What the checks need to know of a label.
#[derive(Clone, Debug)]
pub struct Subject {
    /// As the fleet writes it.
    pub label: String,
    /// As the plugin reports it; another where the fleet writes an alias.
    pub reports: String,
    /// Whether the fleet will use it, or it is here as the default optimizer alone.
    pub listed: bool,
    /// Labels of the plan that are knowingly the same rule.
    pub same_rule: Vec<String>,
    /// Its learning rate and another one; none where the rule has none.
    pub lr: Option<(f64, f64)>,
    /// Why its plugin says that another learning rate changes nothing.
    pub lr_exception: Option<String>,
    /// Why its plugin says that another schedule changes nothing.
    pub schedule_exception: Option<String>,
}

/// Where the settings of the runs come from.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ConfigRecord {
    /// The configuration file.
    pub file: Option<String>,
    /// SHA-256 of its bytes.
    pub sha256: Option<String>,
    /// The preset.
    pub preset: Option<String>,
    /// SHA-256 of all settings as one configuration file, before seed and label are sent and runs are shortened.
    pub settings_sha256: String,
}

/// What will be run.
pub struct Plan {
    /// What was asked for.
    pub order: Order,
    /// The registry of every run.
    pub registry: RegistryRecord,
    /// The folder of its plugins.
    pub plugin_dir: PathBuf,
    /// Where settings come from.
    pub config: ConfigRecord,
    /// Where the fleet's runs will lie, where the configuration says it.
    pub runs_dir: Option<PathBuf>,
    /// Labels, in the order of the list; the default optimizer last where it is not in the list.
    pub subjects: Vec<Subject>,
    /// Label of the default optimizer, as one of the subjects.
    pub default: String,
    /// Seeds of check 1; the others use the first.
    pub seeds: Vec<u64>,
    /// Steps of a run of the gate.
    pub steps: u64,
    /// Steps of a run of the fleet.
    pub fleet_steps: u64,
    /// The fleet's scheduled operations, such as `schedule.0 widen-mlp`.
    pub operations: Vec<String>,
    /// Looks at the network before its first step.
    pub start: Ask,
    /// Sends a label that is not in the registry.
    pub fake: Ask,
    /// All runs that should end well.
    pub asks: Vec<Ask>,
}

/// Looks at everything, and lists the runs.
///
/// # Errors
/// All that is wrong with the list of labels (U030), with a flag that is not for the gate (U031), with configuration,
/// registry and plugins, and with the way in which seed and label are sent (G009); each once.
pub fn plan(order: Order) -> Result<Plan, Faults> {
    let mut faults = usage(&order);
    let own = [LABEL, SEED, "train.steps"];
    let passed = sending::without(order.flags.clone(), &own);
    let unsent = Told { flags: passed, variables: sending::unsent(order.via, order.variables.clone()) };
    let fleet = examine(&unsent, &order, &mut faults);
    let asked = Told { flags: order.flags.clone(), variables: order.variables.clone() };
    let asked = examine(&asked, &order, &mut faults);
    faults.take(sending::arrives(order.via, &fleet));
    let Some(registry) = faults.take(find(&order)) else { return Err(once(faults)) };

    let steps = order.flags.values.iter().find(|(key, _)| *key == "train.steps").map(|(_, value)| value.integer());
    let steps = steps.unwrap_or_else(|| shape::steps(fleet.settings.train.steps, &fleet.settings.schedule));
    let seed = asked.settings.seed;
    let told = Told { flags: shape::shortened(unsent.flags, &fleet.settings, steps), variables: unsent.variables };

    let (labels, default) = labels(&order, &asked, &registry, &mut faults);
    let mut prepared: Vec<(String, Prepared)> = Vec::new();
    for label in labels {
        let resolved = resolve(&told.clone().sending(order.via, &label, seed), &order);
        let ready = prepare(resolved, Some(&registry.path), Some(registry.plugin_dir()));
        prepared.extend(faults.take(ready).map(|ready| (label, ready)));
    }
    if let Err(faults) = faults.check() {
        return Err(once(faults));
    }

    let seeds: Vec<u64> = (0..SEEDS).map(|i| seed.wrapping_add(i)).collect();
    let maker = Maker { order: &order, told: &told, seed };
    let (mut asks, mut subjects, mut faults) = (Vec::new(), Vec::new(), Faults::none());
    for (label, ready) in &prepared {
        let subject = subject(label, ready, &prepared, order.optimizers.contains(label))?;
        let more: &[u64] = if *label == default { &seeds[1..] } else { &[] };
        asks.extend(maker.runs(&subject, &ready.resolved.settings, more, &mut faults));
        subjects.push(subject);
    }
    faults.check().map_err(once)?;
    // First what every check stands on.
    asks.sort_by_key(|ask| ask.change != Change::None);

    let settings = &prepared[0].1.resolved.settings;
    let start = maker.ask(&prepared[0].0, seed, settings);
    let fake = unregistered(&registry);
    let mut fake = maker.ask(&fake, seed, &labelled(settings, &fake));
    fake.name = "unregistered".into();
    Ok(Plan {
        registry: RegistryRecord {
            path: absolute(&registry.path).display().to_string(),
            sha256: registry.sha256.clone(),
            lock: registry.lock_state().to_string(),
        },
        plugin_dir: absolute(registry.plugin_dir()),
        config: config_record(&fleet),
        runs_dir: fleet.settings.run.dir.as_deref().and_then(Path::parent).map(Path::to_path_buf),
        subjects,
        default,
        seeds,
        steps,
        fleet_steps: fleet.settings.train.steps,
        operations: operations(&fleet.settings),
        start,
        fake,
        asks,
        order,
    })
}

/// Makes runs as the fleet would.
struct Maker<'a> {
    order: &'a Order,
    told: &'a Told,
    seed: u64,
}

impl Maker<'_> {
    fn ask(&self, label: &str, seed: u64, settings: &Settings) -> Ask {
        if self.order.via == Via::Config {
            // Another file in place of the fleet's, with all that the fleet's says and the two.
            let flags = sending::without(self.told.flags.clone(), &["config", "preset"]);
            let told = Told { flags, variables: self.told.variables.clone() };
            return Ask::new(label, seed, told, Some(config_toml(&Settings { seed, ..settings.clone() })));
        }
        Ask::new(label, seed, self.told.clone().sending(self.order.via, label, seed), None)
    }

    /// All runs of a label: as it is and once more; at `more` seeds; where the fleet uses it, at another rate and with
    /// another schedule.
    fn runs(&self, subject: &Subject, settings: &Settings, more: &[u64], faults: &mut Faults) -> Vec<Ask> {
        let run = self.ask(&subject.label, self.seed, settings);
        let mut asks = vec![run.clone()];
        asks.extend(more.iter().map(|seed| self.ask(&subject.label, *seed, settings)));
        asks.push(run.with(Change::Again, String::new(), run.told.clone()));
        if let Some((lr, other)) = subject.lr.filter(|_| subject.listed) {
            let flags = sending::with(run.told.flags.clone(), "optimizer.lr", Value::Number(other));
            asks.push(run.with(Change::Lr, format!("lr {lr} → {other}"), Told { flags, ..run.told.clone() }));
        }
        if subject.listed {
            let (flags, changed) = shape::another_schedule(run.told.flags.clone(), settings);
            let told = Told { flags, ..run.told.clone() };
            examine(&told, self.order, faults);
            asks.push(run.with(Change::Schedule, changed, told));
        }
        asks
    }
}

/// What the checks need to know of a label.
fn subject(label: &str, ready: &Prepared, all: &[(String, Prepared)], listed: bool) -> Result<Subject, Faults> {
    let loaded = loaded(label, ready)?;
    let exception = |check| sdk::conformance::exception(&loaded.descriptor, check).map(str::to_string);
    Ok(Subject {
        label: label.to_string(),
        reports: loaded.label.clone(),
        listed,
        same_rule: same_rule(loaded, all)?,
        lr: lr(&ready.resolved.settings, loaded).map(|(lr, high)| (lr, shape::another_lr(lr, high))),
        lr_exception: exception(sdk::conformance::LR_DOUBLED),
        schedule_exception: exception(sdk::conformance::SCHEDULE_CHANGED),
    })
}

fn usage(order: &Order) -> Faults {
    let mut faults = Faults::none();
    let unusable = |message: String| {
        Fault::new("U030", Exit::Usage, message).at(format!("--optimizers {}", order.optimizers.join(",")))
    };
    if order.optimizers.iter().all(String::is_empty) {
        let fault =
            unusable("there is no label to look at, and a gate that looks at nothing lets nothing through".into());
        faults.push(fault.hint("name every label that the fleet will use: `--optimizers adamw,lion,muon`"));
    } else if order.optimizers.iter().any(String::is_empty) {
        faults.push(unusable("one of the labels is empty".into()).hint("is there a comma too many?"));
    }
    if let Some((_, value)) = order.flags.values.iter().find(|(key, _)| *key == "run.dir") {
        let fault = Fault::new("U031", Exit::Usage, "the runs of the gate have directories of their own");
        faults.push(fault.at(format!("--run-dir {value}")).hint("`--keep=DIR` names the folder in which they lie"));
    }
    faults
}

fn resolve(told: &Told, order: &Order) -> (Resolved, Faults) {
    config::examine(&told.flags, &told.variables, &order.cwd)
}

fn examine(told: &Told, order: &Order, faults: &mut Faults) -> Resolved {
    let (resolved, found) = resolve(told, order);
    faults.0.extend(found.0);
    resolved
}

fn find(order: &Order) -> Result<Registry, Faults> {
    let registry = Registry::find(order.registry.as_deref())?;
    Ok(match &order.plugin_dir {
        Some(folder) => registry.with_plugin_dir(folder),
        None => registry,
    })
}

/// The labels that are to run, and which of them is the default optimizer.
fn labels(order: &Order, asked: &Resolved, registry: &Registry, faults: &mut Faults) -> (Vec<String>, String) {
    // Label of an entry → as it was written first.
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut labels = Vec::new();
    for label in order.optimizers.iter().filter(|label| !label.is_empty()) {
        let place = format!("--optimizers {label}");
        let Some(entry) = faults.take(registry.known(Kind::Optimizer, label, &place)) else { continue };
        match known.insert(entry.label.clone(), label.clone()) {
            Some(other) if other == *label => {
                faults.push(Fault::new("U030", Exit::Usage, format!("`{label}` is listed twice")).at(place));
            }
            Some(other) => {
                let message = format!("`{label}` and `{other}` are one label: the one is an alias of the other");
                faults.push(Fault::new("U030", Exit::Usage, message).at(place).hint("list one of them"));
            }
            None => labels.push(label.clone()),
        }
    }
    let place = asked.origins.place(LABEL);
    let Some(named) = asked.label().or(registry.default_optimizer()) else {
        return (labels.clone(), labels.first().cloned().unwrap_or_default());
    };
    let place = place.unwrap_or_else(|| format!("{}  default-optimizer", registry.path.display()));
    let Some(entry) = faults.take(registry.known(Kind::Optimizer, named, &place)) else {
        return (labels, named.to_string());
    };
    let default = known.get(&entry.label).cloned().unwrap_or_else(|| {
        labels.push(named.to_string());
        named.to_string()
    });
    if let ([only], false) = (labels.as_slice(), known.is_empty()) {
        let message = format!("`{only}` is the only label and the default optimizer: there is no pair to tell apart");
        let fault = Fault::new("U030", Exit::Usage, message).at(format!("--optimizers {only}"));
        faults.push(fault.hint("list another label beside it, or another default optimizer: `--optimizer LABEL`"));
    }
    (labels, default)
}

fn loaded<'a>(label: &str, ready: &'a Prepared) -> Result<&'a Loaded, Faults> {
    ready.catalogue.get(Kind::Optimizer, label).map(|loaded| &**loaded).ok_or_else(|| {
        let message =
            format!("`{label}` would not arrive: the runs resolve `{}`", ready.resolved.settings.optimizer.label);
        Fault::new(super::faults::OUTRANKED, Exit::Config, message).into()
    })
}

/// The learning rate of the main optimizer, and the highest that it takes.
fn lr(settings: &Settings, loaded: &Loaded) -> Option<(f64, f64)> {
    let schema = &loaded.schema()[loaded.hyper_index("lr")?];
    match settings.optimizer.hyper.get("lr") {
        Some(HyperValue::Number(lr)) => Some((*lr, schema.high)),
        _ => None,
    }
}

/// Other labels with the same rule. The registry has been asked: where two fingerprints are equal, an entry says so.
fn same_rule(of: &Loaded, prepared: &[(String, Prepared)]) -> Result<Vec<String>, Faults> {
    let mut same = Vec::new();
    for (label, ready) in prepared {
        let other = loaded(label, ready)?;
        let declared = |one: &Loaded, another: &Loaded| one.entry.same_rule_as.as_ref() == Some(&another.label);
        let equal = of.fingerprint().is_some() && of.fingerprint() == other.fingerprint();
        if other.label != of.label && (equal || declared(of, other) || declared(other, of)) {
            same.push(label.clone());
        }
    }
    Ok(same)
}

/// A label that the registry does not have.
fn unregistered(registry: &Registry) -> String {
    let mut label = FAKE.to_string();
    while registry.entry(Kind::Optimizer, &label).is_some() {
        label.push_str("-x");
    }
    label
}

fn labelled(settings: &Settings, label: &str) -> Settings {
    let mut settings = settings.clone();
    settings.optimizer.label = label.to_string();
    settings
}

fn operations(fleet: &Settings) -> Vec<String> {
    fleet.schedule.iter().enumerate().map(|(number, one)| format!("schedule.{number} {}", one.name)).collect()
}

fn config_record(fleet: &Resolved) -> ConfigRecord {
    let bytes = fleet.config_file.as_ref().and_then(|path| std::fs::read(path).ok());
    ConfigRecord {
        file: fleet.config_file.as_ref().map(|path| path.display().to_string()),
        sha256: bytes.map(|bytes| hex(&Sha256::digest(bytes))),
        preset: fleet.preset.map(str::to_string),
        settings_sha256: hex(&Sha256::digest(config_toml(&fleet.settings))),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Every fault once: those of the configuration are found with every label.
fn once(faults: Faults) -> Faults {
    let mut texts: Vec<String> = Vec::new();
    let mut kept = Faults::none();
    for fault in faults.0 {
        let text = fault.to_string();
        if !texts.contains(&text) {
            texts.push(text);
            kept.push(fault);
        }
    }
    kept
}

/// Name of the configuration file that a run is given.
pub fn config_name(ask: &Ask) -> String {
    format!("{}.{CONFIG}", ask.name)
}
