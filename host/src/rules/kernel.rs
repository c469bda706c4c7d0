//! Runs an elementwise rule over a list of tensors: the plugin's kernel on the CPU, on libtorch's threads; the recorded
//! expression elsewhere. Does not choose tensors or hyper-parameters; that is `optim`.

use std::{
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use sdk::{
    abi::{KernelCall, OK, RuleTable},
    tape::Node,
};
use tch::{Device, Kind, Tensor};

use super::{
    InstructionSet,
    chunks::{self, Chunk},
    interpret, threads,
};
use crate::{
    fault::{Exit, Fault},
    registry::Loaded,
};

/// State slots that an elementwise rule may have, as in the sdk's kernels; those beyond could not be handed over.
pub const MAX_SLOTS: usize = 8;

/// The text of a failure, as a fault; to be called on the thread that saw the status.
pub type OnFailure = Arc<dyn Fn(u32, &str) -> Fault + Send + Sync>;

/// An elementwise rule of a loaded plugin.
#[derive(Clone)]
pub struct Rule {
    /// Its label.
    pub label: String,
    table: &'static RuleTable,
    on_failure: OnFailure,
}

impl Rule {
    /// A rule by its table. `on_failure` makes a fault of a status and the name of what was being done.
    pub fn new(label: impl Into<String>, table: &'static RuleTable, on_failure: OnFailure) -> Rule {
        Rule { label: label.into(), table, on_failure }
    }

    /// The rule of a loaded label; none where it is no elementwise rule.
    pub fn of(loaded: &Arc<Loaded>) -> Option<Rule> {
        let table = loaded.rule()?;
        let of_failure = loaded.clone();
        Some(Rule::new(&loaded.label, table, Arc::new(move |status, stage| of_failure.fault(status, stage))))
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
    /// State by place in the rule's state record: contiguous, same shape, f64 where the parameter is f64 and else f32.
    pub state: &'a [Option<Tensor>],
    /// Hyper-parameters in the descriptor's order, `lr` after the schedule.
    pub hyper: &'a [f64],
    /// Own step from 1, number of elements, L2 norm of all gradients of the run before clipping.
    pub step: [f64; 3],
    /// The rule as it was recorded for these hyper-parameters, for devices without a kernel.
    pub expression: &'a [Node],
}

/// One tensor as the worker threads see it.
struct Row {
    kernel: unsafe extern "C" fn(*const KernelCall) -> u32,
    x: *mut u8,
    g: *const u8,
    state: [*mut u8; MAX_SLOTS],
    /// Bytes per element of the parameter and of its state.
    bytes: (usize, usize),
    hyper: *const f64,
    step: [f64; 3],
    numel: usize,
}
// SAFETY: a row is read by many threads; what it points to is written in disjoint chunks only.
unsafe impl Sync for Row {}

/// Buffers of a step, kept from step to step so that a step allocates nothing once they have grown.
pub struct Pass {
    chunk: usize,
    isa: InstructionSet,
    rows: Vec<Row>,
    chunks: Vec<Chunk>,
}

impl Default for Pass {
    fn default() -> Pass {
        Pass::new(chunks::CHUNK, InstructionSet::detect())
    }
}

impl Pass {
    /// With chunks of `chunk` elements and kernels of `isa`, which is lowered to what the machine has.
    pub fn new(chunk: usize, isa: InstructionSet) -> Pass {
        Pass { chunk, isa: isa.min(InstructionSet::detect()), rows: Vec::new(), chunks: Vec::new() }
    }

    /// One step of every target.
    ///
    /// # Errors
    /// A tensor that is not as [`Target`] says, before anything is changed; a failure of the plugin, after which the
    /// targets are in an undefined state.
    pub fn run(&mut self, rule: &Rule, targets: &[Target<'_>]) -> Result<(), Fault> {
        self.rows.clear();
        for target in targets {
            check(rule, target)?;
        }
        // A gradient may lie in memory in another order than its parameter.
        let gradients: Vec<Tensor> = targets.iter().map(|target| target.g.contiguous()).collect();
        let (mut on_cpu, mut elsewhere) = (Vec::with_capacity(targets.len()), Vec::new());
        for (index, (target, g)) in targets.iter().zip(&gradients).enumerate() {
            if target.x.device() == Device::Cpu {
                on_cpu.push(index);
                self.rows.push(row(rule, target, g));
            } else {
                elsewhere.push(index);
            }
        }
        chunks::split(self.rows.iter().map(|row| row.numel), self.chunk, &mut self.chunks);
        self.run_kernels(rule, targets, &on_cpu)?;
        for index in elsewhere {
            let target = &targets[index];
            interpret::step(target).map_err(|fault| name(fault, rule, target))?;
        }
        Ok(())
    }

    fn run_kernels(&self, rule: &Rule, targets: &[Target<'_>], on_cpu: &[usize]) -> Result<(), Fault> {
        let failed = AtomicBool::new(false);
        let first: Mutex<Option<(usize, Fault)>> = Mutex::new(None);
        let (rows, pieces, isa, on_failure) = (&self.rows, &self.chunks, self.isa as u32, &rule.on_failure);
        let body = |index: usize| {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let Chunk { tensor, at, n } = pieces[index];
            let status = rows[tensor].call(at, n, isa);
            if status != OK {
                failed.store(true, Ordering::Relaxed);
                // The text of a failure is kept per thread, so it is fetched here.
                let fault = (on_failure)(status, "update");
                first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert((tensor, fault));
            }
        };
        if rows.iter().map(|row| row.numel).sum::<usize>() < chunks::CHUNK / 2 {
            // Waking the other threads would take longer.
            (0..pieces.len()).for_each(body);
        } else {
            threads::for_each(pieces.len(), &body);
        }
        match first.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            None => Ok(()),
            Some((tensor, fault)) => Err(name(fault, rule, &targets[on_cpu[tensor]])),
        }
    }
}

impl Row {
    /// One chunk. The status is the plugin's.
    fn call(&self, at: usize, n: usize, isa: u32) -> u32 {
        let mut state = [null_mut::<()>(); MAX_SLOTS];
        for (pointer, slot) in state.iter_mut().zip(self.state) {
            if !slot.is_null() {
                // SAFETY: the slot has as many elements as the parameter, and `at` is one of them.
                *pointer = unsafe { slot.add(at * self.bytes.1) } as *mut ();
            }
        }
        let call = KernelCall {
            struct_size: size_of::<KernelCall>(),
            isa,
            hyper: self.hyper,
            step: self.step.as_ptr(),
            n,
            // SAFETY: `at` is an element of the parameter.
            x: unsafe { self.x.add(at * self.bytes.0) } as *mut (),
            // SAFETY: the gradient has as many elements, of the same size.
            g: unsafe { self.g.add(at * self.bytes.0) } as *const (),
            state: state.as_ptr(),
        };
        // SAFETY: all pointers live for the call, hold `n` elements of the kernel's storage format, were checked to be
        // contiguous, and no other chunk overlaps this one. The machine has `isa`.
        unsafe { (self.kernel)(&call) }
    }
}

/// The element type of a parameter's state.
pub fn state_kind(parameter: Kind) -> Kind {
    if parameter == Kind::Double { Kind::Double } else { Kind::Float }
}

fn row(rule: &Rule, target: &Target<'_>, g: &Tensor) -> Row {
    let (kernel, bytes) = match target.x.kind() {
        Kind::Double => (rule.table.update_f64, (8, 8)),
        Kind::BFloat16 => (rule.table.update_bf16, (2, 4)),
        _ => (rule.table.update_f32, (4, 4)),
    };
    let mut state = [null_mut(); MAX_SLOTS];
    for (pointer, slot) in state.iter_mut().zip(target.state) {
        if let Some(slot) = slot {
            *pointer = slot.data_ptr() as *mut u8;
        }
    }
    let data = |tensor: &Tensor| tensor.data_ptr() as *mut u8;
    Row {
        kernel,
        x: data(target.x),
        g: data(g),
        state,
        bytes,
        hyper: target.hyper.as_ptr(),
        step: target.step,
        numel: target.x.numel(),
    }
}

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
        let fits = slot.kind() == state_kind(x.kind()) && slot.device() == x.device() && slot.size() == x.size();
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
