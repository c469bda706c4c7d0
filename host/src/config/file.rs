//! A configuration file or preset: TOML, walked key by key so that every value knows its line.
//! Opens no file, and does not decide between sources.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    faults,
    kind::Misfit,
    layers::{ARRAYS, Layers},
    origin::{Said, Source},
    schema::{self, Expect},
    value::Value,
};
use crate::fault::{Fault, Faults};

/// A text and who it is.
pub struct Document<'a> {
    /// TOML.
    pub text: &'a str,
    /// The source of a value in a line (from 1).
    pub source: &'a dyn Fn(usize) -> Source,
    /// Where the text is from, with a line, for error messages.
    pub place: &'a dyn Fn(usize) -> String,
    /// Relative paths in the text are relative to this absolute folder.
    pub base: &'a Path,
    /// The array that alone may stand in it; none where every key may.
    pub only: Option<&'static str>,
}

struct Walk<'a> {
    document: &'a Document<'a>,
    layers: &'a mut Layers,
    found: Vec<(usize, Fault)>,
}

/// Adds what a document says to the layers. Faults are noted in the order of lines.
pub fn read(document: &Document, layers: &mut Layers, faults: &mut Faults) {
    let (table, errors) = DeTable::parse_recoverable(document.text);
    let mut walk = Walk { document, layers, found: Vec::new() };
    if errors.is_empty() {
        walk.table("", table.get_ref());
    }
    for error in errors {
        let line = walk.line(error.span().map_or(0, |span| span.start));
        // the parser's messages have a line of their own for what it expected
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let fault = faults::fault(faults::SYNTAX, format!("not TOML: {message}")).at((document.place)(line));
        walk.found.push((line, fault));
    }
    walk.found.sort_by_key(|(line, _)| *line);
    for (_, fault) in walk.found {
        faults.push(fault);
    }
}

impl Walk<'_> {
    fn line(&self, offset: usize) -> usize {
        let text = self.document.text.as_bytes();
        1 + text[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
    }

    fn table(&mut self, prefix: &str, table: &DeTable) {
        for (name, value) in table {
            let key = match prefix {
                "" => name.get_ref().to_string(),
                prefix => format!("{prefix}.{}", name.get_ref()),
            };
            let line = self.line(name.span().start);
            if let Some(only) = self.document.only.filter(|only| prefix.is_empty() && *only != key) {
                let fault = faults::fault(faults::UNKNOWN_KEY, format!("unknown key `{key}`"))
                    .at(self.place(line, &key, value))
                    .hint(format!("this file holds [[{only}]] entries alone; settings go to `--config FILE`"));
                self.found.push((line, fault));
                continue;
            }
            let array = ARRAYS.into_iter().find(|array| *array == key);
            match value.get_ref() {
                DeValue::Array(entries) if array.is_some_and(|_| entries.iter().all(is_table)) => {
                    self.array(array.unwrap_or_default(), entries.iter());
                }
                _ if array.is_some() => {
                    let fault = faults::fault(faults::WRONG_TYPE, format!("`{key}` is a list of tables"))
                        .at(self.place(line, &key, value))
                        .hint(format!("begin each entry with [[{key}]]"));
                    self.found.push((line, fault));
                }
                DeValue::Table(inner) if schema::is_section(&key) => self.table(&key, inner),
                _ if schema::is_section(&key) => {
                    let fault = faults::fault(faults::WRONG_TYPE, format!("`{key}` is a section"))
                        .at(self.place(line, &key, value))
                        .hint(format!("write [{key}] and its keys below"));
                    self.found.push((line, fault));
                }
                _ => self.leaf(&key, line, value),
            }
        }
    }

    fn array<'t>(&mut self, array: &'static str, entries: impl Iterator<Item = &'t Spanned<DeValue<'t>>>) {
        let mut begins = Vec::new();
        for (index, entry) in entries.enumerate() {
            if let DeValue::Table(table) = entry.get_ref() {
                begins.push((self.document.source)(self.line(entry.span().start)));
                self.table(&format!("{array}.{index}"), table);
            }
        }
        self.layers.array(array, begins);
    }

    fn leaf(&mut self, key: &str, line: usize, value: &Spanned<DeValue>) {
        let place = self.place(line, key, value);
        let Some(expect) = schema::expect(key) else {
            self.found.push((line, faults::unknown_key(key, place)));
            return;
        };
        let read = typed(value.get_ref()).and_then(|value| expect.admit(value));
        match read {
            Ok(value) => {
                let value = self.rebase(value);
                self.layers.say(key, Said { value, source: (self.document.source)(line) });
            }
            Err(misfit) => {
                let fault = faults::unfit(key, expect, &misfit, true, &self.written(value), place);
                let fault = match (key, expect, value.get_ref()) {
                    (_, Expect::Hyper, DeValue::Array(_)) if key.ends_with(".betas") => {
                        fault.hint("write beta1 and beta2, one number each")
                    }
                    _ => fault,
                };
                self.found.push((line, fault));
            }
        }
    }

    /// Relative paths are relative to the document.
    fn rebase(&self, value: Value) -> Value {
        match value {
            Value::Path(path) => Value::Path(super::resolve::absolute(self.document.base, &path)),
            value => value,
        }
    }

    fn written(&self, value: &Spanned<DeValue>) -> String {
        let text = self.document.text.get(value.span()).unwrap_or_default();
        let line: String = text.lines().next().unwrap_or_default().chars().take(60).collect();
        if line.len() < text.len() { format!("{line}…") } else { line }
    }

    fn place(&self, line: usize, key: &str, value: &Spanned<DeValue>) -> String {
        let place = (self.document.place)(line);
        match value.get_ref() {
            DeValue::Table(_) => format!("{place}  [{key}]"),
            _ => format!("{place}  {key} = {}", self.written(value)),
        }
    }
}

fn is_table(value: &Spanned<DeValue>) -> bool {
    matches!(value.get_ref(), DeValue::Table(_))
}

fn typed(value: &DeValue) -> Result<Value, Misfit> {
    match value {
        DeValue::String(text) => Ok(Value::Text(text.to_string())),
        DeValue::Boolean(flag) => Ok(Value::Flag(*flag)),
        DeValue::Float(float) => float.as_str().parse().map(Value::Number).map_err(|_| Misfit::Unreadable),
        DeValue::Integer(integer) => match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => Ok(Value::Integer(value)),
            // negative numbers are no counts, but a hyper-parameter may be one
            Err(_) if integer.radix() == 10 => {
                integer.as_str().parse().map(Value::Number).map_err(|_| Misfit::OutOfRange)
            }
            Err(_) => Err(Misfit::OutOfRange),
        },
        DeValue::Array(words) => {
            let word = |value: &Spanned<DeValue>| value.get_ref().as_str().map(str::to_owned);
            words.iter().map(word).collect::<Option<Vec<_>>>().map(Value::Words).ok_or(Misfit::Unreadable)
        }
        DeValue::Datetime(_) | DeValue::Table(_) => Err(Misfit::Unreadable),
    }
}
