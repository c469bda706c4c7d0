//! `host config show`: the settings that a run would use, as a configuration file, with origins where asked.
//! Starts nothing and reads no data.

use std::path::Path;

use crate::{
    cli::args::ConfigShowFlags,
    config::{self, Resolved, Variables},
    fault::Faults,
};

/// The text for stdout, or all faults. `settle` adds what the registry and the plugin say: the default optimizer and
/// the hyper-parameters that nobody set.
pub fn run(
    flags: &ConfigShowFlags,
    variables: &Variables,
    cwd: &Path,
    settle: impl FnOnce(Resolved) -> Result<Resolved, Faults>,
) -> Result<String, Faults> {
    let resolved = settle(config::resolve(&flags.knobs.0, variables, cwd)?)?;
    Ok(text(&resolved, flags.origin, flags.json))
}

/// The settings as TOML, or as JSON with origins.
pub fn text(resolved: &Resolved, origin: bool, json: bool) -> String {
    if json {
        return format!("{:#}\n", resolved.origins.to_json());
    }
    if !origin {
        return config::write::config_toml(&resolved.settings);
    }
    config::write::annotated(&resolved.settings, |key| {
        let origin = resolved.origins.get(key)?;
        let mut comment = origin.source.to_string();
        for lower in &origin.overrides {
            comment.push_str(&format!(", overrides {} from {}", lower.value, lower.source));
        }
        Some(comment)
    })
}
