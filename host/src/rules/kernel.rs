//! Runs a rule over elements on a list of tensors: the plugin's kernel on the CPU, on libtorch's threads; one made of the
//! recorded expression on a CUDA card; the expression node by node elsewhere. A rule that sums has a first pass, which
//! only reads. Does not choose tensors or hyper-parameters; that is `optim`.

use std::{
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use sdk::{
    FIRST_NUMBER,
    abi::{
        EvaluationTable, KernelCall, MeasureCall, NarrowKernel, NarrowMeasure, OK, RuleTable, SlotDescriptor, SumsTable,
    },
    cpu,
    tape::Node,
};
use tch::{Device, Kind, Tensor};

use super::{
    InstructionSet,
    chunks::{self, Chunk},
    cuda::{Cuda, Item},
    interpret, threads,
    touched::Touched,
};
use crate::{
    fault::{Exit, Fault},
    registry::Loaded,
};

/// State slots that an elementwise rule may have, as in the sdk's kernels; those beyond could not be handed over.
pub const MAX_SLOTS: usize = 8;
const _: () = assert!(MAX_SLOTS == FIRST_NUMBER as usize, "slots and numbers have one list of places");

/// Sums and numbers of memory that a rule may have, together.
const MAX_NUMBERS: usize = 16;

/// What a kernel is told of a step: t, numel, grad_norm, the sums, the numbers that are kept.
type Numbers = [f64; 3 + MAX_NUMBERS];

/// The text of a failure, as a fault; to be called on the thread that saw the status.
pub type OnFailure = Arc<dyn Fn(u32, &str) -> Fault + Send + Sync>;

/// A rule over elements, of a loaded plugin.
#[derive(Clone)]
pub struct Rule {
    /// Its label.
    pub label: String,
    table: &'static RuleTable,
    sums: Option<Sums>,
    memory: Memory,
    evaluation: Option<&'static EvaluationTable>,
    on_failure: OnFailure,
}

/// Whose numbers a rule keeps from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// None.
    Nothing,
    /// Those of each tensor; its sums, if it takes any, are those of each tensor too.
    OfEach,
    /// Those that all tensors share, after sums over all of them.
    OfAll,
}

/// What a rule sums before it updates.
#[derive(Clone, Copy)]
struct Sums {
    table: &'static SumsTable,
    count: usize,
}

impl Rule {
    /// An elementwise rule by its table. `on_failure` makes a fault of a status and the name of what was being done.
    pub fn new(label: impl Into<String>, table: &'static RuleTable, on_failure: OnFailure) -> Rule {
        Rule { label: label.into(), table, sums: None, memory: Memory::Nothing, evaluation: None, on_failure }
    }

    /// The rule of a loaded label; none where it is no rule over elements.
    pub fn of(loaded: &Arc<Loaded>) -> Option<Rule> {
        let table = loaded.rule()?;
        let of_failure = loaded.clone();
        let sums = loaded.sums().map(|table| Sums { table, count: (table.names)().len().min(MAX_NUMBERS / 2) });
        let memory = match () {
            () if loaded.is_global() => Memory::OfAll,
            () if loaded.remembers() => Memory::OfEach,
            () => Memory::Nothing,
        };
        let on_failure: OnFailure = Arc::new(move |status, stage| of_failure.fault(status, stage));
        let (label, evaluation) = (loaded.label.clone(), loaded.evaluation());
        Some(Rule { label, table, sums, memory, evaluation, on_failure })
    }

    /// Whose numbers it keeps from step to step.
    pub fn memory(&self) -> Memory {
        self.memory
    }
}

/// One tensor's part in a step.
pub struct Target<'a> {
    /// The parameter's name, for messages.
    pub name: &'a str,
    /// The parameter: contiguous; changed in place.
    pub x: &'a Tensor,
    /// Its gradient: same shape, element type and device; read only.
    pub g: Tensor,
    /// State by place in the rule's state record: contiguous, same shape; f64 where the parameter is f64, else f32 or
    /// bf16.
    pub state: &'a [Option<Tensor>],
    /// Hyper-parameters in the descriptor's order, `lr` after the schedule.
    pub hyper: &'a [f64],
    /// Own step from 1, number of elements, L2 norm of all gradients of the run before clipping.
    pub step: [f64; 3],
    /// The numbers that the rule keeps: before the step for [`Pass::sums`], after it for [`Pass::run`]. Empty for a rule
    /// that keeps none.
    pub memory: &'a [f64],
    /// The rule as it was recorded for these hyper-parameters, for all devices but the CPU.
    pub expression: &'a [Node],
    /// What its stages touch: that of the expression, or [`Touched::ALL`]. The kernels of the CPU are not shown more.
    pub touched: Touched,
}

/// One tensor as the worker threads see it.
struct Row {
    kernel: Entry,
    x: *mut u8,
    g: *const u8,
    state: [*mut u8; MAX_SLOTS],
    /// Bytes per element of the parameter and of its state, where that is not bf16.
    bytes: (usize, usize),
    /// Slots in bf16, as bits.
    narrow: u64,
    hyper: *const f64,
    step: Numbers,
    numel: usize,
}

/// What a row is run through.
#[derive(Clone, Copy)]
enum Entry {
    /// Writes x and state.
    Update(unsafe extern "C" fn(*const KernelCall) -> u32),
    /// Reads, and writes rows of sums.
    Measure(unsafe extern "C" fn(*const MeasureCall) -> u32),
    /// As `Update`, with slots in bf16.
    UpdateNarrow(NarrowKernel),
    /// As `Measure`, with slots in bf16.
    MeasureNarrow(NarrowMeasure),
}

/// What is done with the targets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Measure,
    Update,
    PrepareForEval,
}

impl Work {
    fn stage(self) -> &'static str {
        match self {
            Work::Measure => "measure",
            Work::Update => "update",
            Work::PrepareForEval => "prepare_for_eval",
        }
    }
}
// SAFETY: a row is read by many threads; what it points to is written in disjoint chunks only.
unsafe impl Sync for Row {}

/// Buffers of a step, kept from step to step so that a step allocates nothing once they have grown.
pub struct Pass {
    chunk: usize,
    isa: InstructionSet,
    rows: Vec<Row>,
    chunks: Vec<Chunk>,
    cuda: Cuda,
}

impl Default for Pass {
    fn default() -> Pass {
        Pass::new(chunks::CHUNK, InstructionSet::detect())
    }
}

impl Pass {
    /// With chunks of `chunk` elements and kernels of `isa`, which is lowered to what the machine has.
    pub fn new(chunk: usize, isa: InstructionSet) -> Pass {
        Pass {
            chunk,
            isa: isa.min(InstructionSet::detect()),
            rows: Vec::new(),
            chunks: Vec::new(),
            cuda: Cuda::default(),
        }
    }

    /// One step of every target. Sums are taken here where no number is kept, which would have to move on in between.
    ///
    /// # Errors
    /// A tensor that is not as [`Target`] says, before anything is changed; a failure of the plugin, after which the
    /// targets are in an undefined state.
    pub fn run(&mut self, rule: &Rule, targets: &[Target<'_>]) -> Result<(), Fault> {
        let sums = match rule.memory {
            Memory::Nothing => self.sums(rule, targets)?,
            Memory::OfEach | Memory::OfAll => Vec::new(),
        };
        self.work(rule, targets, &sums, Work::Update).map(drop)
    }

    /// The sums of every target, by index. Changes nothing.
    ///
    /// # Errors
    /// As [`Pass::run`].
    pub fn sums(&mut self, rule: &Rule, targets: &[Target<'_>]) -> Result<Vec<Vec<f64>>, Fault> {
        if rule.sums.is_none_or(|sums| sums.count == 0) {
            return Ok(vec![Vec::new(); targets.len()]);
        }
        self.work(rule, targets, &[], Work::Measure)
    }

    /// Makes of every target's `x` the weights to evaluate at; `expression` is that of the evaluation, `step` the one
    /// done last. The state stays, the gradient is not looked at.
    ///
    /// # Errors
    /// As [`Pass::run`].
    pub fn prepare_for_eval(&mut self, rule: &Rule, targets: &[Target<'_>]) -> Result<(), Fault> {
        self.work(rule, targets, &[], Work::PrepareForEval).map(drop)
    }

    fn work(
        &mut self,
        rule: &Rule,
        targets: &[Target<'_>],
        sums: &[Vec<f64>],
        work: Work,
    ) -> Result<Vec<Vec<f64>>, Fault> {
        self.rows.clear();
        for target in targets {
            check(rule, target)?;
        }
        // A gradient may lie in memory in another order than its parameter.
        let gradients: Vec<Tensor> = targets.iter().map(|target| target.g.contiguous()).collect();
        let (mut on_cpu, mut on_cards, mut elsewhere) = (Vec::with_capacity(targets.len()), Vec::new(), Vec::new());
        for (index, (target, g)) in targets.iter().zip(&gradients).enumerate() {
            let numbers = numbers(rule, target, sums.get(index));
            match target.x.device() {
                Device::Cpu => {
                    on_cpu.push(index);
                    self.rows.push(row(rule, target, g, numbers, work)?);
                }
                Device::Cuda(_) => on_cards.push((index, numbers)),
                _ => elsewhere.push((index, numbers)),
            }
        }
        let chunk = if work == Work::Measure { self.chunk.next_multiple_of(cpu::BLOCK) } else { self.chunk };
        chunks::split(self.rows.iter().map(|row| row.numel), chunk, &mut self.chunks);
        let mut measured = vec![Vec::new(); targets.len()];
        for (index, sums) in on_cpu.iter().zip(self.run_kernels(rule, targets, &on_cpu, work)?) {
            measured[*index] = sums;
        }
        let items =
            on_cards.iter().map(|(index, numbers)| Item { target: &targets[*index], g: &gradients[*index], numbers });
        let items: Vec<Item<'_>> = items.collect();
        if work == Work::Measure {
            for ((index, _), sums) in on_cards.iter().zip(self.cuda.measure(&items)?) {
                measured[*index] = sums;
            }
        } else {
            self.cuda.update(&items)?;
        }
        for (index, numbers) in elsewhere {
            let target = &targets[index];
            let named = |fault| name(fault, rule, target);
            if work == Work::Measure {
                measured[index] = interpret::measure(target, &numbers).map_err(named)?;
            } else {
                interpret::step(target, &numbers).map_err(named)?;
            }
        }
        Ok(measured)
    }

    /// Runs every chunk; of a measuring pass, the sums of every row.
    fn run_kernels(
        &self,
        rule: &Rule,
        targets: &[Target<'_>],
        on_cpu: &[usize],
        work: Work,
    ) -> Result<Vec<Vec<f64>>, Fault> {
        let count = rule.sums.map_or(0, |sums| sums.count);
        // Where each chunk's rows of sums begin.
        let mut places = Vec::new();
        let mut partial = Vec::new();
        if work == Work::Measure {
            let mut end = 0;
            for chunk in &self.chunks {
                places.push(end);
                end += cpu::blocks(chunk.n) * count;
            }
            partial = vec![0.0f64; end];
        }
        let room = Room(partial.as_mut_ptr());
        let failed = AtomicBool::new(false);
        let first: Mutex<Option<(usize, Fault)>> = Mutex::new(None);
        let (rows, pieces, isa, on_failure) = (&self.rows, &self.chunks, self.isa as u32, &rule.on_failure);
        let body = |index: usize| {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let Chunk { tensor, at, n } = pieces[index];
            let sums = match places.get(index) {
                // SAFETY: within `partial`, which has room for the rows of every chunk.
                Some(place) => unsafe { room.at(*place) },
                None => null_mut(),
            };
            let status = rows[tensor].call(at, n, isa, sums);
            if status != OK {
                failed.store(true, Ordering::Relaxed);
                // The text of a failure is kept per thread, so it is fetched here.
                let fault = (on_failure)(status, work.stage());
                first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert((tensor, fault));
            }
        };
        if rows.iter().map(|row| row.numel).sum::<usize>() < chunks::CHUNK / 2 {
            // Waking the other threads would take longer.
            (0..pieces.len()).for_each(body);
        } else {
            threads::for_each(pieces.len(), &body);
        }
        if let Some((tensor, fault)) = first.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            return Err(name(fault, rule, &targets[on_cpu[tensor]]));
        }
        if work != Work::Measure {
            return Ok(Vec::new());
        }
        let mut columns = vec![vec![Vec::new(); count]; rows.len()];
        for (chunk, place) in pieces.iter().zip(places) {
            for row in partial[place..place + cpu::blocks(chunk.n) * count].chunks_exact(count.max(1)) {
                for (column, value) in columns[chunk.tensor].iter_mut().zip(row) {
                    column.push(*value);
                }
            }
        }
        Ok(columns.into_iter().map(|all| all.iter().map(|column| cpu::sum(column)).collect()).collect())
    }
}

/// Where the threads of one pass write their rows of sums, each its own.
struct Room(*mut f64);
// SAFETY: chunks write disjoint rows.
unsafe impl Sync for Room {}

impl Room {
    /// # Safety
    /// `place` lies within the memory this points to.
    unsafe fn at(&self, place: usize) -> *mut f64 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(place) }
    }
}

impl Row {
    /// One chunk. The status is the plugin's.
    fn call(&self, at: usize, n: usize, isa: u32, sums: *mut f64) -> u32 {
        let mut state = [null_mut::<()>(); MAX_SLOTS];
        for (k, (pointer, slot)) in state.iter_mut().zip(self.state).enumerate() {
            if !slot.is_null() {
                let bytes = if self.narrow >> k & 1 != 0 { 2 } else { self.bytes.1 };
                // SAFETY: the slot has as many elements as the parameter, and `at` is one of them.
                *pointer = unsafe { slot.add(at * bytes) } as *mut ();
            }
        }
        // SAFETY: `at` is an element of the parameter, and the gradient has as many elements, of the same size.
        let (x, g) = unsafe { (self.x.add(at * self.bytes.0) as *mut (), self.g.add(at * self.bytes.0) as *const ()) };
        let (hyper, step) = (self.hyper, self.step.as_ptr());
        let (state, struct_size) = (state.as_ptr(), size_of::<KernelCall>());
        let update = KernelCall { struct_size, isa, hyper, step, n, x, g, state };
        let (state, struct_size) = (state.cast(), size_of::<MeasureCall>());
        let measure = MeasureCall { struct_size, isa, hyper, step, n, x, g, state, rows: sums };
        // SAFETY: all pointers live for the call, hold `n` elements of the kernel's storage format and of each slot's,
        // were checked to be contiguous, and no other chunk overlaps this one. The machine has `isa`. There is room for
        // the sums.
        unsafe {
            match self.kernel {
                Entry::Update(kernel) => kernel(&update),
                Entry::Measure(kernel) => kernel(&measure),
                Entry::UpdateNarrow(kernel) => kernel(&update, self.narrow),
                Entry::MeasureNarrow(kernel) => kernel(&measure, self.narrow),
            }
        }
    }
}

fn numbers(rule: &Rule, target: &Target<'_>, sums: Option<&Vec<f64>>) -> Numbers {
    let mut numbers = [0.0; 3 + MAX_NUMBERS];
    numbers[..3].copy_from_slice(&target.step);
    let count = rule.sums.map_or(0, |sums| sums.count);
    for (place, sum) in numbers[3..3 + count].iter_mut().zip(sums.into_iter().flatten()) {
        *place = *sum;
    }
    for (place, number) in numbers[3 + count..].iter_mut().zip(target.memory) {
        *place = *number;
    }
    numbers
}

/// The element type of a rule's arithmetic, and of a parameter's state where nobody asks for bf16.
pub fn state_kind(parameter: Kind) -> Kind {
    if parameter == Kind::Double { Kind::Double } else { Kind::Float }
}

/// The element type of one slot; `narrow` are the slots in bf16, as bits by place in the state record.
pub fn slot_kind(parameter: Kind, narrow: u64, slot: &SlotDescriptor) -> Kind {
    match slot.is_number() {
        true => Kind::Double,
        false if narrow >> slot.index & 1 != 0 => Kind::BFloat16,
        false => state_kind(parameter),
    }
}

/// The slots that lie in bf16, as bits.
pub fn narrow_slots(state: &[Option<Tensor>]) -> u64 {
    let is_narrow = |slot: &Option<Tensor>| slot.as_ref().is_some_and(|slot| slot.kind() == Kind::BFloat16);
    state.iter().enumerate().fold(0, |bits, (place, slot)| bits | u64::from(is_narrow(slot)) << place)
}

fn row(rule: &Rule, target: &Target<'_>, g: &Tensor, step: Numbers, work: Work) -> Result<Row, Fault> {
    let absent = |what: &str| {
        Err(name(Fault::new("P015", Exit::Bug, format!("the rule has nothing to {what} by")), rule, target))
    };
    let (bytes, kind) = match target.x.kind() {
        Kind::Double => ((8, 8), 1),
        Kind::BFloat16 => ((2, 4), 2),
        _ => ((4, 4), 0),
    };
    let narrow = narrow_slots(target.state);
    let (all, update) = (rule.table, |kernel: Option<NarrowKernel>| kernel.map(Entry::UpdateNarrow));
    let kernel = match (work, rule.sums, rule.evaluation) {
        (Work::Update, ..) if narrow != 0 => update([all.update_f32_narrow, None, all.update_bf16_narrow][kind]),
        (Work::Update, ..) => Some(Entry::Update([all.update_f32, all.update_f64, all.update_bf16][kind])),
        (Work::Measure, Some(Sums { table, .. }), _) if narrow != 0 => {
            [table.measure_f32_narrow, None, table.measure_bf16_narrow][kind].map(Entry::MeasureNarrow)
        }
        (Work::Measure, Some(Sums { table, .. }), _) => {
            Some(Entry::Measure([table.measure_f32, table.measure_f64, table.measure_bf16][kind]))
        }
        (Work::PrepareForEval, _, Some(table)) if narrow != 0 => {
            update([table.prepare_f32_narrow, None, table.prepare_bf16_narrow][kind])
        }
        (Work::PrepareForEval, _, Some(table)) => {
            Some(Entry::Update([table.prepare_f32, table.prepare_f64, table.prepare_bf16][kind]))
        }
        (Work::Measure | Work::PrepareForEval, ..) => return absent(work.stage()),
    };
    let Some(kernel) = kernel else { return absent(&format!("{} with state in bf16", work.stage())) };
    let Touched { measured, measures_x, updated } = target.touched;
    let (touches_x, slots) = match work {
        Work::Measure => (measures_x, measured),
        Work::Update => (true, updated),
        Work::PrepareForEval => (true, u64::MAX),
    };
    let data = |tensor: &Tensor| tensor.data_ptr() as *mut u8;
    let mut state = [null_mut(); MAX_SLOTS];
    for (place, (pointer, slot)) in state.iter_mut().zip(target.state).enumerate() {
        if let Some(slot) = slot.as_ref().filter(|_| slots >> place & 1 != 0) {
            *pointer = data(slot);
        }
    }
    Ok(Row {
        kernel,
        // There must be something there, also where nobody looks at it.
        x: data(if touches_x { target.x } else { g }),
        g: data(g),
        state,
        bytes,
        narrow,
        hyper: target.hyper.as_ptr(),
        step,
        numel: target.x.numel(),
    })
}

/// A slot's element type beside the arithmetic's, where it lies in bf16.
const NARROW: (Kind, Kind) = (Kind::BFloat16, Kind::Float);

/// Nothing reaches a kernel that is not as the kernel expects it.
fn check(rule: &Rule, target: &Target<'_>) -> Result<(), Fault> {
    let bad = |what: String| Err(name(Fault::new("P015", Exit::Bug, what), rule, target));
    let (x, g) = (target.x, &target.g);
    if !matches!(x.kind(), Kind::Float | Kind::Double | Kind::BFloat16) {
        return bad(format!("no kernel for elements of type {:?}", x.kind()));
    }
    if !x.is_contiguous() {
        return bad("the parameter is not contiguous".into());
    }
    if g.kind() != x.kind() || g.device() != x.device() || g.size() != x.size() {
        return bad(format!(
            "the gradient ({:?} {:?} {:?}) does not fit the parameter ({:?} {:?} {:?})",
            g.size(),
            g.kind(),
            g.device(),
            x.size(),
            x.kind(),
            x.device()
        ));
    }
    if target.state.len() > MAX_SLOTS {
        return bad(format!("it has {} state slots, more than {MAX_SLOTS}", target.state.len()));
    }
    for slot in target.state.iter().flatten() {
        let kind = slot.kind() == state_kind(x.kind()) || (slot.kind(), state_kind(x.kind())) == NARROW;
        let fits = kind && slot.device() == x.device() && slot.size() == x.size();
        if !fits || !slot.is_contiguous() {
            return bad(format!("a state slot ({:?} {:?}) does not fit the parameter", slot.size(), slot.kind()));
        }
    }
    Ok(())
}

fn name(fault: Fault, rule: &Rule, target: &Target<'_>) -> Fault {
    fault
        .note("optimizer", format!("`{}`", rule.label))
        .note("parameter", format!("`{}`, its step {}", target.name, target.step[0]))
}
