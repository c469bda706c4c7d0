//! Which optimizer takes which parameter, and with which hyper-parameters.
//! Does not load plugins and keeps no state.
//!
//! Without groups in the configuration, the main optimizer takes every role, except those that its registry entry gives
//! to a companion; and vectors (biases, gains) are a group of their own with `weight_decay = 0`, as in nanoGPT, where
//! only tensors of two or more dimensions decay. The user's `optimizer.*` values are the main optimizer's; the
//! companion runs with its own. With groups in the configuration, they alone decide: the first that takes a
//! parameter has it.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    hyper::{self, Hyper, Layer},
    pattern,
};
use crate::{
    config::{
        Settings,
        choice::Choice,
        settings::{GroupSettings, HyperValue, StateFormat},
    },
    fault::{Exit, Fault, Faults, nearest},
    growth::changes_network,
    model::{Parameter, Role},
    registry::{Catalogue, Companion, Kind, Loaded, Registry, Wanted},
};

/// Where the value of a key such as `optimizer.lr` or `group.0.lr` came from.
pub type Source<'a> = &'a dyn Fn(&str) -> String;

/// The hyper-parameter that decouples decay; switched off for vectors in the default groups.
const WEIGHT_DECAY: &str = "weight_decay";

/// One parameter group.
pub struct Group {
    /// Which parameters it takes, for people: `roles matrix, embedding` or `pattern *.bias`.
    pub takes: String,
    /// Its optimizer.
    pub loaded: Arc<Loaded>,
    /// Its hyper-parameters.
    pub hyper: Hyper,
    /// Its parameters, as indices into the model's.
    pub members: Vec<usize>,
    /// The element type of its state.
    pub state_format: Asked,
}

/// An element type of state, and who asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What is asked for.
    pub format: StateFormat,
    /// Whether the group asks for itself; else the run asks for all groups.
    pub by_group: bool,
    /// Where it is written, for faults.
    pub place: String,
}

/// One line of the table of groups.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    /// Which parameters it takes, for people.
    pub takes: String,
    /// Label of its optimizer.
    pub optimizer: String,
    /// Tensors in it.
    pub tensors: usize,
    /// Elements of all of them.
    pub parameters: u64,
    /// Every hyper-parameter: name, value, where it came from.
    pub hyper: Vec<(String, String, String)>,
    /// Bytes of optimizer state.
    pub state_bytes: u64,
    /// Slots in bf16, by name; then all others. Without a slot in bf16 the others are not listed.
    pub narrow: (Vec<String>, Vec<String>),
}

impl GroupRow {
    /// The formats of its state: `f32`, or `bf16: exp_avg; f32: exp_avg_sq`.
    pub fn state_format(&self) -> Option<String> {
        let (narrow, wide) = &self.narrow;
        let wide = if wide.is_empty() { String::new() } else { format!("; f32: {}", wide.join(", ")) };
        (!narrow.is_empty()).then(|| format!("bf16: {}{wide}", narrow.join(", ")))
    }

    /// The value of a hyper-parameter as text, if the optimizer has it.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.hyper.iter().find(|(known, _, _)| known == name).map(|(_, value, _)| value.as_str())
    }
}

/// All labels that a run will use, so that they are resolved together and before anything else. `place` says where a
/// key such as `optimizer.label` was written, as a fault shows it: `my.toml:12  optimizer.label = "lion"`.
pub fn labels_wanted(settings: &Settings, registry: &Registry, place: &dyn Fn(&str) -> String) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut want = |kind, label: &str, key: String| {
        wanted.push(Wanted { kind, label: label.to_string(), place: place(&key) });
    };
    want(Kind::Optimizer, &settings.optimizer.label, "optimizer.label".into());
    for (index, group) in settings.group.iter().enumerate() {
        if let Some(label) = &group.optimizer {
            want(Kind::Optimizer, label, format!("group.{index}.optimizer"));
        }
    }
    for (index, projection) in settings.projection.iter().enumerate() {
        want(Kind::Projection, &projection.label, format!("projection.{index}.label"));
    }
    // what no registry has is refused by `growth::unknown`, which knows the host's operations too
    let in_registry = |name: &str| registry.entry(Kind::ArchOp, name).is_some();
    for (index, operation) in settings.schedule.iter().enumerate().filter(|(_, one)| in_registry(&one.name)) {
        want(Kind::ArchOp, &operation.name, format!("schedule.{index}.name"));
    }
    let main = registry.entry(Kind::Optimizer, &settings.optimizer.label);
    if let Some(companion) = main.and_then(|entry| entry.companion.as_ref()).filter(|_| settings.group.is_empty()) {
        let label = companion.optimizer.clone();
        wanted.push(Wanted { kind: Kind::Optimizer, label, place: companion.place.clone() });
    }
    wanted
}

/// Gives every parameter to one group.
///
/// # Errors
/// Everything that is wrong: a role that does not exist (C040), a group (C041) or the main optimizer (C042) that takes
/// nothing, a parameter that no group takes (C043) or that its optimizer cannot take (C044), a hyper-parameter that
/// does not fit (R008).
pub fn plan(
    settings: &Settings,
    source: Source<'_>,
    catalogue: &Catalogue,
    params: &[Parameter],
) -> Result<Vec<Group>, Faults> {
    let main = find(catalogue, &settings.optimizer.label)?;
    let mut faults = Faults::none();
    let outlines = if settings.group.is_empty() {
        default_outlines(catalogue, &main, params)?
    } else {
        let outlines = written_outlines(settings, catalogue, &main, params, source, &mut faults);
        if outlines.iter().all(|outline| outline.loaded.label != main.label) {
            let place = format!("{}  optimizer.label = \"{}\"", source("optimizer.label"), settings.optimizer.label);
            let text = format!("optimizer `{}` takes no parameter: the groups give all to others", main.label);
            faults.push(
                Fault::new("C042", Exit::Config, text).at(place).hint("name one of the groups' optimizers there"),
            );
        }
        outlines
    };
    // An operation may make what an empty group waits for; `unused` finds those that wait in vain.
    if !changes_network(settings) {
        faults.0.extend(unused(settings, source, params).into_iter().map(|(_, fault)| fault));
    }
    let mut groups = Vec::new();
    for outline in outlines {
        for &member in &outline.members {
            check_shape(&outline.loaded, &params[member], &mut faults);
        }
        if let Some(hyper) = faults.take(hyper_of(&outline, settings, source)) {
            let state_format = asked(&outline.wrote, settings, source);
            let Outline { takes, loaded, members, .. } = outline;
            if !members.is_empty() {
                groups.push(Group { takes, loaded, hyper, members, state_format });
            }
        }
    }
    once_each(&mut faults);
    faults.check()?;
    Ok(groups)
}

/// A group before its hyper-parameters are known.
struct Outline<'a> {
    takes: String,
    loaded: Arc<Loaded>,
    members: Vec<usize>,
    wrote: Wrote<'a>,
    /// Vectors of a default group do not decay.
    no_decay: bool,
}

/// Who wrote the hyper-parameters.
enum Wrote<'a> {
    Main,
    Companion(&'a str, &'a Companion),
    Group { index: usize, group: &'a GroupSettings, is_main: bool },
}

fn default_outlines<'a>(
    catalogue: &Catalogue,
    main: &'a Arc<Loaded>,
    params: &[Parameter],
) -> Result<Vec<Outline<'a>>, Faults> {
    let companion = main.entry.companion.as_ref();
    let others = companion.map_or(&[][..], |companion| &companion.roles);
    let is_other = |role: Role| others.iter().any(|other| other == role.name());
    let mut takers = vec![(main.clone(), false)];
    if let Some(companion) = companion {
        takers.push((find(catalogue, &companion.optimizer)?, true));
    }
    let mut outlines = Vec::new();
    for (loaded, as_companion) in takers {
        let decays = loaded.hyper_index(WEIGHT_DECAY).is_some();
        // Where the rule has no decay, vectors need no group of their own.
        for vectors in if decays { &[Some(false), Some(true)][..] } else { &[None] } {
            let takes_role = |role: Role| {
                is_other(role) == as_companion && vectors.is_none_or(|vectors| vectors == (role == Role::Vector))
            };
            let members: Vec<usize> = (0..params.len()).filter(|&i| takes_role(params[i].role)).collect();
            if members.is_empty() {
                continue;
            }
            let present: BTreeSet<Role> = members.iter().map(|&i| params[i].role).collect();
            let roles: Vec<&str> =
                Role::ALL.into_iter().filter(|role| present.contains(role)).map(Role::name).collect();
            let wrote = match companion.filter(|_| as_companion) {
                Some(companion) => Wrote::Companion(&main.label, companion),
                None => Wrote::Main,
            };
            let of = if as_companion { format!(" (companion of {})", main.label) } else { String::new() };
            outlines.push(Outline {
                takes: format!("roles {}{of}", roles.join(", ")),
                loaded: loaded.clone(),
                members,
                wrote,
                no_decay: *vectors == Some(true),
            });
        }
    }
    Ok(outlines)
}

fn written_outlines<'a>(
    settings: &'a Settings,
    catalogue: &Catalogue,
    main: &Arc<Loaded>,
    params: &[Parameter],
    source: Source<'_>,
    faults: &mut Faults,
) -> Vec<Outline<'a>> {
    let mut members = members(settings, params);
    let taken: BTreeSet<usize> = members.iter().flatten().copied().collect();
    let mut outlines = Vec::new();
    for (index, group) in settings.group.iter().enumerate() {
        for role in group.roles.iter().filter(|role| Role::ALL.iter().all(|known| known.name() != role.as_str())) {
            let known = Role::ALL.map(Role::name);
            let key = format!("group.{index}.roles");
            let fault = Fault::new("C040", Exit::Config, format!("no parameter has role `{role}`"))
                .at(format!("{}  {key}", source(&key)))
                .note("known", known.join(", "));
            faults.push(match nearest(role, known) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault,
            });
        }
        let label = group.optimizer.as_deref().unwrap_or(&settings.optimizer.label);
        let Some(loaded) = faults.take(find(catalogue, label)) else { continue };
        let members = std::mem::take(&mut members[index]);
        let is_main = loaded.label == main.label;
        let wrote = Wrote::Group { index, group, is_main };
        outlines.push(Outline { takes: describe(group), loaded, members, wrote, no_decay: false });
    }
    let left = params.iter().enumerate().filter(|(index, _)| !taken.contains(index));
    let left: Vec<&str> = left.map(|(_, parameter)| parameter.name.as_str()).collect();
    if !left.is_empty() {
        faults.push(
            Fault::new("C043", Exit::Config, format!("no group takes {} parameter(s)", left.len()))
                .note("parameters", few(&left))
                .hint("end the groups with one for all the rest: [[group]] pattern = \"*\""),
        );
    }
    outlines
}

/// The parameters of each written group, by place: the first that takes one has it.
fn members(settings: &Settings, params: &[Parameter]) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); settings.group.len()];
    for (place, param) in params.iter().enumerate() {
        if let Some(group) = settings.group.iter().position(|group| takes(group, param)) {
            members[group].push(place);
        }
    }
    members
}

/// Written groups that take none of these parameters though their roles exist, by index, each with its fault (C041).
pub fn unused(settings: &Settings, source: Source<'_>, params: &[Parameter]) -> Vec<(usize, Fault)> {
    let is_role = |role: &String| Role::ALL.iter().any(|known| known.name() == role.as_str());
    let empty = members(settings, params).into_iter().enumerate().filter(|(_, members)| members.is_empty());
    let understood =
        empty.map(|(index, _)| (index, &settings.group[index])).filter(|(_, one)| one.roles.iter().all(is_role));
    let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
    let fault = |(index, group): (usize, &GroupSettings)| {
        let text = format!("parameter group {index} ({}) takes no parameter", describe(group));
        let fault = Fault::new("C041", Exit::Config, text)
            .at(format!("{}  group.{index}", source(&format!("group.{index}.pattern"))))
            .note("parameters", few(&names))
            .hint("the first group that takes a parameter has it; remove this one or put it further up");
        (index, fault)
    };
    understood.map(fault).collect()
}

fn takes(group: &GroupSettings, param: &Parameter) -> bool {
    let by_pattern = group.pattern.as_deref().is_none_or(|pattern| pattern::matches(pattern, &param.name));
    by_pattern && (group.roles.is_empty() || group.roles.iter().any(|role| role == param.role.name()))
}

fn describe(group: &GroupSettings) -> String {
    match (&group.pattern, group.roles.is_empty()) {
        (None, true) => "all the rest".to_string(),
        (None, false) => format!("roles {}", group.roles.join(", ")),
        (Some(pattern), true) => format!("pattern {pattern}"),
        (Some(pattern), false) => format!("pattern {pattern}, roles {}", group.roles.join(", ")),
    }
}

fn hyper_of(outline: &Outline<'_>, settings: &Settings, source: Source<'_>) -> Result<Hyper, Faults> {
    let of_optimizer = |name: &str| source(&format!("optimizer.{name}"));
    let of_registry = |_: &str| "registry".to_string();
    let of_group = |name: &str| match outline.wrote {
        Wrote::Group { index, .. } => source(&format!("group.{index}.{name}")),
        _ => "default".to_string(),
    };
    let main = || Layer { values: &settings.optimizer.hyper, key: "optimizer.".into(), source: &of_optimizer };
    let mut layers = Vec::new();
    match &outline.wrote {
        Wrote::Main => layers.push(main()),
        Wrote::Companion(label, companion) => {
            layers.push(Layer { values: &companion.hyper, key: format!("{label}: companion."), source: &of_registry });
        }
        Wrote::Group { index, group, is_main } => {
            if *is_main {
                layers.push(main());
            }
            layers.push(Layer { values: &group.hyper, key: format!("group.{index}."), source: &of_group });
        }
    }
    let none = [(WEIGHT_DECAY.to_string(), HyperValue::Number(0.0))].into();
    if outline.no_decay {
        layers.push(Layer { values: &none, key: "default group of vectors: ".into(), source: &of_group });
    }
    let loaded = &outline.loaded;
    hyper::resolve(&loaded.label, &loaded.descriptor.hyper, &loaded.entry.defaults, &layers)
}

/// The group's own word, else the run's.
fn asked(wrote: &Wrote<'_>, settings: &Settings, source: Source<'_>) -> Asked {
    let at = |key: &str, format: StateFormat| format!("{}  {key} = \"{}\"", source(key), format.name());
    match wrote {
        Wrote::Group { index, group: GroupSettings { state_format: Some(format), .. }, .. } => {
            let place = at(&format!("group.{index}.state_format"), *format);
            Asked { format: *format, by_group: true, place }
        }
        _ => {
            let format = settings.state_format;
            Asked { format, by_group: false, place: at("state_format", format) }
        }
    }
}

/// Rules over whole tensors say which shapes they can take.
fn check_shape(loaded: &Loaded, param: &Parameter, faults: &mut Faults) {
    let Some(table) = loaded.optimizer() else { return };
    if let abi_stable::std_types::RResult::RErr(why) = (table.accepts)(param.tensor.size()[..].into()) {
        let text = format!("optimizer `{}` cannot take parameter `{}`: {why}", loaded.label, param.name);
        faults.push(
            Fault::new("C044", Exit::Config, text)
                .note("parameter", format!("role {}, shape {:?}", param.role, param.tensor.size()))
                .hint(format!(
                    "give role `{}` to another optimizer: a [[group]] of the configuration, or `companion` of `{}` in the registry",
                    param.role, loaded.label
                )),
        );
    }
}

/// Labels were resolved before groups are planned, so a miss is a bug.
fn find(catalogue: &Catalogue, label: &str) -> Result<Arc<Loaded>, Faults> {
    let found = catalogue.get(Kind::Optimizer, label).cloned();
    found.ok_or_else(|| {
        Fault::new("C049", Exit::Bug, format!("optimizer `{label}` was not resolved before its groups")).into()
    })
}

/// Groups share the main optimizer's values, so one fault may have been found more than once.
fn once_each(faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    faults.0.retain(|fault| seen.insert(fault.to_string()));
}

fn few(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
