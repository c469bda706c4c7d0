//! Which projection takes which parameter, with which hyper-parameters and inputs; settled before data is read.
//! Changes no gradient; that is `run.rs`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tch::Tensor;

use super::{
    inputs,
    run::{self, Plugin},
};
use crate::{
    config::settings::ProjectionSettings,
    fault::{Exit, Fault, Faults, nearest},
    model::Parameter,
    optim::pattern,
    registry::{Catalogue, Kind, Loaded},
};

/// The projections of a run, in the order in which they are applied.
pub struct Projections {
    pub(super) all: Vec<Planned>,
}

/// One projection of a run.
pub(super) struct Planned {
    pub plugin: Arc<dyn Plugin>,
    pub hyper: Vec<f64>,
    pub metrics: Vec<String>,
    pub members: Vec<Member>,
}

/// One parameter that a projection takes.
pub(super) struct Member {
    /// Its place among the parameters.
    pub index: usize,
    pub name: String,
    /// As the plugin's `inputs` names them.
    pub inputs: Vec<Tensor>,
}

impl Projections {
    /// Settles every projection of the settings on the parameters of the model, loads their inputs, and tries each once
    /// on a gradient of zeros, so that a plugin that refuses a shape does so now. `thaws` says whether operations are
    /// scheduled, which may take frozen parameters into training.
    ///
    /// # Errors
    /// All faults of the module's list, together.
    pub fn plan(
        settings: &[ProjectionSettings],
        catalogue: &Catalogue,
        params: &[Parameter],
        thaws: bool,
    ) -> Result<Projections, Faults> {
        let mut faults = Faults::none();
        let mut all = Vec::new();
        for (index, one) in settings.iter().enumerate() {
            all.extend(faults.take(planned(one, catalogue, params, thaws, &place(index, one))));
        }
        faults.check()?;
        Ok(Projections { all })
    }

    /// Checks what can be known before the network's sizes are: every hyper-parameter of every projection, and that each
    /// has something to project. Names and roles of `params` are the network's.
    ///
    /// # Errors
    /// C060 and C061, all that are found.
    pub fn check(
        settings: &[ProjectionSettings],
        catalogue: &Catalogue,
        params: &[Parameter],
        thaws: bool,
    ) -> Result<(), Faults> {
        let mut faults = Faults::none();
        for (index, one) in settings.iter().enumerate() {
            let place = place(index, one);
            if let Some(loaded) = catalogue.get(Kind::Projection, &one.label) {
                faults.take(hyper_of(one, loaded, &place));
            }
            faults.take(taken(one, params, thaws, &place));
        }
        faults.check()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Where a projection stands, for faults.
fn place(index: usize, one: &ProjectionSettings) -> String {
    format!("projection[{index}]  label = \"{}\"", one.label)
}

/// The plugin's defaults and the registry's under what the settings say.
fn hyper_of(settings: &ProjectionSettings, loaded: &Loaded, place: &str) -> Result<Vec<f64>, Faults> {
    let mut faults = Faults::none();
    let mut hyper = loaded.defaults();
    for (name, value) in &settings.hyper {
        let read = loaded.hyper(name, value).map_err(|unfit| {
            let fault = Fault::new("C061", Exit::Registry, unfit.message).at(place);
            unfit.hint.into_iter().fold(fault, Fault::hint)
        });
        if let Some((index, value)) = faults.take(read) {
            hyper[index] = value;
        }
    }
    faults.check().map(|()| hyper)
}

/// The parameters that a projection takes, with their places. Frozen ones among them are left alone in a step, until
/// they are trained again.
///
/// # Errors
/// C060 where it would never do anything.
fn taken<'p>(
    settings: &ProjectionSettings,
    params: &'p [Parameter],
    thaws: bool,
    place: &str,
) -> Result<Vec<(usize, &'p Parameter)>, Fault> {
    let pattern = &settings.pattern;
    let matches = |(_, parameter): &(usize, &Parameter)| pattern::matches(pattern, &parameter.name);
    let taken: Vec<(usize, &Parameter)> = params.iter().enumerate().filter(matches).collect();
    if taken.is_empty() {
        let fault = Fault::new("C060", Exit::Config, format!("pattern `{pattern}` takes no parameter")).at(place);
        let names = params.iter().map(|parameter| parameter.name.as_str());
        return Err(match nearest(pattern, names) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("`*` stands for any characters; the whole name must match"),
        });
    }
    if !thaws && taken.iter().all(|(_, parameter)| parameter.frozen) {
        let message = format!("pattern `{pattern}` takes frozen parameters alone, which have no gradient");
        let names: Vec<&str> = taken.iter().map(|(_, parameter)| parameter.name.as_str()).collect();
        let fault = Fault::new("C060", Exit::Config, message).at(place).note("takes", names.join(", "));
        return Err(fault.hint("name parameters that are trained, such as those of the adapters, or take it out"));
    }
    Ok(taken)
}

fn planned(
    settings: &ProjectionSettings,
    catalogue: &Catalogue,
    params: &[Parameter],
    thaws: bool,
    place: &str,
) -> Result<Planned, Faults> {
    let label = &settings.label;
    let found = catalogue.get(Kind::Projection, label).and_then(|loaded| Some((loaded, loaded.projection()?)));
    let Some((loaded, table)) = found else {
        let text = format!("projection label `{label}` is not among those loaded for this run");
        return Err(Fault::new("R001", Exit::Registry, text).at(place).into());
    };
    let mut faults = Faults::none();
    let hyper = faults.take(hyper_of(settings, loaded, place)).unwrap_or_default();
    let taken = faults.take(taken(settings, params, thaws, place)).unwrap_or_default();
    let names: Vec<String> = (table.inputs)().into_iter().map(String::from).collect();
    let files = faults.take(files(&names, &settings.inputs, label, place));
    let mut members: Vec<Member> = taken
        .iter()
        .map(|(index, parameter)| Member { index: *index, name: parameter.name.clone(), inputs: Vec::new() })
        .collect();
    let wanted: Vec<&Parameter> = taken.iter().map(|(_, parameter)| *parameter).collect();
    for path in files.into_iter().flatten() {
        if let Some(tensors) = faults.take(inputs::load(path, &wanted, params, place)) {
            members.iter_mut().zip(tensors).for_each(|(member, tensor)| member.inputs.push(tensor));
        }
    }
    faults.check()?;
    let metrics = (table.metrics)().into_iter().map(String::from).collect();
    let planned = Planned { plugin: loaded.clone(), hyper, metrics, members };
    let mut refused = Faults::none();
    for (member, parameter) in planned.members.iter().zip(&wanted) {
        refused.take(run::trial(&planned, member, parameter).map_err(|fault| fault.at(place)));
    }
    refused.check()?;
    Ok(planned)
}

/// The file of each input, in the plugin's order.
fn files<'a>(
    names: &[String],
    given: &'a BTreeMap<String, PathBuf>,
    label: &str,
    place: &str,
) -> Result<Vec<&'a PathBuf>, Faults> {
    let mut faults = Faults::none();
    for unknown in given.keys().filter(|name| !names.contains(name)) {
        let fault = Fault::new("C062", Exit::Config, format!("projection `{label}` takes no input `{unknown}`"));
        let fault = fault.at(place).note("known", names.join(", "));
        faults.push(match nearest(unknown, names.iter().map(String::as_str)) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault,
        });
    }
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        match given.get(name) {
            Some(path) => files.push(path),
            None => faults.push(
                Fault::new("C062", Exit::Config, format!("projection `{label}` needs the input `{name}`"))
                    .at(place)
                    .hint(format!("inputs.{name} = \"FILE.safetensors\", tensors named after the parameters")),
            ),
        }
    }
    faults.check()?;
    Ok(files)
}
