//! `cargo xtask train`: setup, build, and then this process becomes `host train`.
//! Reads no configuration; what to train is the host's business.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{setup, step};

/// Builds the host and every plugin of the repository, and trains.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    setup::run(workspace)?;
    step::run(&mut build(workspace)?)?;

    let mut host = Command::new(workspace.host()?);
    host.arg("train").args(args);
    if args.is_empty() {
        host.args(["--preset", "default"]);
    }
    let registry = workspace.root.join("registry.toml");
    if !std::path::Path::new("registry.toml").exists() && !names_registry(args) {
        // Started from a folder inside the repository: the host looks in the working directory only.
        host.arg("--registry").arg(registry);
    }
    step::become_it(&mut host)
}

/// `cargo build` of the binary and the plugin libraries, without tests and their fixtures.
pub fn build(workspace: &Workspace) -> Result<Command> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "host"]);
    for plugin in workspace.plugins()? {
        cargo.args(["--package", &plugin]);
    }
    Ok(cargo)
}

fn names_registry(args: &[String]) -> bool {
    args.iter().any(|arg| arg == "--registry" || arg.starts_with("--registry="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_ones_own_is_seen_in_both_forms() {
        let args = |line: &str| line.split(' ').map(str::to_string).collect::<Vec<_>>();
        assert!(names_registry(&args("--steps 5 --registry my.toml")));
        assert!(names_registry(&args("--registry=my.toml")));
        assert!(!names_registry(&args("--steps 5 --set registry=1")));
    }
}
