//! The entry by which a registry has a new crate's label: as text, and written into the file.
//! Reads the file as every reader does before it is put in place, so what is written is understood.

use std::path::Path;

use toml::de::DeTable;

use crate::{
    fault::{Exit, Fault, Faults},
    registry::{Kind, Registry},
    run::atomic,
};

/// One plugin and one optimizer, as they stand in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEntry {
    /// The label.
    pub label: String,
    /// The plugin's id.
    pub plugin: String,
    /// The library: a name, or a path with a `/`.
    pub library: String,
    /// Label of the optimizer that takes what the rule cannot.
    pub companion: Option<String>,
}

impl RegistryEntry {
    /// As a registry of its own, whose two tables are to be put into another one.
    pub fn text(&self) -> String {
        format!("[plugins]\n{}\n\n{}", self.plugin_line(), self.label_table())
    }

    /// U010: it was to be written into a registry, and there is none.
    pub fn nowhere() -> Fault {
        let fault = Fault::new("U010", Exit::Usage, "there is no registry to write the entry into").at("--register");
        fault.hint("name one with `--registry FILE`")
    }

    fn plugin_line(&self) -> String {
        format!("{} = {}", self.plugin, toml::Value::from(self.library.as_str()))
    }

    fn label_table(&self) -> String {
        let (label, plugin) = (&self.label, &self.plugin);
        let mut text = format!("[[optimizer]]\nlabel = \"{label}\"\nplugin = \"{plugin}\"\n");
        if let Some(companion) = &self.companion {
            text += &format!(
                "companion = {{ roles = [\"embedding\", \"head\", \"vector\"], optimizer = \"{companion}\", lr = 1e-3 }}\n"
            );
        }
        text
    }

    /// Writes it into the file of a registry: the plugin behind the last one of `[plugins]`, the label at the end.
    ///
    /// # Errors
    /// As [`RegistryEntry::check`]; D110 where the file cannot be written.
    pub fn add_to(&self, registry: &Registry) -> Result<(), Faults> {
        let added = self.check(registry)?;
        // A link to a registry stays a link.
        let written = registry.path.canonicalize().and_then(|file| atomic::write_file(&file, added.as_bytes()));
        Ok(written.map_err(|error| unwritable(&registry.path, &error))?)
    }

    /// What the file will be, if it can be that.
    ///
    /// # Errors
    /// R040 where `[plugins]` is not written line by line; every fault that the registry would have; D110 where the file
    /// cannot be read.
    pub fn check(&self, registry: &Registry) -> Result<String, Faults> {
        let path = &registry.path;
        let text = std::fs::read_to_string(path).map_err(|error| unwritable(path, &error))?;
        let added = self.added(&text).ok_or_else(|| {
            let fault = Fault::new("R040", Exit::Registry, "no plugin can be added to the registry's `[plugins]`");
            let fault = fault.at(path.display().to_string()).note("wanted", self.plugin_line());
            fault.hint("write `[plugins]` with one line for each plugin, or add the entry by hand")
        })?;
        Registry::understands(path, &added, Kind::Optimizer, &self.label)?;
        Ok(added)
    }

    /// The text with both parts in it; none where there is no line to put the plugin behind.
    fn added(&self, text: &str) -> Option<String> {
        let root = DeTable::parse(text).ok()?;
        let plugins = root.get_ref().get("plugins")?.get_ref().as_table()?;
        let last = plugins.iter().map(|(_, library)| library.span().end).max()?;
        let line_end = text[last..].find('\n').map_or(text.len(), |newline| last + newline);
        // What goes on in the same line, as in `plugins = { a = "b" }`, is no place for another line.
        let rest = text[last..line_end].trim();
        if !rest.is_empty() && !rest.starts_with('#') {
            return None;
        }
        let (before, after) = text.split_at(line_end);
        let body = format!("{before}\n{}{after}", self.plugin_line());
        Some(format!("{}\n\n{}", body.trim_end(), self.label_table()))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    let fault = Fault::new("D110", Exit::Data, "the registry cannot be written");
    fault.at(path.display().to_string()).note("reason", error.to_string())
}

/// How a registry in `folder` names a library: relative to itself where both lie together, else by its whole path.
pub fn library_from(folder: Option<&Path>, library: &Path) -> String {
    match folder.and_then(|folder| library.strip_prefix(folder).ok()) {
        Some(inside) => format!("./{}", inside.display()),
        None => library.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> RegistryEntry {
        let library = "./new/target/debug/libnew.so".to_string();
        RegistryEntry { label: "new".into(), plugin: "new".into(), library, companion: None }
    }

    const TEXT: &str =
        "# Mine.\n[plugins]\np = \"p\" # the first\nq = \"./q.so\"\n\n[[optimizer]]\nlabel = \"lion\"\nplugin = \"p\"";

    #[test]
    fn both_parts_go_where_they_belong_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        for (text, line) in [(TEXT.to_string(), 4), (TEXT.replace("q = \"./q.so\"\n", ""), 3)] {
            std::fs::write(&path, &text).unwrap();
            entry().add_to(&Registry::open(&path).unwrap()).unwrap();
            let after = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = after.lines().collect();
            assert_eq!(lines[line], "new = \"./new/target/debug/libnew.so\"", "{after}");
            assert!(after.ends_with("plugin = \"p\"\n\n[[optimizer]]\nlabel = \"new\"\nplugin = \"new\"\n"), "{after}");
            let kept = after.replace("new = \"./new/target/debug/libnew.so\"\n", "");
            assert!(kept.starts_with(&text), "{after}");
            assert_eq!(Registry::open(&path).unwrap().labels(Kind::Optimizer), ["lion", "new"]);
        }
    }

    #[test]
    fn a_registry_that_cannot_take_it_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        let inline = "plugins = { p = \"p\" }\n[[optimizer]]\nlabel = \"lion\"\nplugin = \"p\"\n";
        let taken = TEXT.replace("lion", "new");
        for (text, code) in [(inline, "R040"), (&taken, "R004")] {
            std::fs::write(&path, text).unwrap();
            let faults = entry().add_to(&Registry::open(&path).unwrap()).unwrap_err();
            assert_eq!(faults.0[0].code, code, "{faults}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn an_entry_is_a_registry_of_its_own() {
        let companion = RegistryEntry { companion: Some("new".into()), ..entry() };
        for entry in [entry(), companion] {
            Registry::understands(Path::new("new.toml"), &entry.text(), Kind::Optimizer, "new").unwrap();
        }
    }
}
