//! A plugin's own kernels, called through the tables it exports: what its crate's tests check, without a host.
//! Rules over whole tensors need the host's tensors, so they are not run here; `host plugin check` does.
#![allow(unsafe_code)]

use core::ptr::null_mut;

use super::interpreted::fresh;
use super::numbers::{Numbers, numel};
use super::subject::{Run, Snapshot, Start, Subject, Way};
use super::verdict::Trouble;
use crate::abi::{
    Descriptor, KernelCall, MeasureCall, NarrowKernel, OK, RuleTable, SlotDescriptor, SumsTable, TableHeader,
};
use crate::cpu::{self, from_bf16, to_bf16};
use crate::export::Entry;
use crate::export::take_fault;
use crate::tape::{self, Node};
use crate::{Device, Dtype};

/// Slots that a kernel is handed.
const MOST_SLOTS: usize = 8;

/// A registered rule over elements.
pub struct Kernels {
    descriptor: Descriptor,
    rule: &'static RuleTable,
    sums: Option<&'static SumsTable>,
}

impl Kernels {
    /// Of an entry; none where it is a rule over whole tensors.
    ///
    /// # Errors
    /// The plugin cannot describe it.
    pub(super) fn of(entry: &Entry) -> Result<Option<Kernels>, Trouble> {
        let descriptor = entry.describe().map_err(|error| Trouble::error(error.to_string()))?;
        // SAFETY: a table of this id is of this type: both are this crate's.
        let rule = unsafe { found::<RuleTable>(entry.find("plugin.rule/1")) };
        // SAFETY: as above.
        let sums = unsafe { found::<SumsTable>(entry.find("plugin.sums/1")) };
        Ok(rule.map(|rule| Kernels { descriptor, rule, sums }))
    }

    /// With other tables, such as those of a library that a test opened.
    pub fn with(descriptor: Descriptor, rule: &'static RuleTable, sums: Option<&'static SumsTable>) -> Kernels {
        Kernels { descriptor, rule, sums }
    }
}

/// # Safety
/// `header` is null or begins a `T` that lives as long as the process.
unsafe fn found<T>(header: *const TableHeader) -> Option<&'static T> {
    // SAFETY: the caller's promise.
    unsafe { header.cast::<T>().as_ref() }
}

fn said(text: abi_stable::std_types::RString) -> Trouble {
    Trouble { panicked: text.starts_with("panicked"), text: text.into_string() }
}

impl Subject for Kernels {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
    fn accepts(&self, _: &[i64]) -> bool {
        true
    }
    fn slots(&self, hyper: &[f64], _: &[i64]) -> Result<Vec<SlotDescriptor>, Trouble> {
        (self.rule.slots)(hyper.into()).into_result().map(|slots| slots.into_vec()).map_err(said)
    }
    fn narrow(&self, hyper: &[f64], _: &[i64]) -> Result<u64, Trouble> {
        self.rule.narrow.map_or(Ok(0), |entry| entry(hyper.into()).into_result().map_err(said))
    }
    fn record(&self, hyper: &[f64]) -> Result<Option<Vec<Node>>, Trouble> {
        (self.rule.record)(hyper.into()).into_result().map(|nodes| Some(nodes.into_vec())).map_err(said)
    }
    fn memory(&self, hyper: &[f64]) -> Result<Vec<f64>, Trouble> {
        let Some(sums) = self.sums else { return Ok(Vec::new()) };
        let memory = (sums.memory)(hyper.into()).into_result().map_err(said)?;
        Ok(memory.into_iter().map(|pair| pair.1).collect())
    }
    fn sums_over_all(&self) -> Option<bool> {
        self.sums.map(|sums| (sums.scope)() != 0)
    }
    fn skips_non_finite(&self) -> bool {
        false
    }

    fn begin<'a>(&'a self, hyper: &[f64], start: &[Start], way: Way) -> Result<Box<dyn Run + 'a>, Trouble> {
        if way.device == Device::Cuda {
            return Err(Trouble::error("there is no host here that could use a card"));
        }
        let nodes = self.record(hyper)?.unwrap_or_default();
        let narrow = if way.narrow { self.narrow(hyper, &[])? } else { 0 };
        let mut parameters = Vec::new();
        for start in start {
            let slots = self.slots(hyper, &start.shape)?;
            if slots.iter().any(|slot| slot.index as usize >= MOST_SLOTS || slot.shape_kind != 0) {
                return Err(Trouble::error(
                    "a slot of a rule over elements lies beyond the eighth or has another shape",
                ));
            }
            let held = |slot: &SlotDescriptor| Column::of(&fresh(slot, start), way.slot(narrow, slot.index));
            let state = slots.iter().map(held).collect();
            let x = Column::of(&start.values, way.dtype);
            parameters.push(Parameter { x, state, slots, count: 0 });
        }
        let memory = self.memory(hyper)?;
        let count = self.sums.map_or(0, |sums| (sums.names)().len());
        Ok(Box::new(Steps { of: self, nodes, hyper: hyper.to_vec(), parameters, memory, count, way, narrow }))
    }

    fn writes_outside(&self, hyper: &[f64], shape: &[i64], way: Way) -> Result<Option<String>, Trouble> {
        let n = numel(shape);
        let start = Numbers::of(3).start(shape);
        let slots = self.slots(hyper, shape)?;
        let narrow = if way.narrow { self.narrow(hyper, shape)? } else { 0 };
        let held = |slot: &SlotDescriptor| Guarded::of(&fresh(slot, &start), way.slot(narrow, slot.index));
        let mut x = Guarded::of(&start.values, way.dtype);
        let mut g = Guarded::of(&Numbers::of(5).column(n, 1.0), way.dtype);
        let mut state: Vec<Guarded> = slots.iter().map(held).collect();
        let before = g.bytes.clone();
        let mut pointers = [null_mut(); MOST_SLOTS];
        for (slot, column) in slots.iter().zip(&mut state) {
            pointers[slot.index as usize] = column.inside();
        }
        // Room for sums and memory beyond the three.
        let mut numbers = [0.5; 32];
        numbers[..3].copy_from_slice(&[1.0, n as f64, 1.0]);
        let call = call(way, hyper, &numbers, n, (x.inside(), g.inside()), &pointers);
        // SAFETY: `n` elements of the way's type lie behind every pointer; the machine has the set.
        status(unsafe { self.kernel(way, narrow)?.run(&call) })?;
        if g.bytes != before {
            return Ok(Some("the gradient was written to".into()));
        }
        let named = slots.iter().map(|slot| format!("slot `{}`", slot.name));
        let all = std::iter::once((x, "the parameter".to_string())).chain(state.into_iter().zip(named));
        Ok(all.into_iter().find_map(|(column, what)| {
            column.touched().map(|place| format!("memory {place} bytes off {what} was written to"))
        }))
    }
}

impl Kernels {
    fn kernel(&self, way: Way, narrow: u64) -> Result<Kernel, Trouble> {
        let narrowed = |kernel: Option<NarrowKernel>| {
            let kernel = kernel.ok_or_else(|| Trouble::error("it has no kernel for state in bf16"))?;
            Ok(Kernel::Narrow(kernel, narrow))
        };
        match way.dtype {
            Dtype::F32 if narrow != 0 => narrowed(self.rule.update_f32_narrow),
            Dtype::Bf16 if narrow != 0 => narrowed(self.rule.update_bf16_narrow),
            Dtype::F32 => Ok(Kernel::Plain(self.rule.update_f32)),
            Dtype::F64 => Ok(Kernel::Plain(self.rule.update_f64)),
            Dtype::Bf16 => Ok(Kernel::Plain(self.rule.update_bf16)),
        }
    }

    /// Makes calls on as many threads as the way has.
    ///
    /// # Safety
    /// The calls are as [`KernelCall`] says, for the way's element type and the slots in bf16, and overlap nowhere.
    unsafe fn run(&self, way: Way, narrow: u64, calls: &[KernelCall]) -> Result<(), Trouble> {
        let kernel = self.kernel(way, narrow)?;
        // SAFETY: the caller's promise. A failure's text is kept per thread, so it is fetched where it happened.
        let all = |calls: &[KernelCall]| calls.iter().try_for_each(|call| status(unsafe { kernel.run(call) }));
        if way.threads <= 1 || calls.is_empty() {
            return all(calls);
        }
        std::thread::scope(|scope| {
            let parts = calls.chunks(calls.len().div_ceil(way.threads)).map(Part);
            let threads: Vec<_> = parts.map(|part| scope.spawn(move || all(part.calls()))).collect();
            let panicked = || Trouble { panicked: true, text: "panicked outside of its entry".to_string() };
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
        })
    }
}

/// An entry that updates.
#[derive(Clone, Copy)]
enum Kernel {
    Plain(unsafe extern "C" fn(*const KernelCall) -> u32),
    /// With slots in bf16, as bits.
    Narrow(NarrowKernel, u64),
}

impl Kernel {
    /// # Safety
    /// The call is as [`KernelCall`] says, for the entry's element types.
    unsafe fn run(self, call: &KernelCall) -> u32 {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Kernel::Plain(kernel) => kernel(call),
                Kernel::Narrow(kernel, narrow) => kernel(call, narrow),
            }
        }
    }
}

/// Calls that one thread makes.
struct Part<'a>(&'a [KernelCall]);
// SAFETY: made by [`Kernels::run`] alone, whose calls overlap nowhere.
unsafe impl Send for Part<'_> {}

impl<'a> Part<'a> {
    fn calls(self) -> &'a [KernelCall] {
        self.0
    }
}

fn call(
    way: Way,
    hyper: &[f64],
    numbers: &[f64],
    n: usize,
    (x, g): (*mut (), *const ()),
    state: &[*mut (); MOST_SLOTS],
) -> KernelCall {
    let (hyper, step, state) = (hyper.as_ptr(), numbers.as_ptr(), state.as_ptr());
    KernelCall { struct_size: size_of::<KernelCall>(), isa: way.isa as u32, hyper, step, n, x, g, state }
}

fn status(status: u32) -> Result<(), Trouble> {
    if status == OK {
        Ok(())
    } else {
        Err(Trouble { panicked: status == crate::abi::PANICKED, text: take_fault().into() })
    }
}

/// Elements of one type in memory.
struct Column {
    bytes: Vec<u8>,
    dtype: Dtype,
}

/// Bytes of an element.
pub(super) fn width(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 4,
        Dtype::F64 => 8,
        Dtype::Bf16 => 2,
    }
}

impl Column {
    fn of(values: &[f64], dtype: Dtype) -> Column {
        let bytes = values
            .iter()
            .flat_map(|&value| match dtype {
                Dtype::F32 => (value as f32).to_le_bytes().to_vec(),
                Dtype::F64 => value.to_le_bytes().to_vec(),
                Dtype::Bf16 => to_bf16(value as f32).to_le_bytes().to_vec(),
            })
            .collect();
        Column { bytes, dtype }
    }

    fn values(&self) -> Vec<f64> {
        let value = |bytes: &[u8]| match *bytes {
            [a, b] => f64::from(from_bf16(u16::from_le_bytes([a, b]))),
            [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
            _ => f64::from_le_bytes(bytes.try_into().unwrap_or_default()),
        };
        self.bytes.chunks_exact(width(self.dtype)).map(value).collect()
    }

    /// Address of an element. Kernels take any address, aligned or not.
    fn at(&mut self, element: usize) -> *mut () {
        self.bytes[element * width(self.dtype)..].as_mut_ptr().cast()
    }
}

/// A column between guards.
struct Guarded {
    bytes: Vec<u8>,
}

const GUARD: usize = 256;
const MARK: u8 = 0xa5;

impl Guarded {
    fn of(values: &[f64], dtype: Dtype) -> Guarded {
        let guard = [MARK; GUARD];
        Guarded { bytes: [&guard, &Column::of(values, dtype).bytes[..], &guard].concat() }
    }

    fn inside(&mut self) -> *mut () {
        self.bytes[GUARD..].as_mut_ptr().cast()
    }

    /// How far outside something was written.
    fn touched(&self) -> Option<usize> {
        let end = self.bytes.len() - GUARD;
        let after = self.bytes[end..].iter().position(|byte| *byte != MARK).map(|place| place + 1);
        after.or_else(|| self.bytes[..GUARD].iter().rposition(|byte| *byte != MARK).map(|place| GUARD - place))
    }
}

struct Parameter {
    x: Column,
    state: Vec<Column>,
    slots: Vec<SlotDescriptor>,
    count: u64,
}

struct Steps<'a> {
    of: &'a Kernels,
    nodes: Vec<Node>,
    hyper: Vec<f64>,
    parameters: Vec<Parameter>,
    memory: Vec<f64>,
    count: usize,
    way: Way,
    /// Slots in bf16, as bits.
    narrow: u64,
}

impl Steps<'_> {
    fn numbers(&self, step: [f64; 3], sums: &[f64]) -> Vec<f64> {
        let sums = (0..self.count).map(|k| sums.get(k).copied().unwrap_or(0.0));
        step.into_iter().chain(sums).chain(self.memory.iter().copied()).collect()
    }

    /// The sums of one parameter, chunk by chunk.
    fn sums(&mut self, index: usize, g: &mut Column, step: [f64; 3]) -> Result<Vec<f64>, Trouble> {
        let Some(table) = self.of.sums else { return Ok(Vec::new()) };
        let (plain, narrowed) = match self.way.dtype {
            Dtype::F32 => (table.measure_f32, table.measure_f32_narrow),
            Dtype::F64 => (table.measure_f64, None),
            Dtype::Bf16 => (table.measure_bf16, table.measure_bf16_narrow),
        };
        let (narrow, absent) = (self.narrow, || Trouble::error("it has no measuring kernel for state in bf16"));
        let narrowed = if narrow != 0 { Some(narrowed.ok_or_else(absent)?) } else { None };
        let numbers = self.numbers(step, &[]);
        let chunk = self.way.chunk.next_multiple_of(cpu::BLOCK);
        let parameter = &mut self.parameters[index];
        let numel = parameter.x.values().len();
        let mut columns = vec![Vec::new(); self.count];
        for at in (0..numel).step_by(chunk) {
            let n = chunk.min(numel - at);
            let mut rows = vec![0.0; cpu::blocks(n) * self.count];
            let mut state = [core::ptr::null(); MOST_SLOTS];
            for (slot, column) in parameter.slots.iter().zip(&mut parameter.state) {
                state[slot.index as usize] = column.at(at).cast_const();
            }
            let call = MeasureCall {
                struct_size: size_of::<MeasureCall>(),
                isa: self.way.isa as u32,
                hyper: self.hyper.as_ptr(),
                step: numbers.as_ptr(),
                n,
                x: parameter.x.at(at),
                g: g.at(at),
                state: state.as_ptr(),
                rows: rows.as_mut_ptr(),
            };
            // SAFETY: every pointer has `n` elements of the way's element types, `rows` a row per block.
            status(unsafe { narrowed.map_or_else(|| plain(&call), |measure| measure(&call, narrow)) })?;
            for row in rows.chunks_exact(self.count.max(1)) {
                columns.iter_mut().zip(row).for_each(|(column, value): (&mut Vec<f64>, _)| column.push(*value));
            }
        }
        Ok(columns.iter().map(|column| cpu::sum(column)).collect())
    }
}

impl Run for Steps<'_> {
    fn step(&mut self, grads: &[Vec<f64>], norm: f64) -> Result<(), Trouble> {
        let mut grads: Vec<Column> = grads.iter().map(|g| Column::of(g, self.way.dtype)).collect();
        let steps: Vec<[f64; 3]> = self
            .parameters
            .iter()
            .map(|parameter| [(parameter.count + 1) as f64, parameter.x.values().len() as f64, norm])
            .collect();
        let mut sums = Vec::new();
        for (index, g) in grads.iter_mut().enumerate() {
            sums.push(self.sums(index, g, steps[index])?);
        }
        if self.of.sums_over_all() == Some(true) {
            let mut total = vec![0.0; self.count];
            for sums in &mut sums {
                total.iter_mut().zip(sums.iter()).for_each(|(total, sum)| *total += sum);
                sums.clear();
            }
            let known = self.numbers(steps[0], &total);
            self.memory = tape::advanced(&self.nodes, &tape::scalars(&self.nodes, &self.hyper, &known));
        }
        for (index, g) in grads.iter_mut().enumerate() {
            let numbers = self.numbers(steps[index], &sums[index]);
            let parameter = &mut self.parameters[index];
            let numel = g.values().len();
            let states: Vec<[*mut (); MOST_SLOTS]> = (0..numel)
                .step_by(self.way.chunk)
                .map(|at| {
                    let mut state = [null_mut(); MOST_SLOTS];
                    for (slot, column) in parameter.slots.iter().zip(&mut parameter.state) {
                        state[slot.index as usize] = column.at(at);
                    }
                    state
                })
                .collect();
            let calls: Vec<KernelCall> = states
                .iter()
                .zip((0..numel).step_by(self.way.chunk))
                .map(|(state, at)| {
                    let n = self.way.chunk.min(numel - at);
                    call(self.way, &self.hyper, &numbers, n, (parameter.x.at(at), g.at(at)), state)
                })
                .collect();
            // SAFETY: every pointer has `n` elements of the way's type behind it, each chunk its own; there are as many
            // hyper-parameters as in the schema, and all numbers that the rule reads.
            unsafe { self.of.run(self.way, self.narrow, &calls)? };
            parameter.count += 1;
        }
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        let named = |parameter: &Parameter| -> Vec<(String, Vec<f64>)> {
            let pairs = parameter.slots.iter().zip(&parameter.state);
            pairs.map(|(slot, column)| (slot.name.to_string(), column.values())).collect()
        };
        Snapshot {
            parameters: self.parameters.iter().map(|parameter| parameter.x.values()).collect(),
            slots: self.parameters.iter().map(named).collect(),
            memory: self.memory.clone(),
            counts: self.parameters.iter().map(|parameter| parameter.count).collect(),
        }
    }

    fn resume(&mut self, from: &Snapshot) -> Result<(), Trouble> {
        for (index, parameter) in self.parameters.iter_mut().enumerate() {
            parameter.x = Column::of(&from.parameters[index], parameter.x.dtype);
            for (column, (_, values)) in parameter.state.iter_mut().zip(&from.slots[index]) {
                *column = Column::of(values, column.dtype);
            }
            parameter.count = from.counts[index];
        }
        self.memory.clone_from(&from.memory);
        Ok(())
    }

    fn state_bytes(&self) -> u64 {
        self.parameters.iter().flat_map(|parameter| &parameter.state).map(|column| column.bytes.len() as u64).sum()
    }

    fn changed_form(&self) -> Option<String> {
        None
    }
}
