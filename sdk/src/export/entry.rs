//! One registered label, and what is said about it.
//! Collected by `inventory` within one library; nothing is shared between libraries.

use abi_stable::std_types::Tuple2;

use crate::abi::{Descriptor, HyperDescriptor, TableHeader};
use crate::{Error, Record, Result, Slot, state};

/// One registered label. Made by [`register!`](crate::register).
pub struct Entry {
    pub(super) label: &'static str,
    /// `optimizer`, `projection` or `arch-op`.
    pub(super) kind: &'static str,
    pub(super) summary: &'static str,
    pub(super) paper: &'static str,
    /// Id of `table`.
    pub(super) id: &'static str,
    pub(super) table: fn() -> *const TableHeader,
    /// Its other tables, by id; null where there is none.
    pub(super) also: fn(&str) -> *const TableHeader,
    pub(super) schema: fn() -> Result<Vec<HyperDescriptor>>,
    /// What else is declared of this kind.
    pub(super) facts: fn() -> Result<Vec<Fact>>,
    /// Checks that do not apply, as `check: why`.
    pub(super) except: &'static [&'static str],
    /// Properties that it is said to have.
    pub(super) declares: &'static [&'static str],
}

/// Something declared: key and value.
pub type Fact = (&'static str, String);

/// What is declared of slots at the defaults: those that depend on the tensor as a whole.
pub(super) fn of_slots<S: Record<Slot>>(state: &S) -> impl Iterator<Item = Fact> {
    state::mixed(state).into_iter().map(|name| (MIXED, name.to_string()))
}

/// The key under which a slot is named that depends on the tensor as a whole.
const MIXED: &str = "mixed";

inventory::collect!(Entry);

impl Entry {
    /// All of this library, by label and kind.
    ///
    /// # Errors
    /// One label twice in one kind.
    pub fn all() -> Result<Vec<&'static Entry>> {
        let mut all: Vec<&Entry> = inventory::iter::<Entry>.into_iter().collect();
        all.sort_by_key(|entry| (entry.label, entry.kind));
        for pair in all.windows(2) {
            if (pair[0].label, pair[0].kind) == (pair[1].label, pair[1].kind) {
                return Err(Error::new(format!("{} `{}` is registered twice", pair[0].kind, pair[0].label)));
            }
        }
        Ok(all)
    }

    /// With checks that do not apply.
    pub const fn except(self, except: &'static [&'static str]) -> Entry {
        Entry { except, ..self }
    }

    /// With properties that conformance checks.
    pub const fn declares(self, declares: &'static [&'static str]) -> Entry {
        Entry { declares, ..self }
    }

    /// Its table of this id; null where it has none.
    pub(crate) fn find(&self, id: &str) -> *const TableHeader {
        if self.id == id { (self.table)() } else { (self.also)(id) }
    }

    /// Its label.
    #[cfg(feature = "conformance")]
    pub(crate) fn label(&self) -> &'static str {
        self.label
    }

    /// Whether it is an optimizer.
    #[cfg(feature = "conformance")]
    pub(crate) fn is_optimizer(&self) -> bool {
        self.kind == "optimizer"
    }

    /// What the host is told at load.
    ///
    /// # Errors
    /// A schema that contradicts itself, or a rule that cannot be recorded.
    pub fn describe(&self) -> Result<Descriptor> {
        let about = |error: Error| Error::new(format!("{} `{}`: {error}", self.kind, self.label));
        let common = [
            ("sdk", env!("CARGO_PKG_VERSION").to_string()),
            ("rustc", env!("SDK_RUSTC").to_string()),
            // 0 makes kernels many times slower
            ("opt-level", env!("SDK_OPT_LEVEL").to_string()),
            // of the whole library: a strategy is chosen per binary, and this crate is compiled with it
            ("panic", if cfg!(panic = "unwind") { "unwind" } else { "abort" }.to_string()),
        ];
        let mut facts = (self.facts)().map_err(about)?;
        facts.extend(self.except.iter().map(|text| ("except", text.to_string())));
        facts.extend(self.declares.iter().map(|text| ("declares", text.to_string())));
        Ok(Descriptor {
            label: self.label.into(),
            kind: self.kind.into(),
            summary: self.summary.into(),
            paper: self.paper.into(),
            hyper: (self.schema)().map_err(about)?.into(),
            table: self.id.into(),
            facts: common.into_iter().chain(facts).map(|(key, value)| Tuple2(key.into(), value.into())).collect(),
        })
    }
}
