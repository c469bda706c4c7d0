//! Which cargo workspace a new crate falls into: one whose members match its folder, or its own.
//! Reads manifests; changes none.

use std::path::{Component, Path};

/// How a crate relates to the workspaces above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// To none: it must say so, or cargo looks for one above.
    ToItself,
    /// To the one above; `lints` says whether that has lints for its members.
    ToTheOneAbove {
        /// Whether the workspace has lints for its members.
        lints: bool,
    },
}

/// What cargo will say of a crate in this folder, an absolute path.
pub fn belongs(folder: &Path) -> Belongs {
    let Some((root, workspace)) = above(folder) else { return Belongs::ToItself };
    let inside = folder.strip_prefix(root).unwrap_or(folder);
    let listed = |key: &str| {
        let patterns = workspace.get(key).and_then(toml::Value::as_array).into_iter().flatten();
        patterns.filter_map(toml::Value::as_str).any(|pattern| matches(pattern, inside))
    };
    match listed("members") && !listed("exclude") {
        true => Belongs::ToTheOneAbove { lints: workspace.contains_key("lints") },
        false => Belongs::ToItself,
    }
}

/// The folder of the nearest workspace above this folder.
pub fn root(folder: &Path) -> Option<&Path> {
    above(folder).map(|(root, _)| root)
}

fn above(folder: &Path) -> Option<(&Path, toml::Table)> {
    folder.ancestors().skip(1).find_map(|above| {
        let manifest: toml::Table = std::fs::read_to_string(above.join("Cargo.toml")).ok()?.parse().ok()?;
        Some((above, manifest.get("workspace")?.as_table()?.clone()))
    })
}

/// Whether a pattern such as `plugins/*` names the folder; a star stands for any part of one name, as it does there.
fn matches(pattern: &str, folder: &Path) -> bool {
    let names = folder.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let (names, patterns) = (names.collect::<Vec<_>>(), pattern.trim_matches('/').split('/').collect::<Vec<_>>());
    let fits = |(pattern, name): (&&str, &&str)| crate::optim::pattern::matches(pattern, name);
    names.len() == patterns.len() && patterns.iter().zip(&names).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_told_from_neighbours() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| belongs(&root.path().join(name));
        assert_eq!(at("plugins/new"), Belongs::ToItself);
        let manifest = "[workspace]\nmembers = [\"host\", \"plugins/*\"]\nexclude = [\"plugins/old\"]\n";
        std::fs::write(root.path().join("Cargo.toml"), manifest).unwrap();
        assert_eq!(at("plugins/new"), Belongs::ToTheOneAbove { lints: false });
        for neighbour in ["new", "plugins", "plugins/old", "plugins/new/inner", "hosts"] {
            assert_eq!(at(neighbour), Belongs::ToItself, "{neighbour}");
        }
        let lints = format!("{manifest}[workspace.lints.rust]\nunsafe_code = \"deny\"\n");
        std::fs::write(root.path().join("Cargo.toml"), lints).unwrap();
        assert_eq!(at("plugins/new"), Belongs::ToTheOneAbove { lints: true });
    }
}
