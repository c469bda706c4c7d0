//! From flags, variables, file and preset to settings, with the origin of every value.
//! Opens the configuration file and nothing else; knows no registry and no plugin.

use std::path::{Path, PathBuf};

use super::{
    check,
    choice::Choice,
    command_line::{self, Flags},
    faults,
    file::{self, Document},
    knobs::{KNOBS, builtin},
    layers::{Layers, Merged, array_entry},
    origin::{Origin, Origins, Source, place},
    presets::{PRESETS, Preset},
    schedule_file,
    settings::{GroupSettings, HyperValue, OnError, OperationSettings, ProjectionSettings, Settings},
    value::Value,
    variables::{self, Variables},
};
use crate::{
    fault::{Faults, nearest},
    text_file,
};

/// Settings, and where each of them came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What a run is told. `optimizer.label` is empty until some source or the registry's default names it.
    pub settings: Settings,
    /// Who said so.
    pub origins: Origins,
    /// The configuration file, if there is one.
    pub config_file: Option<PathBuf>,
    /// The preset, if there is one.
    pub preset: Option<&'static str>,
}

impl Resolved {
    /// The optimizer's label, if a source names one.
    pub fn label(&self) -> Option<&str> {
        Some(self.settings.optimizer.label.as_str()).filter(|label| !label.is_empty())
    }

    /// Takes the registry's default optimizer where no source names one. Neither is an error.
    pub fn with_default_label(mut self, default: Option<&str>) -> Result<Resolved, Faults> {
        if self.label().is_some() {
            return Ok(self);
        }
        let Some(label) = default else {
            let fault = faults::fault(faults::NO_OPTIMIZER, "no optimizer is named")
                .note("looked at", "--optimizer, --set, variables, configuration file, preset, registry")
                .hint("name one with `--optimizer LABEL`; `host --list-optimizers` lists all");
            return Err(fault.into());
        };
        self.settings.optimizer.label = label.to_owned();
        self.origins.record("optimizer.label", Some(Value::Text(label.to_owned())), Source::Default);
        Ok(self)
    }

    /// Fills in a hyper-parameter of the main optimizer that no source of configuration set.
    /// `source` is [`Source::Registry`] or [`Source::Plugin`].
    pub fn fill_hyper(&mut self, name: &str, value: HyperValue, source: Source) {
        if !self.settings.optimizer.hyper.contains_key(name) {
            self.origins.record(&format!("optimizer.{name}"), Some(Value::from(&value)), source);
            self.settings.optimizer.hyper.insert(name.to_owned(), value);
        }
    }
}

/// All settings of a run, or all faults at once.
///
/// `cwd` is absolute; relative paths of flags and variables are relative to it, those of a file to its folder.
pub fn resolve(flags: &Flags, variables: &Variables, cwd: &Path) -> Result<Resolved, Faults> {
    let (resolved, faults) = examine(flags, variables, cwd);
    faults.check().map(|()| resolved)
}

/// As [`resolve`], but goes on with defaults where something is wrong, so that faults of the registry can be shown
/// together with those of the configuration. A run must not start unless the faults are empty.
pub fn examine(flags: &Flags, variables: &Variables, cwd: &Path) -> (Resolved, Faults) {
    let mut faults = Faults::none();
    let mut layers = Layers::default();
    command_line::read(flags, cwd, &mut layers, &mut faults);
    variables::read(variables, cwd, &mut layers, &mut faults);
    let config_file = read_file(cwd, &mut layers, &mut faults);
    let preset = read_preset(cwd, &mut layers, &mut faults);
    let remark = preset.and_then(|preset| set_aside(preset, &mut layers));
    let schedule_remark = schedule_file::read(cwd, &mut layers, &mut faults);

    let (settings, mut origins) = build(layers.merge(), &mut faults);
    origins.remarks.extend(remark.into_iter().chain(schedule_remark));
    let mut resolved = Resolved { settings, origins, config_file, preset: preset.map(|preset| preset.name) };
    check::check(&mut resolved, &mut faults);
    (resolved, faults)
}

/// The settings of a run as it wrote them down.
///
/// # Errors
/// Those of [`resolve`].
pub fn recorded(config: &Path, cwd: &Path) -> Result<Resolved, Faults> {
    resolve(
        &Flags { values: vec![("config", Value::Path(config.to_owned()))], sets: Vec::new() },
        &Variables::new(),
        cwd,
    )
}

/// The settings of a run that is resumed: those of its written configuration, exactly. Variables may repeat them.
///
/// # Errors
/// One that disagrees, for the run could not honour it.
pub fn for_resume(config: &Path, variables: &Variables, cwd: &Path) -> (Resolved, Faults) {
    let flags = Flags { values: vec![("config", Value::Path(config.to_owned()))], sets: Vec::new() };
    unchanged(examine(&flags, variables, cwd), config, cwd)
}

/// The settings that a run wrote down, and a fault for everything that `told` says otherwise.
pub fn unchanged((told, mut faults): (Resolved, Faults), config: &Path, cwd: &Path) -> (Resolved, Faults) {
    let Some(recorded) = faults.take(recorded(config, cwd)) else { return (told, faults) };
    // where a run is kept is not part of what it is
    let counts = |key: &str| !matches!(key, "run.dir" | "config" | "preset" | "schedule_file");
    let said = |origin: &Origin| origin.source != Source::Default;
    for (key, now) in told.origins.iter().filter(|(key, now)| counts(key) && said(now)) {
        let then = recorded.origins.get(key).and_then(|origin| origin.value.as_ref());
        if let Some(value) = now.value.as_ref().filter(|value| then != Some(value)) {
            let was = then.map_or("not set".to_owned(), Value::to_string);
            let message = format!("the run has {key}={was} and cannot be resumed with {value}");
            faults.push(
                faults::fault(faults::RESUME_DISAGREES, message)
                    .at(place(key, value, &now.source))
                    .note("recorded", config.display().to_string())
                    .hint("leave it away to go on with what the run has, or start another run"),
            );
        }
    }
    let (has, told) = (recorded.settings.schedule.len(), told.settings.schedule.len());
    if told > 0 && told < has {
        let message = format!("the run has {has} scheduled operations and cannot be resumed with {told}");
        faults.push(
            faults::fault(faults::RESUME_DISAGREES, message)
                .note("recorded", config.display().to_string())
                .hint("leave the schedule away to go on with what the run has, or start another run"),
        );
    }
    (recorded, faults)
}

/// A path made absolute without asking the file system.
pub fn absolute(base: &Path, path: &Path) -> PathBuf {
    let joined = base.join(path);
    std::path::absolute(&joined).unwrap_or(joined)
}

/// As people write it: relative to the working directory where it lies below it.
pub(super) fn shown(path: &Path, cwd: &Path) -> String {
    path.strip_prefix(cwd).unwrap_or(path).display().to_string()
}

fn read_file(cwd: &Path, layers: &mut Layers, faults: &mut Faults) -> Option<PathBuf> {
    let said = layers.winner("config")?.clone();
    let path = said.value.path();
    let name = shown(&path, cwd);
    let text = match text_file::read(&path) {
        Ok(text) => text,
        Err(error) => {
            let fault = faults::fault(faults::FILE_UNREADABLE, format!("configuration file `{name}`: {error}"))
                .at(place("config", &Value::Text(name), &said.source));
            faults.push(match &said.source {
                Source::Alias(variable) => fault.hint(format!(
                    "if {variable} is meant for another program, `unset {variable}` here and use HOST_CONFIG or --config"
                )),
                _ => fault.hint("paths are relative to the working directory"),
            });
            return Some(path);
        }
    };
    let document = Document {
        text: &text,
        source: &|line| Source::File { path: name.clone(), line },
        place: &|line| format!("{name}:{line}"),
        base: path.parent().unwrap_or(cwd),
        only: None,
    };
    file::read(&document, layers, faults);
    Some(path)
}

fn read_preset(cwd: &Path, layers: &mut Layers, faults: &mut Faults) -> Option<&'static Preset> {
    let said = layers.winner("preset")?.clone();
    let name = said.value.text();
    let Some(preset) = Preset::named(name) else {
        let names = PRESETS.iter().map(|preset| preset.name);
        let fault = faults::fault(faults::UNKNOWN_PRESET, format!("there is no preset `{name}`"))
            .at(place("preset", &said.value, &said.source))
            .note("known", names.clone().collect::<Vec<_>>().join(", "));
        faults.push(match nearest(name, names) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("a configuration file of your own goes to `--config FILE`"),
        });
        return None;
    };
    let document = Document {
        text: preset.text,
        source: &|_| Source::Preset(preset.name.to_owned()),
        place: &|line| format!("preset {}:{line}", preset.name),
        base: cwd,
        only: None,
    };
    file::read(&document, layers, faults);
    Some(preset)
}

/// A preset's hyper-parameters and groups are tuned for its optimizer. Where another one is chosen they are set aside
/// as a whole, and the trace says so. (A user's file is taken at its word instead.)
fn set_aside(preset: &Preset, layers: &mut Layers) -> Option<String> {
    let from_preset = |source: &Source| matches!(source, Source::Preset(_));
    let tuned = layers.about("optimizer.label").iter().find(|said| from_preset(&said.source))?.value.clone();
    let chosen = layers.winner("optimizer.label")?.clone();
    if chosen.value == tuned {
        return None;
    }
    layers.forget(from_preset, |key| {
        key == "group"
            || array_entry(key).is_some_and(|(array, _, _)| array == "group")
            || (key.starts_with("optimizer.") && key != "optimizer.label")
    });
    Some(format!("preset {} tunes [optimizer] and [[group]] for {tuned}: set aside for {}", preset.name, chosen.value))
}

/// Writes what is in force into settings.
fn build(merged: Merged, faults: &mut Faults) -> (Settings, Origins) {
    let mut settings = builtin();
    let mut origins = Origins::default();
    for knob in KNOBS {
        if let Some(field) = &knob.field {
            if let Some(value) = merged.origins.get(knob.key).and_then(|origin| origin.value.as_ref()) {
                (field.set)(&mut settings, value);
            }
            // an optimizer's own values are settled with the registry and its plugin
            if knob.key.starts_with("optimizer.") {
                continue;
            }
        }
        origins.record(knob.key, knob.default_value(), Source::Default);
    }
    for (key, origin) in &merged.origins {
        let value = origin.value.as_ref();
        match key.split_once('.') {
            Some(("tags", name)) => {
                settings.tags.extend(value.map(|value| (name.to_owned(), value.text().to_owned())));
            }
            Some(("optimizer", name)) if name != "label" => {
                settings.optimizer.hyper.extend(value.and_then(Value::hyper).map(|value| (name.to_owned(), value)));
            }
            _ => {}
        }
    }
    entries(&merged, &mut settings, faults);
    for (key, origin) in merged.origins {
        origins.insert(key, origin);
    }
    (settings, origins)
}

/// One entry of an array, field by field.
struct Entry<'m> {
    array: &'static str,
    index: usize,
    begins: &'m Source,
    fields: Vec<(&'m str, &'m Origin)>,
}

impl<'m> Entry<'m> {
    fn take(&mut self, name: &str) -> Option<&'m Value> {
        let at = self.fields.iter().position(|(field, _)| *field == name)?;
        self.fields.remove(at).1.value.as_ref()
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|value| value.text().to_owned())
    }

    /// What no other field took.
    fn hyper(self) -> impl Iterator<Item = (String, HyperValue)> {
        let hyper = |origin: &Origin| origin.value.as_ref().and_then(Value::hyper);
        self.fields.into_iter().filter_map(move |(name, origin)| Some((name.to_owned(), hyper(origin)?)))
    }

    fn missing(&self, what: &str) -> crate::fault::Fault {
        let fault =
            faults::fault(faults::MISSING_KEY, format!("entry {} of [[{}]] has no {what}", self.index, self.array));
        match self.begins {
            Source::File { path, line } => fault.at(format!("{path}:{line}  [[{}]]", self.array)),
            source => fault.at(source.to_string()),
        }
    }
}

fn entries(merged: &Merged, settings: &mut Settings, faults: &mut Faults) {
    for (key, origin) in &merged.origins {
        let Some((array, index, _)) = array_entry(key) else { continue };
        let count = merged.arrays.get(array).map_or(0, Vec::len);
        if let Some(value) = origin.value.as_ref().filter(|_| index >= count) {
            faults.push(
                faults::fault(faults::MALFORMED_SET, format!("[[{array}]] has {count} entries, counted from 0"))
                    .at(place(key, value, &origin.source))
                    .hint("entries are made in a configuration file; `--set` changes them"),
            );
        }
    }
    for (array, begins) in &merged.arrays {
        for (index, begins) in begins.iter().enumerate() {
            let fields = merged.origins.iter().filter_map(|(key, origin)| match array_entry(key) {
                Some((of, at, rest)) if of == *array && at == index => Some((rest, origin)),
                _ => None,
            });
            let mut entry = Entry { array, index, begins, fields: fields.collect() };
            match *array {
                "group" => {
                    let (pattern, optimizer) = (entry.text("pattern"), entry.text("optimizer"));
                    let state_format = entry.text("state_format").map(|word| Choice::named(&word));
                    let roles = match entry.take("roles") {
                        Some(Value::Words(roles)) => roles.clone(),
                        _ => Vec::new(),
                    };
                    if pattern.is_none() && roles.is_empty() {
                        let fault = entry.missing("`pattern` and no `roles`, so it takes no parameter");
                        faults.push(fault.hint("`pattern = \"*\"` takes all that are left"));
                    }
                    let hyper = entry.hyper().collect();
                    settings.group.push(GroupSettings { pattern, roles, optimizer, state_format, hyper });
                }
                "projection" => {
                    let label = entry.text("label");
                    if label.is_none() {
                        let fault = entry.missing("`label`");
                        faults.push(fault.hint("`host --list-projections` lists all"));
                    }
                    let pattern = entry.text("pattern").unwrap_or_else(|| "*".to_owned());
                    let inputs = entry.fields.iter().filter_map(|(name, origin)| {
                        Some((name.strip_prefix("inputs.")?.to_owned(), origin.value.as_ref()?.path()))
                    });
                    let inputs = inputs.collect();
                    let label = label.unwrap_or_default();
                    let hyper = entry.hyper().collect();
                    settings.projection.push(ProjectionSettings { label, pattern, inputs, hyper });
                }
                _ => {
                    let (name, note) = (entry.text("name"), entry.text("note"));
                    let value = entry.take("value").map(Value::number);
                    let trigger_loss = entry.take("trigger_loss").map(Value::number);
                    let max_wait_steps = entry.take("max_wait_steps").map(Value::integer);
                    let reevaluate = entry.take("reevaluate").is_some_and(Value::flag);
                    let on_error = entry.take("on_error").map_or(OnError::Stop, |word| Choice::named(word.text()));
                    if name.is_none() {
                        let fault = entry.missing("`name`");
                        faults.push(fault.hint("docs/schedules.md lists the host's; `host --list-arch-ops` the rest"));
                    }
                    if trigger_loss.is_none() && max_wait_steps.is_none() {
                        let fault = entry.missing("`trigger_loss` and no `max_wait_steps`, so it would never fire");
                        faults.push(fault.hint("`max_wait_steps = N` fires it N steps after the operation before it"));
                    }
                    let name = name.unwrap_or_default();
                    let hyper = entry.hyper().collect();
                    settings.schedule.push(OperationSettings {
                        name,
                        value,
                        trigger_loss,
                        max_wait_steps,
                        reevaluate,
                        on_error,
                        note,
                        hyper,
                    });
                }
            }
        }
    }
}
