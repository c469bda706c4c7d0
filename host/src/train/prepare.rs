//! Everything that is settled before work begins: settings, registry, plugins, parameter groups.
//! Reads no data and writes nothing, so a refusal here leaves the disk as it was.

use std::path::Path;

use super::takers::Takers;
use crate::{
    config::{Resolved, Source, trace},
    fault::Faults,
    growth::{self, LiveHyper, Schedule},
    model::Architecture,
    optim::labels_wanted,
    registry::{Catalogue, Kind, Registry},
};

/// A run that may begin.
pub struct Prepared {
    /// Settings and their origins; hyper-parameters of the main optimizer are complete.
    pub resolved: Resolved,
    /// The registry the labels were looked up in.
    pub registry: Registry,
    /// Every plugin the run uses.
    pub catalogue: Catalogue,
    /// The line that says what every knob is and where it came from.
    pub trace: String,
}

impl Prepared {
    /// What the run says of groups and projections.
    pub(super) fn takers(&self) -> Takers<'_> {
        Takers { resolved: &self.resolved, catalogue: &self.catalogue }
    }
}

/// Looks up every label, loads their plugins, and tries the hyper-parameters and groups.
///
/// # Errors
/// All faults of the configuration, the registry, the plugins and the groups at once.
pub fn prepare(
    (resolved, mut faults): (Resolved, Faults),
    registry: Option<&Path>,
    plugin_dir: Option<&Path>,
) -> Result<Prepared, Faults> {
    let Some(mut registry) = faults.take(Registry::find(registry)) else { return Err(faults) };
    if let Some(folder) = plugin_dir {
        registry = registry.with_plugin_dir(folder);
    }
    let Some(mut resolved) = faults.take(resolved.with_default_label(registry.default_optimizer())) else {
        return Err(faults);
    };
    let place = |key: &str| place(&resolved, key);
    let wanted = labels_wanted(&resolved.settings, &registry, &place);
    let unknown = growth::unknown(&resolved.settings.schedule, &registry, &place);
    let is_known = unknown.is_empty();
    faults.0.extend(unknown);
    let Some(catalogue) = faults.take(registry.resolve(&wanted)) else { return Err(faults) };
    fill_defaults(&mut resolved, &catalogue);
    if is_known {
        faults.take(outline(&resolved, &catalogue));
    }
    faults.check()?;

    let reported = catalogue.get(Kind::Optimizer, &resolved.settings.optimizer.label);
    let extra = [
        ("opt_reported", reported.map_or_else(String::new, |loaded| loaded.descriptor.label.to_string())),
        ("registry", registry.path.display().to_string()),
        ("registry_sha256", registry.sha256.clone()),
        ("registry_lock", registry.lock_state().to_string()),
    ];
    let trace = trace::line(&resolved, &extra);
    Ok(Prepared { resolved, registry, catalogue, trace })
}

/// Where a value came from, for tables.
pub fn source(resolved: &Resolved, key: &str) -> String {
    resolved.origins.source(key).map_or_else(|| "default".to_string(), Source::to_string)
}

/// Where a value was written, for faults.
pub fn place(resolved: &Resolved, key: &str) -> String {
    resolved.origins.place(key).unwrap_or_else(|| format!("{}  {key}", source(resolved, key)))
}

/// What no source of the configuration set, the registry entry or the plugin does.
fn fill_defaults(resolved: &mut Resolved, catalogue: &Catalogue) {
    let label = resolved.settings.optimizer.label.clone();
    let Some(loaded) = catalogue.get(Kind::Optimizer, &label) else { return };
    for (schema, value) in loaded.schema().iter().zip(loaded.defaults()) {
        let name = schema.name.as_str();
        let source = if loaded.entry.defaults.contains_key(name) { Source::Registry } else { Source::Plugin };
        resolved.fill_hyper(name, crate::registry::hyper::value(schema, value), source);
    }
}

/// Plans the groups and operations of a network with the real one's names, roles and sizes, all but the vocabulary,
/// which is known only when the data has been read.
fn outline(resolved: &Resolved, catalogue: &Catalogue) -> Result<(), Faults> {
    let settings = &resolved.settings;
    let architecture = Architecture { settings: settings.model.clone(), vocab_size: 1 };
    let outline = growth::network(&architecture.outline()?, &architecture.facts());
    let takers = Takers { resolved, catalogue };
    let mut faults = Faults::none();
    faults.take(takers.outline(&outline));
    let schedule = Schedule::plan(settings, catalogue, &|key| place(resolved, key));
    let live = LiveHyper::of(settings);
    let fits = |plan: &_, network: &_| takers.fit(plan, network);
    if let Some(planned) =
        faults.take(schedule.and_then(|schedule| schedule.rehearse(&outline, &live, settings, &fits)))
    {
        let later = planned.iter().map(|planned| &planned.network);
        let never_used = takers.never_used(&std::iter::once(&outline).chain(later).collect::<Vec<_>>());
        faults.0.extend(never_used?);
    }
    faults.check()
}
