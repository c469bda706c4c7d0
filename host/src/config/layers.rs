//! What all sources said, piled up, and which of them is heard.
//! Does not read sources and does not judge values.

use std::collections::BTreeMap;

use super::origin::{Origin, Said, Source};

/// Arrays of tables: `[[group]]`, `[[projection]]`, `[[schedule]]`. Their entries have keys such as `group.0.lr`.
pub const ARRAYS: [&str; 3] = ["group", "projection", "schedule"];

/// What all sources said.
#[derive(Debug, Default)]
pub struct Layers {
    said: BTreeMap<String, Vec<Said>>,
    /// Per array: the entries of each source that has any, as where each entry begins.
    arrays: BTreeMap<&'static str, Vec<Vec<Source>>>,
}

/// What is in force.
#[derive(Debug, Default)]
pub struct Merged {
    /// By key.
    pub origins: BTreeMap<String, Origin>,
    /// Where each entry of each array begins.
    pub arrays: BTreeMap<&'static str, Vec<Source>>,
}

/// The array a key belongs to, the index of its entry, and the rest of the key.
pub fn array_entry(key: &str) -> Option<(&'static str, usize, &str)> {
    let (head, rest) = key.split_once('.')?;
    let array = ARRAYS.into_iter().find(|array| *array == head)?;
    let (index, rest) = rest.split_once('.')?;
    Some((array, index.parse().ok()?, rest))
}

impl Layers {
    /// Adds what a source said about a key.
    pub fn say(&mut self, key: impl Into<String>, said: Said) {
        self.said.entry(key.into()).or_default().push(said);
    }

    /// Adds the entries of an array of one source.
    pub fn array(&mut self, array: &'static str, entries: Vec<Source>) {
        self.arrays.entry(array).or_default().push(entries);
    }

    /// What is in force for one key so far.
    pub fn winner(&self, key: &str) -> Option<&Said> {
        self.said.get(key)?.iter().min_by_key(|said| said.source.rank())
    }

    /// All that was said about one key.
    pub fn about(&self, key: &str) -> &[Said] {
        self.said.get(key).map_or(&[], Vec::as_slice)
    }

    /// Where the entries of an array begin, by source that has any.
    pub fn entries(&self, array: &str) -> &[Vec<Source>] {
        self.arrays.get(array).map_or(&[], Vec::as_slice)
    }

    /// Forgets what `source` said about keys that `which` picks.
    pub fn forget(&mut self, source: impl Fn(&Source) -> bool, which: impl Fn(&str) -> bool) {
        for (_, said) in self.said.iter_mut().filter(|(key, _)| which(key)) {
            said.retain(|said| !source(&said.source));
        }
        self.said.retain(|_, said| !said.is_empty());
        for (_, sources) in self.arrays.iter_mut().filter(|(array, _)| which(array)) {
            sources.retain(|entries| !entries.iter().any(&source));
        }
    }

    /// Per key the highest source; per array the highest source that has entries, and `--set` on top of it.
    pub fn merge(self) -> Merged {
        let mut merged = Merged::default();
        for (array, mut sources) in self.arrays {
            sources.retain(|entries| !entries.is_empty());
            sources.sort_by_key(|entries| entries[0].rank());
            if let Some(entries) = sources.into_iter().next() {
                merged.arrays.insert(array, entries);
            }
        }
        for (key, mut said) in self.said {
            if let Some((array, _, _)) = array_entry(&key) {
                let rank = merged.arrays.get(array).map(|entries| entries[0].rank());
                said.retain(|said| said.source == Source::Set || Some(said.source.rank()) == rank);
            }
            said.sort_by_key(|said| said.source.rank());
            let mut said = said.into_iter();
            if let Some(Said { value, source }) = said.next() {
                let overrides = said.filter(|lower| lower.value != value).collect();
                merged.origins.insert(key, Origin { value: Some(value), source, overrides });
            }
        }
        merged
    }
}
