//! `host config show`: the settings that a run would use, as a configuration file, with origins where asked.
//! Starts nothing and reads no data.

use super::{Invocation, args::ConfigShowFlags, stdout};
use crate::{
    config::{self, Resolved},
    fault::Exit,
    train::prepare,
};

/// `host config show`.
///
/// # Errors
/// All that `host train` would find wrong before it reads data.
pub fn show(flags: &ConfigShowFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let told = config::examine(&flags.knobs.0, &invocation.variables, &invocation.cwd);
    let prepared = prepare(told, flags.registry.registry.as_deref(), flags.registry.plugin_dir.as_deref())?;
    stdout::print(&text(&prepared.resolved, flags.origin, flags.json)).map(|()| Exit::Ok)
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
