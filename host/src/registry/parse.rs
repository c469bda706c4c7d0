//! Reads the text of a `registry.toml`, every fault with its line.
//! Does not compare entries with each other (`consistency.rs`) and opens no file.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Companion, Entry, Kind, PluginEntry, consistency};
use crate::{
    config::settings::HyperValue,
    fault::{Exit, Fault, Faults, nearest},
};

/// A `registry.toml` that is consistent in itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Folder of the libraries, relative to the file.
    pub plugin_dir: Option<String>,
    /// Label that runs where nobody names one.
    pub default_optimizer: Option<String>,
    /// Where `default_optimizer` is written.
    pub default_place: String,
    /// All plugins.
    pub plugins: Vec<PluginEntry>,
    /// All labels, in the order of the file per kind.
    pub entries: Vec<Entry>,
}

/// Keys of the file itself.
const TOP: [&str; 6] = ["plugin-dir", "default-optimizer", "plugins", "optimizer", "projection", "arch-op"];
/// Keys of every label.
const ENTRY: [&str; 4] = ["label", "plugin", "aliases", "defaults"];
/// Keys of an optimizer's label.
const OPTIMIZER: [&str; 6] = ["label", "plugin", "aliases", "defaults", "same_rule_as", "companion"];

/// Reads `text`; `path` is how the file is named in faults.
///
/// # Errors
/// Everything that is wrong with it: R003 to R006.
pub fn parse(path: &str, text: &str) -> Result<Document, Faults> {
    let mut reader = Reader { path, text, faults: Faults::none() };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.misread(&error.span().unwrap_or(0..0), error.message().trim().to_string());
    }
    if !errors.is_empty() {
        return Err(reader.faults);
    }
    let document = reader.document(root.get_ref());
    consistency::check(path, &document, &mut reader.faults);
    reader.faults.check()?;
    Ok(consistency::without_aliases(document))
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    faults: Faults,
}

impl Reader<'_> {
    /// `registry.toml:12  label = "adamw"`.
    fn place(&self, span: &Range<usize>) -> String {
        let start = self.text.floor_char_boundary(span.start.min(self.text.len()));
        let line = self.text[..start].matches('\n').count();
        let shown = self.text.lines().nth(line).unwrap_or_default().trim();
        format!("{}:{}  {shown}", self.path, line + 1)
    }

    fn misread(&mut self, span: &Range<usize>, message: String) {
        let place = self.place(span);
        self.faults.push(Fault::new("R003", Exit::Registry, message).at(place));
    }

    fn wrong_kind(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.misread(&value.span(), format!("`{key}` must be {wanted}, not {}", with_article(found)));
    }

    fn document(&mut self, root: &DeTable<'_>) -> Document {
        self.known_keys(root, "the registry", &TOP);
        let mut document = Document { plugin_dir: self.string(root, "plugin-dir"), ..Document::default() };
        if let Some(value) = root.get("default-optimizer") {
            document.default_place = self.place(&value.span());
            document.default_optimizer = self.string(root, "default-optimizer");
        }
        if let Some(value) = root.get("plugins") {
            document.plugins = self.plugins(value);
        }
        for kind in Kind::ALL {
            let Some(value) = root.get(kind.name()) else { continue };
            let Some(items) = value.get_ref().as_array() else {
                self.wrong_kind(kind.name(), value, &format!("tables, each begun with `[[{kind}]]`"));
                continue;
            };
            for item in items {
                match item.get_ref().as_table() {
                    Some(table) => document.entries.extend(self.entry(kind, table, &item.span())),
                    None => self.wrong_kind(kind.name(), item, &format!("tables, each begun with `[[{kind}]]`")),
                }
            }
        }
        document
    }

    fn plugins(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<PluginEntry> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_kind("plugins", value, "a table of libraries by id");
            return Vec::new();
        };
        let mut plugins = Vec::new();
        for (id, value) in in_order(table) {
            if let Some(library) = self.string(table, id) {
                plugins.push(PluginEntry { id: id.to_string(), library, place: self.place(&value.span()) });
            }
        }
        plugins
    }

    /// None where the entry has no label or no plugin, which is noted.
    fn entry(&mut self, kind: Kind, table: &DeTable<'_>, span: &Range<usize>) -> Option<Entry> {
        let known: &[&str] = if kind == Kind::Optimizer { &OPTIMIZER } else { &ENTRY };
        self.known_keys(table, &format!("[[{kind}]]"), known);
        let label = self.required(table, "label", &format!("[[{kind}]]"), span);
        let plugin = self.required(table, "plugin", &format!("[[{kind}]]"), span);
        let aliases = self.strings(table, "aliases");
        let defaults = match table.get("defaults") {
            Some(value) => self.hyper("defaults", value, &[]),
            None => BTreeMap::new(),
        };
        let optimizer = kind == Kind::Optimizer;
        let same_rule_as = if optimizer { self.string(table, "same_rule_as") } else { None };
        let companion = table.get("companion").filter(|_| optimizer).and_then(|value| self.companion(value));
        let at = table.get("label").map_or(span.clone(), Spanned::span);
        for name in label.iter().chain(&aliases) {
            if !is_label(name) {
                self.misread(&at, format!("`{name}` cannot be a label: use a–z, 0–9, `-`, `_`, `.`"));
            }
        }
        let place = self.place(&at);
        Some(Entry { kind, label: label?, plugin: plugin?, aliases, defaults, same_rule_as, companion, place })
    }

    fn companion(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Companion> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_kind("companion", value, "a table with `roles` and `optimizer`");
            return None;
        };
        let roles = self.strings(table, "roles");
        if roles.is_empty() && table.get("roles").is_none_or(|roles| roles.get_ref().is_array()) {
            self.misread(&value.span(), "`companion` names no `roles`".to_string());
        }
        let optimizer = self.required(table, "optimizer", "`companion`", &value.span());
        let hyper = self.hyper("companion", value, &["roles", "optimizer"]);
        Some(Companion { roles, optimizer: optimizer?, hyper, place: self.place(&value.span()) })
    }

    /// Numbers, flags and choices by name; `except` are keys with a meaning of their own.
    fn hyper(&mut self, key: &str, value: &Spanned<DeValue<'_>>, except: &[&str]) -> BTreeMap<String, HyperValue> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_kind(key, value, "a table of hyper-parameters");
            return BTreeMap::new();
        };
        let mut values = BTreeMap::new();
        for (name, value) in in_order(table).into_iter().filter(|(name, _)| !except.contains(name)) {
            match hyper_value(value.get_ref()) {
                Some(read) => drop(values.insert(name.to_string(), read)),
                None => self.wrong_kind(name, value, "a number, true, false or a string"),
            }
        }
        values
    }

    fn known_keys(&mut self, table: &DeTable<'_>, of: &str, known: &[&str]) {
        for (key, _) in in_order(table) {
            if known.contains(&key) {
                continue;
            }
            let span = table.get_key_value(key).map_or(0..0, |(key, _)| key.span());
            let fault = Fault::new("R003", Exit::Registry, format!("{of} has no key `{key}`")).at(self.place(&span));
            let fault = fault.note("known", known.join(", "));
            let alone = OPTIMIZER.contains(&key) && known == ENTRY;
            self.faults.push(match nearest(key, known.iter().copied()) {
                _ if alone => fault.hint(format!("`{key}` belongs to [[optimizer]] alone")),
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault,
            });
        }
    }

    fn required(&mut self, table: &DeTable<'_>, key: &str, of: &str, span: &Range<usize>) -> Option<String> {
        if table.get(key).is_none() {
            self.misread(span, format!("{of} has no `{key}`"));
        }
        self.string(table, key)
    }

    fn string(&mut self, table: &DeTable<'_>, key: &str) -> Option<String> {
        let value = table.get(key)?;
        match value.get_ref().as_str() {
            Some("") => self.misread(&value.span(), format!("`{key}` is empty")),
            Some(text) => return Some(text.to_string()),
            None => self.wrong_kind(key, value, "a string"),
        }
        None
    }

    fn strings(&mut self, table: &DeTable<'_>, key: &str) -> Vec<String> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_kind(key, value, "an array of strings");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items {
            match item.get_ref().as_str() {
                Some(text) => strings.push(text.to_string()),
                None => self.wrong_kind(key, item, "an array of strings"),
            }
        }
        strings
    }
}

/// Entries of a table in the order of the file.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t str, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().map(|(key, value)| (key.get_ref().as_ref(), value)).collect()
}

fn hyper_value(value: &DeValue<'_>) -> Option<HyperValue> {
    Some(match value {
        DeValue::Float(number) => HyperValue::Number(number.as_str().parse().ok()?),
        DeValue::Integer(number) => {
            HyperValue::Number(i64::from_str_radix(number.as_str(), number.radix()).ok()? as f64)
        }
        DeValue::Boolean(flag) => HyperValue::Flag(*flag),
        DeValue::String(text) => HyperValue::Choice(text.to_string()),
        _ => return None,
    })
}

/// Whether a name can be a label: `a–z`, `0–9`, `-`, `_` and `.`, begun with one of the first two.
pub fn is_label(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed)
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {noun}")
}

#[cfg(test)]
mod tests;
