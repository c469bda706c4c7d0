//! One label whose plugin is loaded: what it is called, what it says about itself, and the table that runs it.
//! Runs no rule; it asks the plugin only for what it declares.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use abi_stable::std_types::RResult;
use sdk::{
    abi::{
        self, ArchOpTable, Descriptor, EvaluationTable, HyperDescriptor, MemoryTable, NarrowEntry, OptimizerTable,
        PassesTable, ProjectionTable, RuleTable, SlotDescriptor, SlotsTable, SumsTable,
    },
    tape::{self, Node},
};

use super::{Entry, Kind, Library, StateBytes, descriptor, fingerprint, hyper};
use crate::{
    config::settings::HyperValue,
    fault::{Exit, Fault, Faults},
};

/// A label that can run.
#[derive(Debug)]
pub struct Loaded {
    /// What the label stands for.
    pub kind: Kind,
    /// The label, as the registry and the plugin both call it.
    pub label: String,
    /// What the plugin says about it.
    pub descriptor: Descriptor,
    /// What the registry says about it.
    pub entry: Entry,
    /// Where it comes from.
    pub library: Arc<Library>,
    table: Table,
    defaults: Vec<f64>,
    fingerprint: Option<String>,
    poisoned: AtomicBool,
}

/// The table that runs a label.
#[derive(Clone, Copy)]
enum Table {
    Rule(RuleTables),
    Optimizer(&'static OptimizerTable, Option<&'static SlotsTable>, Option<&'static PassesTable>),
    Projection(&'static ProjectionTable),
    ArchOp(&'static ArchOpTable),
}

/// A rule over elements, and what it has beside its update.
#[derive(Clone, Copy)]
struct RuleTables {
    rule: &'static RuleTable,
    sums: Option<&'static SumsTable>,
    memory: Option<&'static MemoryTable>,
    evaluation: Option<&'static EvaluationTable>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Table::Rule(RuleTables { memory: Some(_), .. }) => "plugin.memory/1",
            Table::Rule(RuleTables { sums: Some(_), .. }) => "plugin.sums/1",
            Table::Rule(_) => "plugin.rule/1",
            Table::Optimizer(_, _, None) => "plugin.optimizer/1",
            Table::Optimizer(_, _, Some(_)) => "plugin.passes/1",
            Table::Projection(_) => "plugin.projection/1",
            Table::ArchOp(_) => "plugin.arch_op/1",
        })
    }
}

impl Loaded {
    /// Joins an entry of the registry with what the plugin exports under its label.
    ///
    /// # Errors
    /// R020 and R021 where the plugin exports no such label; R007 where the entry's defaults do not fit its schema;
    /// R017, R019 and R024 where the plugin cannot keep its word.
    pub fn new(entry: &Entry, library: Arc<Library>) -> Result<Loaded, Faults> {
        let descriptor = exported(entry, &library)?.clone();
        let mut faults = Faults::none();
        let defaults = faults.take(overlaid(entry, &descriptor.hyper));
        let table = faults.take(find_table(entry, &library, &descriptor).map_err(|fault| fault.at(&entry.place)));
        let (Some(defaults), Some(table)) = (defaults, table) else { return Err(faults) };
        faults.check()?;
        let (kind, label, entry) = (entry.kind, entry.label.clone(), entry.clone());
        let poisoned = AtomicBool::new(false);
        let mut loaded =
            Loaded { kind, label, descriptor, entry, library, table, defaults, fingerprint: None, poisoned };
        loaded.fingerprint = fingerprint::fingerprint(&loaded).map_err(|fault| loaded.at_load(fault))?;
        Ok(loaded)
    }

    fn tables(&self) -> Option<RuleTables> {
        if let Table::Rule(tables) = self.table { Some(tables) } else { None }
    }

    /// Its table, where it is a rule over elements, with sums or without.
    pub fn rule(&self) -> Option<&'static RuleTable> {
        self.tables().map(|tables| tables.rule)
    }

    /// The table of its sums, where it is a rule that sums.
    pub fn sums(&self) -> Option<&'static SumsTable> {
        self.tables()?.sums
    }

    /// The table of the weights to evaluate at, where they are others than those it trains.
    pub fn evaluation(&self) -> Option<&'static EvaluationTable> {
        self.tables()?.evaluation
    }

    /// Whether it keeps numbers per tensor.
    pub fn remembers(&self) -> bool {
        self.tables().is_some_and(|tables| tables.memory.is_some())
    }

    /// Whether its sums, and its memory, are those of all tensors.
    pub fn is_global(&self) -> bool {
        !self.remembers() && self.sums().is_some_and(|table| (table.scope)() != 0)
    }

    /// The numbers that a rule keeps, of each tensor or of all, before the first step: names and values.
    ///
    /// # Errors
    /// P002 where the plugin fails, or has more numbers than can be handed over.
    pub fn memory(&self, hyper: &[f64]) -> Result<Vec<(String, f64)>, Fault> {
        if self.remembers() {
            let numbers = self.slots(hyper)?.into_iter().filter(SlotDescriptor::is_number);
            return Ok(numbers.map(|number| (number.name.to_string(), number.start_number())).collect());
        }
        let Some(table) = self.sums() else { return Ok(Vec::new()) };
        let numbers = self.answer((table.memory)(hyper.into()), "memory")?;
        Ok(numbers.into_iter().map(|pair| (pair.0.into_string(), pair.1)).collect())
    }

    /// Its weights for evaluation as an expression; none where they are those it trains.
    ///
    /// # Errors
    /// P002 where the plugin fails, or the expression is not one.
    pub fn record_evaluation(&self, hyper: &[f64]) -> Result<Option<Vec<Node>>, Fault> {
        let Some(table) = self.evaluation() else { return Ok(None) };
        let mut slots = self.slots(hyper)?;
        slots.retain(|slot| !slot.is_number());
        self.checked((table.record)(hyper.into()), hyper, &slots, 0).map(Some)
    }

    /// Its table, where it is an optimizer over whole tensors.
    pub fn optimizer(&self) -> Option<&'static OptimizerTable> {
        if let Table::Optimizer(table, ..) = self.table { Some(table) } else { None }
    }

    /// Elements of a batch up to which more parameters join it; none where the rule does not go by passes.
    pub fn alone_from(&self) -> Option<u64> {
        if let Table::Optimizer(_, _, Some(passes)) = self.table { Some((passes.alone_from)()) } else { None }
    }

    /// Its table, where it is a projection.
    pub fn projection(&self) -> Option<&'static ProjectionTable> {
        if let Table::Projection(table) = self.table { Some(table) } else { None }
    }

    /// Its table, where it is an architecture operation.
    pub fn arch_op(&self) -> Option<&'static ArchOpTable> {
        if let Table::ArchOp(table) = self.table { Some(table) } else { None }
    }

    /// The fault behind a status that is not `OK`. Takes the plugin's text, so it must be called on the thread that got
    /// the status. After a panic the label is poisoned.
    pub fn fault(&self, status: u32, stage: &str) -> Fault {
        self.told(status, stage, self.library.take_fault())
    }

    fn told(&self, status: u32, stage: &str, text: String) -> Fault {
        let (code, what) = match status {
            abi::PANICKED => {
                self.poisoned.store(true, Ordering::Relaxed);
                ("P001", "panicked".to_string())
            }
            abi::FAILED => ("P002", "failed".to_string()),
            other => ("P003", format!("answered with status {other}, which means nothing")),
        };
        self.plugin_fault(code, format!("{} `{}` {what} in {stage}", self.kind, self.label), text)
    }

    /// Whether it may be called.
    ///
    /// # Errors
    /// P003 after a panic.
    pub fn ready(&self) -> Result<(), Fault> {
        if !self.poisoned.load(Ordering::Relaxed) {
            return Ok(());
        }
        let message = format!("{} `{}` panicked before and is not called again", self.kind, self.label);
        Err(self.plugin_fault("P003", message, String::new()))
    }

    fn plugin_fault(&self, code: &'static str, message: String, text: String) -> Fault {
        let fault = Fault::new(code, Exit::Plugin, message);
        let fault = if text.is_empty() { fault } else { fault.note("plugin", text) };
        fault.note("library", self.library.path.display().to_string())
    }

    /// Values of all hyper-parameters in the order of the schema: the registry's defaults over the plugin's.
    pub fn defaults(&self) -> Vec<f64> {
        self.defaults.clone()
    }

    /// The schema, in the order in which values are handed over.
    pub fn schema(&self) -> &[HyperDescriptor] {
        &self.descriptor.hyper
    }

    /// Where a hyper-parameter stands in the schema.
    pub fn hyper_index(&self, name: &str) -> Option<usize> {
        self.descriptor.hyper.iter().position(|hyper| hyper.name == name)
    }

    /// A hyper-parameter by name and value as written: its index and its number.
    ///
    /// # Errors
    /// An unknown name, a value of another kind or out of range.
    pub fn hyper(&self, name: &str, value: &HyperValue) -> Result<(usize, f64), hyper::Unfit> {
        let index = hyper::find(&self.descriptor.hyper, &self.label, name)?;
        Ok((index, hyper::number(&self.descriptor.hyper[index], value)?))
    }

    /// Who decided the default of a hyper-parameter: `registry` or `plugin`.
    pub fn default_source(&self, name: &str) -> &'static str {
        if self.entry.defaults.contains_key(name) { "registry" } else { "plugin" }
    }

    /// The exact fingerprint of its rule with the registry's defaults. Optimizers alone.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// A fact that the plugin declares, such as `sdk` or `rustc`.
    pub fn fact(&self, key: &str) -> Option<&str> {
        descriptor::fact(&self.descriptor, key)
    }

    /// Whether what a slot holds depends on the tensor as a whole, as its plugin says.
    pub fn is_mixed(&self, slot: &str) -> bool {
        self.descriptor.facts.iter().any(|fact| fact.0 == "mixed" && fact.1 == slot)
    }

    /// Its state slots for these hyper-parameters, and the numbers it keeps of each tensor; none where it is no optimizer.
    ///
    /// # Errors
    /// P002 where the plugin fails, or names slots that cannot be kept.
    pub fn slots(&self, hyper: &[f64]) -> Result<Vec<SlotDescriptor>, Fault> {
        let answer = match self.table {
            Table::Rule(tables) => (tables.rule.slots)(hyper.into()),
            Table::Optimizer(table, ..) => (table.slots)(hyper.into()),
            Table::Projection(_) | Table::ArchOp(_) => return Ok(Vec::new()),
        };
        let mut slots = self.answer(answer, "slots")?.into_vec();
        if let Some(memory) = self.tables().and_then(|tables| tables.memory) {
            let numbers = self.answer((memory.numbers)(hyper.into()), "numbers")?;
            let places = sdk::FIRST_NUMBER..;
            if let Some((number, _)) = numbers.iter().zip(places).find(|(number, place)| number.index != *place) {
                let reason = format!("number `{}` has index {}", number.name, number.index);
                return Err(self.unkept(reason));
            }
            if numbers.is_empty() {
                return Err(self.unkept("a rule that keeps numbers per tensor names none".into()));
            }
            slots.extend(numbers);
        }
        self.usable(slots)
    }

    fn unkept(&self, reason: String) -> Fault {
        self.plugin_fault("P002", format!("optimizer `{}` names state that cannot be kept", self.label), reason)
    }

    fn usable(&self, slots: Vec<SlotDescriptor>) -> Result<Vec<SlotDescriptor>, Fault> {
        match unusable(&slots, self.rule().is_some()) {
            None => Ok(slots),
            Some(reason) => Err(self.unkept(reason)),
        }
    }

    /// The table of its slots by shape, where it has one.
    pub fn slots_by_shape(&self) -> Option<&'static SlotsTable> {
        if let Table::Optimizer(_, slots, _) = self.table { slots } else { None }
    }

    /// The state slots of a parameter of this shape.
    ///
    /// # Errors
    /// P002 as [`Loaded::slots`].
    pub fn slots_of(&self, hyper: &[f64], shape: &[i64]) -> Result<Vec<SlotDescriptor>, Fault> {
        let Some(table) = self.slots_by_shape() else { return self.slots(hyper) };
        self.usable(self.answer((table.slots)(hyper.into(), shape.into()), "slots")?.into_vec())
    }

    /// The slots of a parameter of this shape that may be kept in bf16, as bits by index; none where the plugin's sdk did
    /// not know of it. `slots` are those of the shape.
    ///
    /// # Errors
    /// P002 where the plugin fails, or names a slot that is not there or has another shape than the parameter.
    pub fn narrow(&self, hyper: &[f64], shape: &[i64], slots: &[SlotDescriptor]) -> Result<Option<u64>, Fault> {
        let answer = match self.table {
            Table::Rule(RuleTables { rule, sums, evaluation, .. }) => {
                let evaluates =
                    evaluation.is_none_or(|t| t.prepare_f32_narrow.is_some() && t.prepare_bf16_narrow.is_some());
                let measures =
                    sums.is_none_or(|sums| sums.measure_f32_narrow.is_some() && sums.measure_bf16_narrow.is_some());
                narrow_entry(rule).filter(|_| evaluates && measures).map(|entry| entry(hyper.into()))
            }
            Table::Optimizer(table, ..) => table.narrow.map(|entry| entry(hyper.into(), shape.into())),
            Table::Projection(_) | Table::ArchOp(_) => None,
        };
        let Some(answer) = answer else { return Ok(None) };
        let narrow = self.answer(answer, "narrow")?;
        let fit = slots.iter().filter(|slot| slot.shape_kind == 0).fold(0, |bits, slot| bits | 1u64 << slot.index);
        if narrow & !fit != 0 {
            let message = format!("optimizer `{}` names slots for bf16 that cannot be kept in it", self.label);
            return Err(self.plugin_fault("P002", message, format!("bits {narrow:#b}, of which {fit:#b} can be")));
        }
        Ok(Some(narrow))
    }

    /// The slots of a matrix that a run in bf16 keeps in it with the registry's defaults, as bits by index.
    ///
    /// # Errors
    /// P002 as [`Loaded::narrow`].
    pub fn narrow_by_default(&self) -> Result<u64, Fault> {
        let matrix = [2, 2];
        let slots = self.slots_of(&self.defaults, &matrix)?;
        Ok(self.narrow(&self.defaults, &matrix, &slots)?.unwrap_or(0))
    }

    /// Its state with the registry's defaults; none where it is no optimizer.
    ///
    /// # Errors
    /// P002 as [`Loaded::slots`].
    pub fn state_bytes(&self) -> Result<Option<StateBytes>, Fault> {
        let slots = self.slots(&self.defaults)?;
        Ok((self.kind == Kind::Optimizer).then(|| StateBytes::of(&slots)))
    }

    /// Its rule as an expression for these hyper-parameters; none where it is no rule over elements.
    ///
    /// # Errors
    /// P002 where the plugin fails, or the expression is not one.
    pub fn record(&self, hyper: &[f64]) -> Result<Option<Vec<Node>>, Fault> {
        let Some(table) = self.rule() else { return Ok(None) };
        let sums = self.sums().map_or(0, |table| (table.names)().len());
        self.checked((table.record)(hyper.into()), hyper, &self.slots(hyper)?, sums).map(Some)
    }

    fn checked(
        &self,
        answer: RResult<abi_stable::std_types::RVec<Node>, abi_stable::std_types::RString>,
        hyper: &[f64],
        slots: &[SlotDescriptor],
        sums: usize,
    ) -> Result<Vec<Node>, Fault> {
        let nodes = self.answer(answer, "record")?.into_vec();
        tape::check(&nodes, hyper.len(), slots).map_err(|reason| {
            let message = format!("optimizer `{}` records something that is no rule", self.label);
            self.plugin_fault("P002", message, reason.to_string())
        })?;
        let measured = nodes.iter().filter(|node| node.operation() == Some(tape::Op::OutSum)).count();
        if measured != sums {
            let message = format!("optimizer `{}` records something that is no rule", self.label);
            return Err(self.plugin_fault("P002", message, format!("{measured} sums, {sums} are named")));
        }
        Ok(nodes)
    }

    /// Whether its bits are the same on every device; none where the rule is not an expression.
    ///
    /// # Errors
    /// P002 as [`Loaded::record`].
    pub fn portable(&self) -> Result<Option<bool>, Fault> {
        Ok(self.record(&self.defaults)?.map(|nodes| tape::portable(&nodes)))
    }

    /// Its rule as text, one assignment per line; none where it is no rule over elements.
    ///
    /// # Errors
    /// P002 as [`Loaded::record`].
    pub fn formula(&self, hyper: &[f64]) -> Result<Option<String>, Fault> {
        let Some(nodes) = self.record(hyper)? else { return Ok(None) };
        let names: Vec<&str> = self.schema().iter().map(|hyper| hyper.name.as_str()).collect();
        let slots = self.slots(hyper)?;
        let mut state = vec![""; slots.iter().map(|slot| slot.index as usize + 1).max().unwrap_or(0)];
        for slot in &slots {
            state[slot.index as usize] = &slot.name;
        }
        let sums = self.sums().map(|table| (table.names)()).unwrap_or_default();
        let sums: Vec<&str> = sums.iter().map(|name| name.as_str()).collect();
        let memory = self.memory(hyper)?;
        let memory: Vec<&str> = memory.iter().map(|(name, _)| name.as_str()).collect();
        let names = tape::Names { hyper: &names, state: &state, sums: &sums, memory: &memory };
        Ok(Some(tape::formula_with(&nodes, &names)))
    }

    fn answer<T>(&self, answer: RResult<T, abi_stable::std_types::RString>, stage: &str) -> Result<T, Fault> {
        answer.into_result().map_err(|text| {
            let text = text.into_string();
            // The sdk marks the text of a panic so; there is no status beside it.
            let status = if text.starts_with("panicked") { abi::PANICKED } else { abi::FAILED };
            self.told(status, stage, text)
        })
    }

    /// What fails with the registry's own defaults fails at load.
    fn at_load(&self, fault: Fault) -> Fault {
        let fault = Fault { code: "R017", exit: Exit::Registry, ..fault };
        fault.at(&self.entry.place)
    }
}

/// The entry that names slots for bf16, where the kernels are there too.
fn narrow_entry(table: &RuleTable) -> Option<NarrowEntry> {
    table.narrow.filter(|_| table.update_f32_narrow.is_some() && table.update_bf16_narrow.is_some())
}

/// Whether a fault is that of a panic, or of a call after one.
pub fn of_panic(fault: &Fault) -> bool {
    matches!(fault.code, "P001" | "P003")
}

fn exported<'a>(entry: &Entry, library: &'a Library) -> Result<&'a Descriptor, Fault> {
    let (kind, label) = (entry.kind, &entry.label);
    let all = library.descriptors();
    let named = |descriptor: &&Descriptor| descriptor.label == *label;
    if let Some(found) = all.iter().filter(named).find(|descriptor| descriptor.kind == kind.name()) {
        return Ok(found);
    }
    let reported = |all: &[&Descriptor]| {
        let names: Vec<String> =
            all.iter().map(|descriptor| format!("{} `{}`", descriptor.kind, descriptor.label)).collect();
        names.join(", ")
    };
    let fault = |code, message: String| {
        let fault = Fault::new(code, Exit::Registry, message).at(&entry.place);
        fault.note("library", library.path.display().to_string())
    };
    if let Some(other) = all.iter().find(named) {
        let message = format!("`{label}` is listed as {kind}, but the plugin reports {} `{label}`", other.kind);
        return Err(fault("R021", message).hint(format!("list it under [[{}]]", other.kind)));
    }
    let of_kind: Vec<&Descriptor> = all.iter().filter(|descriptor| descriptor.kind == kind.name()).collect();
    let shown = if of_kind.is_empty() { all.iter().collect() } else { of_kind };
    let message =
        format!("plugin `{}` does not export {kind} `{label}`; it reports {}", entry.plugin, reported(&shown));
    let hint = "correct `label` or `plugin`; another name for a label is an alias";
    Err(fault("R020", message).hint(hint))
}

/// The plugin's defaults with the registry's over them.
fn overlaid(entry: &Entry, schema: &[HyperDescriptor]) -> Result<Vec<f64>, Faults> {
    let mut values: Vec<f64> = schema.iter().map(|hyper| hyper.default).collect();
    let mut faults = Faults::none();
    for (name, value) in &entry.defaults {
        let read = hyper::find(schema, &entry.label, name)
            .and_then(|index| Ok((index, hyper::number(&schema[index], value)?)))
            .map_err(|unfit| unfit_fault(unfit, &format!("the defaults of `{}`", entry.label), &entry.place));
        if let Some((index, value)) = faults.take(read) {
            values[index] = value;
        }
    }
    faults.check()?;
    Ok(values)
}

/// R007: a hyper-parameter in the registry that the schema does not take.
pub(super) fn unfit_fault(unfit: hyper::Unfit, whose: &str, place: &str) -> Fault {
    let fault = Fault::new("R007", Exit::Registry, format!("{whose}: {}", unfit.message)).at(place);
    match unfit.hint {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

fn find_table(entry: &Entry, library: &Library, descriptor: &Descriptor) -> Result<Table, Fault> {
    let label = &entry.label;
    let evaluation = || match descriptor::fact(descriptor, "prepare_for_eval") {
        Some("true") => library.table(label).map(Some),
        _ => Ok(None),
    };
    match (entry.kind, descriptor.table.as_str()) {
        (Kind::Optimizer, "plugin.rule/1") => {
            let (rule, evaluation) = (library.table(label)?, evaluation()?);
            Ok(Table::Rule(RuleTables { rule, sums: None, memory: None, evaluation }))
        }
        (Kind::Optimizer, "plugin.sums/1") => {
            let (rule, sums) = (library.table(label)?, Some(library.table(label)?));
            Ok(Table::Rule(RuleTables { rule, sums, memory: None, evaluation: None }))
        }
        (Kind::Optimizer, "plugin.memory/1") => {
            let (rule, sums, memory) = (library.table(label)?, library.table(label)?, library.table(label)?);
            Ok(Table::Rule(RuleTables { rule, sums: Some(sums), memory: Some(memory), evaluation: evaluation()? }))
        }
        (Kind::Optimizer, "plugin.optimizer/1") => {
            // A plugin of an older sdk has slots of one kind for all shapes.
            Ok(Table::Optimizer(library.table(label)?, library.table(label).ok(), None))
        }
        (Kind::Optimizer, "plugin.passes/1") => {
            let (optimizer, slots, passes) = (library.table(label)?, library.table(label)?, library.table(label)?);
            Ok(Table::Optimizer(optimizer, Some(slots), Some(passes)))
        }
        (Kind::Projection, "plugin.projection/1") => library.table(label).map(Table::Projection),
        (Kind::ArchOp, "plugin.arch_op/1") => library.table(label).map(Table::ArchOp),
        (kind, table) => {
            let message = format!("{kind} `{label}` runs by table `{table}`, which this host does not know");
            Err(Fault::new("R024", Exit::Registry, message).hint("build the plugin with this host's sdk"))
        }
    }
}

/// A rule's state record has a handful of fields; a larger index is a mistake, and would be allocated.
const MOST_SLOTS: u32 = 64;

/// Slots are saved as `<parameter>/<slot>` and found by index, so both must be unique. Rules over elements have slots of
/// the parameter's shape, and numbers.
fn unusable(slots: &[SlotDescriptor], over_elements: bool) -> Option<String> {
    for (i, slot) in slots.iter().enumerate() {
        let before = &slots[..i];
        let name = &slot.name;
        if name.is_empty() || name.contains('/') {
            return Some(format!("`{name}` is no name of a slot"));
        }
        if before.iter().any(|other| other.name == *name || other.index == slot.index) {
            return Some(format!("slot `{name}` (index {}) is there twice", slot.index));
        }
        if slot.index >= MOST_SLOTS {
            return Some(format!("slot `{name}` has index {}", slot.index));
        }
        let fits = match slot.shape_kind {
            0 => !over_elements || slot.index < sdk::FIRST_NUMBER,
            sdk::NUMBER => over_elements && slot.index >= sdk::FIRST_NUMBER && slot.start < 2,
            1..=5 | sdk::SQUARE.. => !over_elements,
            _ => false,
        };
        if !fits || slot.start > 2 {
            let (kind, start, index) = (slot.shape_kind, slot.start, slot.index);
            return Some(format!("slot `{name}` has shape kind {kind}, start {start} and index {index}"));
        }
    }
    None
}
