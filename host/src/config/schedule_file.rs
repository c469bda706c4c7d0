//! A schedule in a file of its own: `[[schedule]]` entries and nothing else, which replace those of lower sources.
//! Does not judge the operations; that is `growth`.

use std::path::Path;

use super::{
    faults,
    file::{self, Document},
    layers::{Layers, array_entry},
    origin::{Source, place},
    resolve::shown,
    value::Value,
};
use crate::{fault::Faults, text_file};

/// The array in the file.
const SCHEDULE: &str = "schedule";

/// Adds the entries of the schedule file to the layers, where one is named. Entries of lower sources give way to them
/// as a whole, and the remark that comes back says so.
pub fn read(cwd: &Path, layers: &mut Layers, faults: &mut Faults) -> Option<String> {
    let said = layers.winner("schedule_file")?.clone();
    let path = said.value.path();
    let name = shown(&path, cwd);
    let here = place("schedule_file", &Value::Text(name.clone()), &said.source);
    let begins: Vec<Source> = layers.entries(SCHEDULE).iter().filter_map(|entries| entries.first().cloned()).collect();
    if let Some(other) = begins.iter().find(|other| other.rank() <= said.source.rank()) {
        let fault = faults::fault(faults::CONTRADICTION, "two schedules: a file of its own, and [[schedule]] entries");
        faults.push(fault.at(here).note("with", other.to_string()).hint("keep one of them"));
        return None;
    }
    let text = match text_file::read(&path) {
        Ok(text) => text,
        Err(error) => {
            let fault = faults::fault(faults::FILE_UNREADABLE, format!("schedule file `{name}`: {error}")).at(here);
            faults.push(fault.hint("a flag's path is relative to the working directory, a file's to that file"));
            return None;
        }
    };
    let in_file = |source: &Source| matches!(source, Source::File { .. } | Source::Preset(_));
    layers.forget(in_file, |key| key == SCHEDULE || array_entry(key).is_some_and(|(array, _, _)| array == SCHEDULE));
    let document = Document {
        text: &text,
        source: &|line| Source::File { path: name.clone(), line },
        place: &|line| format!("{name}:{line}"),
        base: path.parent().unwrap_or(cwd),
        only: Some(SCHEDULE),
    };
    let before = faults.0.len();
    file::read(&document, layers, faults);
    if faults.0.len() == before && layers.entries(SCHEDULE).iter().all(Vec::is_empty) {
        let fault = faults::fault(faults::MISSING_KEY, format!("schedule file `{name}` holds no operation"));
        faults.push(fault.at(here).hint("begin each with [[schedule]]; docs/schedules.md shows one"));
    }
    let aside = begins.first()?;
    Some(format!("[[schedule]] of {aside} and after gives way to {name}"))
}
