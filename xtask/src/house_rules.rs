//! Rules of this repository that no compiler knows: who may depend on whom, where `unsafe` may be, what a line may be.
//! Judges text and dependency trees; fixes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::failure::{CHECK, Failure};
use crate::step;
use crate::workspace::Workspace;

/// Every place that may lift the workspace's `deny(unsafe_code)`: where memory crosses the plugin boundary, and where
/// kernels run.
const UNSAFE_ALLOWED: [&str; 15] = [
    "sdk/src/abi/",
    "sdk/src/cpu/",
    "sdk/src/conformance/kernels.rs",
    "sdk/src/export/",
    "sdk/src/host.rs",
    "sdk/src/tensor.rs",
    "sdk/tests/",
    "host/src/registry/",
    "host/src/tensor/",
    "host/src/rules/",
    "host/src/projection/tests.rs",
    "tests/cuda_launch.rs",
    "tests/cuda_source.rs",
    "tests/plugins/",
    "benches/optimizer_step.rs",
];

/// Longest line of source, in characters: rustfmt keeps code to 120, this keeps texts and tables readable too.
const LINE: usize = 150;

/// Marks of unfinished work. Written in two halves, so that this file does not hold them.
const UNFINISHED: [&str; 6] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
    concat!("db", "g!("),
];

/// What no plugin and no sdk may reach.
const LIBTORCH_CRATES: [&str; 2] = ["tch", "torch-sys"];

/// Looks at every source file of the repository.
pub fn sources(workspace: &Workspace) -> Result<()> {
    let mut complaints = Vec::new();
    let files = files_below(&workspace.root)?;
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(&workspace.root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        complaints.extend(complaints_about(&name, &text));
    }
    eprintln!("{} source files", files.len());
    verdict(complaints, files.len())
}

/// Looks at the dependency trees: plugins and sdk are free of libtorch, plugins know only the sdk, the host knows no
/// plugin.
pub fn dependencies(workspace: &Workspace) -> Result<()> {
    let plugins = workspace.plugins()?;
    let mut complaints = Vec::new();
    for package in plugins.iter().map(String::as_str).chain(["sdk"]) {
        for found in tree(workspace, package, None)?.iter().filter(|name| LIBTORCH_CRATES.contains(&name.as_str())) {
            complaints.push(format!("{package} depends on {found}: plugins reach libtorch through the host's tables"));
        }
    }
    for package in &plugins {
        for found in tree(workspace, package, Some(1))?.iter().filter(|name| *name != package && *name != "sdk") {
            complaints.push(format!("{package} depends on {found}: a plugin of this repository depends on sdk alone"));
        }
    }
    for found in tree(workspace, "host", None)?.iter().filter(|name| plugins.contains(name)) {
        complaints.push(format!("host depends on {found}: plugins are loaded, never linked"));
    }
    verdict(complaints, plugins.len())
}

/// The names of all packages in the tree below (and with) one, whatever the feature or the target of the dependency.
fn tree(workspace: &Workspace, package: &str, depth: Option<u32>) -> Result<Vec<String>> {
    let mut cargo = workspace.cargo();
    cargo.args(["tree", "--locked", "--package", package, "--edges", "normal,build", "--target", "all"]);
    cargo.args(["--prefix", "none", "--no-dedupe", "--format", "{p}"]);
    if let Some(depth) = depth {
        cargo.args(["--depth", &depth.to_string()]);
    }
    let answer = step::answer(&mut cargo)?;
    let mut names: Vec<String> =
        answer.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_string).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn verdict(complaints: Vec<String>, looked_at: usize) -> Result<()> {
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        _ if looked_at == 0 => Err(Failure::new(CHECK, "nothing was looked at").into()),
        0 => Ok(()),
        count => Err(Failure::new(CHECK, format!("{count} complaints")).into()),
    }
}

fn complaints_about(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let is_rust = name.ends_with(".rs");
    for (number, line) in (1..).zip(text.lines()) {
        let mut complain = |what: String| complaints.push(format!("{name}:{number}: {what}"));
        let length = line.chars().count();
        if length > LINE {
            complain(format!("{length} characters, at most {LINE}"));
        }
        for mark in UNFINISHED.iter().filter(|mark| line.contains(**mark)) {
            complain(format!("unfinished: {mark}"));
        }
        if is_rust && lifts_the_denial(line) && !UNSAFE_ALLOWED.iter().any(|place| name.starts_with(place)) {
            complain("unsafe code is not allowed here (ARCHITECTURE.md, \"Where unsafe lives\")".to_string());
        }
    }
    let is_module = is_rust && name.contains("/src/");
    if is_module && !text.starts_with("//!") && !text.starts_with("#![") {
        complaints.push(format!("{name}:1: a module begins with its purpose (`//!`)"));
    }
    let is_member = name.ends_with("Cargo.toml") && text.contains("[package]");
    if is_member && !text.contains("[lints]\nworkspace = true") {
        complaints.push(format!("{name}:1: without `[lints] workspace = true` nothing denies unsafe code"));
    }
    complaints
}

/// The lint `unsafe_code` is denied by the workspace; only these attributes lift it.
fn lifts_the_denial(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    ["allow(", "expect(", "warn("].iter().any(|attribute| {
        code.split(attribute)
            .skip(1)
            .any(|rest| rest.split(')').next().is_some_and(|list| list.contains("unsafe_code")))
    })
}

/// Sources and manifests, without what builds and installs made.
pub fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    const EXTENSIONS: [&str; 7] = ["rs", "toml", "cpp", "h", "py", "sh", "cu"];
    const SKIPPED: [&str; 3] = ["target", "runs", "goldens"];
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let kind = entry.file_type()?;
            if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
                folders.push(path);
            } else if kind.is_file() && EXTENSIONS.iter().any(|known| path.extension().is_some_and(|own| own == *known))
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, text: &str) -> usize {
        complaints_about(name, text).len()
    }

    #[test]
    fn lines_and_marks() {
        assert_eq!(count("host/src/a.rs", "//! A purpose.\n"), 0);
        assert_eq!(count("host/src/a.rs", "fn without_purpose() {}\n"), 1);
        assert_eq!(count("host/src/a.rs", &format!("//! {}\n", "é".repeat(146))), 0);
        assert_eq!(count("host/src/a.rs", &format!("//! {}\n", "é".repeat(147))), 1);
        for mark in UNFINISHED {
            assert_eq!(count("host/src/a.rs", &format!("//! A purpose.\n// {mark}\n")), 1, "{mark}");
        }
    }

    #[test]
    fn unsafe_is_lifted_only_where_it_may_be() {
        let module = "//! A purpose.\n#![allow(missing_docs, unsafe_code)]\n";
        assert_eq!(count("host/src/registry/load.rs", module), 0);
        assert_eq!(count("host/src/train/mod.rs", module), 1);
        assert_eq!(count("host/src/train/mod.rs", "//! A purpose.\n#[expect(unsafe_code)] fn f() {}\n"), 1);
        assert_eq!(count("host/src/train/mod.rs", "//! A purpose.\n// an allow(unsafe_code) in words\n"), 0);
        assert_eq!(count("host/src/train/mod.rs", "//! A purpose.\n#![deny(unsafe_code)]\n"), 0);
    }

    #[test]
    fn a_member_without_the_workspace_lints_is_seen() {
        assert_eq!(count("host/Cargo.toml", "[package]\nname = \"host\"\n"), 1);
        assert_eq!(count("host/Cargo.toml", "[package]\nname = \"host\"\n\n[lints]\nworkspace = true\n"), 0);
        assert_eq!(count("Cargo.toml", "[workspace]\n"), 0);
    }
}
