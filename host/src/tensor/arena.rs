//! The tensors that a plugin may name while one of its entries runs.
//! Computes nothing: the tables do, with what they find here.
//!
//! A handle is a number made of the call's generation and a position. Generations are never used twice in a process, so
//! a handle that outlived its call, or came from another thread, is found out and is an error.

use std::{
    cell::RefCell,
    marker::PhantomData,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use sdk::abi::host_tables::Handle;
use tch::{NoGradGuard, Tensor};

use super::{Batch, memory::lie_apart, trace::Trace};
use crate::fault::{Exit, Fault};

/// Low bits of a handle: 1 + the position within the call. The rest is the generation.
const POSITION_BITS: u32 = 24;

/// What is wrong with a handle that names nothing.
const STALE: &str = "stale tensor handle: its call is over, or a pass put a result in its place";

static GENERATION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The calls under way on this thread, the innermost last.
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// One plugin call under way.
pub(super) struct Call {
    generation: u64,
    tensors: Vec<Option<Batch>>,
    /// Memory that the plugin sees and cannot change.
    lent: Vec<Range<usize>>,
    pub(super) trace: Option<Trace>,
}

impl Call {
    /// Position of a live handle within this call.
    pub(super) fn position(&self, handle: Handle) -> Result<usize, String> {
        let position = (handle & ((1 << POSITION_BITS) - 1)) as usize;
        let live = handle >> POSITION_BITS == self.generation
            && position > 0
            && self.tensors.get(position - 1).is_some_and(Option::is_some);
        if live { Ok(position - 1) } else { Err(STALE.to_owned()) }
    }

    /// What is at a position that [`Call::position`] gave.
    pub(super) fn at(&self, position: usize) -> Result<&Batch, String> {
        self.tensors.get(position).and_then(Option::as_ref).ok_or_else(|| STALE.to_owned())
    }

    /// Whether `n` more tensors can be named.
    pub(super) fn has_room(&self, n: usize) -> Result<(), String> {
        if self.tensors.len() + n < 1 << POSITION_BITS {
            Ok(())
        } else {
            Err("too many tensors in one call of a plugin".to_owned())
        }
    }

    /// Names a tensor for the rest of the call.
    pub(super) fn insert(&mut self, tensor: Batch) -> Handle {
        self.tensors.push(Some(tensor));
        self.generation << POSITION_BITS | self.tensors.len() as u64
    }

    /// Whether what a handle names may be overwritten: nothing in its memory was lent.
    pub(super) fn may_be_replaced(&self, handle: Handle) -> bool {
        let named = self.position(handle).and_then(|position| self.at(position));
        named.is_ok_and(|batch| lie_apart(&batch.extents(), &self.lent))
    }

    /// Positions of all that lies in the memory of one of these handles, or in that of what does: a batch and its stack are
    /// replaced together.
    pub(super) fn beside(&self, handles: &[Handle]) -> Vec<usize> {
        let mut found: Vec<usize> = handles.iter().filter_map(|&handle| self.position(handle).ok()).collect();
        let extents = |positions: &[usize]| {
            let named = positions.iter().filter_map(|&position| self.at(position).ok());
            named.flat_map(Batch::extents).collect::<Vec<Range<usize>>>()
        };
        loop {
            let replaced = extents(&found);
            let lies_there = |batch: &Batch| !lie_apart(&batch.extents(), &replaced);
            let more = self
                .tensors
                .iter()
                .enumerate()
                .filter(|(position, tensor)| !found.contains(position) && tensor.as_ref().is_some_and(lies_there));
            let more: Vec<usize> = more.map(|(position, _)| position).collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    /// The handles of these positions are stale from now on.
    pub(super) fn forget(&mut self, positions: &[usize]) {
        for &position in positions {
            self.tensors[position] = None;
        }
    }
}

/// Works on the innermost call of this thread.
pub(super) fn with_call<T>(work: impl FnOnce(&mut Call) -> Result<T, String>) -> Result<T, String> {
    CALLS.with_borrow_mut(|calls| match calls.last_mut() {
        Some(call) => work(call),
        None => Err("no plugin call is under way on this thread".to_owned()),
    })
}

/// Whether the innermost call of this thread writes down what it does.
pub(super) fn is_traced() -> bool {
    CALLS.with_borrow(|calls| calls.last().is_some_and(|call| call.trace.is_some()))
}

/// One plugin call: tensors go in as handles before it, results are taken out after it, the rest is freed when this
/// drops.
///
/// Stays on its thread. Scopes nest; while an inner one is open, handles of the outer one are stale. No gradients are
/// recorded while one is open.
pub struct Scope {
    generation: u64,
    _no_grad: NoGradGuard,
    _this_thread: PhantomData<*const ()>,
}

impl Scope {
    /// Opens a call.
    pub fn enter() -> Scope {
        Scope::open(None)
    }

    /// Opens a call whose table calls are recorded.
    pub(super) fn traced() -> Scope {
        Scope::open(Some(Trace::default()))
    }

    fn open(trace: Option<Trace>) -> Scope {
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        CALLS.with_borrow_mut(|calls| calls.push(Call { generation, tensors: Vec::new(), lent: Vec::new(), trace }));
        Scope { generation, _no_grad: tch::no_grad_guard(), _this_thread: PhantomData }
    }

    /// A handle for a tensor; the plugin sees it, and cannot change it.
    pub fn insert(&self, tensor: Tensor) -> Handle {
        self.lend(Batch::Stacked(tensor))
    }

    /// As [`Scope::insert`], for a batch.
    pub fn lend(&self, batch: Batch) -> Handle {
        self.with_own(|call| {
            call.lent.extend(batch.extents());
            call.insert(batch)
        })
    }

    /// As [`Scope::lend`], for a batch that a result may replace where it lies.
    pub fn give(&self, batch: Batch) -> Handle {
        self.with_own(|call| call.insert(batch))
    }

    fn with_own(&self, work: impl FnOnce(&mut Call) -> Handle) -> Handle {
        CALLS.with_borrow_mut(|calls| calls.iter_mut().find(|call| call.generation == self.generation).map_or(0, work))
    }

    /// Another reference to the tensor of a handle.
    pub fn get(&self, handle: Handle) -> Result<Tensor, Fault> {
        let stacked = |batch: Batch| batch.stacked().map(Tensor::shallow_clone).map_err(|error| error.to_string());
        self.batch(handle).and_then(|batch| stacked(batch).map_err(|text| Fault::new("P090", Exit::Plugin, text)))
    }

    /// As [`Scope::get`], stacked or not.
    pub fn batch(&self, handle: Handle) -> Result<Batch, Fault> {
        with_call(|call| call.position(handle).and_then(|at| call.at(at).map(Batch::shallow_clone)))
            .map_err(|text| Fault::new("P090", Exit::Plugin, text))
    }

    /// What was recorded so far; empty unless the scope is traced.
    pub(super) fn trace(&self) -> Trace {
        CALLS.with_borrow_mut(|calls| calls.last_mut().and_then(|call| call.trace.take())).unwrap_or_default()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CALLS.with_borrow_mut(|calls| calls.retain(|call| call.generation != self.generation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_lives_for_its_call() {
        let outer = Scope::enter();
        let a = outer.insert(Tensor::from(1.0_f32));
        let copy = {
            let inner = Scope::enter();
            assert!(inner.get(a).unwrap_err().message.contains("stale tensor handle"));
            inner.insert(Tensor::from(2.0_f32))
        };
        assert!(outer.get(copy).is_err());
        assert_eq!(outer.get(a).unwrap().double_value(&[]), 1.0);
        for made_up in [0, 1, u64::MAX, a + 1, a - 1] {
            assert!(outer.get(made_up).is_err(), "{made_up}");
        }
    }

    #[test]
    fn what_lies_in_one_memory_is_replaced_together() {
        let scope = Scope::enter();
        let tensor = || Tensor::zeros([4], tch::kind::FLOAT_CPU);
        let (given, lent) = (tensor(), tensor());
        let apart = Batch::apart(vec![tensor().reshape([1, 4]), given.reshape([1, 4])]);
        let handles = [
            scope.give(Batch::Stacked(given.shallow_clone())),
            scope.give(Batch::Stacked(given.narrow(0, 2, 2))),
            scope.give(apart),
            scope.insert(lent.shallow_clone()),
            scope.give(Batch::Stacked(lent.narrow(0, 0, 1))),
        ];
        with_call(|call| {
            assert_eq!(handles.map(|handle| call.may_be_replaced(handle)), [true, true, true, false, false]);
            assert_eq!(call.beside(&handles[..1]), [0, 1, 2]);
            assert_eq!(call.beside(&handles[1..2]), [1, 0, 2]);
            assert_eq!(call.beside(&handles[3..4]), [3, 4]);
            // A view of the stack that was made of the batch.
            let stack = call.at(2)?.stacked().unwrap().narrow(1, 0, 1);
            let view = call.insert(Batch::Stacked(stack));
            assert_eq!(call.beside(&handles[..1]), [0, 1, 2, 5]);
            call.forget(&[0, 1, 2, 5]);
            assert!(call.position(view).is_err());
            Ok(())
        })
        .unwrap();
        assert_eq!(handles.map(|handle| scope.get(handle).is_ok()), [false, false, false, true, true]);
    }

    #[test]
    fn a_handle_is_stale_on_another_thread() {
        let scope = Scope::enter();
        let a = scope.insert(Tensor::from(1.0_f32));
        let elsewhere = std::thread::spawn(move || {
            let other = Scope::enter();
            other.insert(Tensor::from(2.0_f32));
            other.get(a).is_err()
        });
        assert!(elsewhere.join().unwrap());
        assert!(scope.get(a).is_ok());
    }

    #[test]
    fn no_gradients_are_recorded_in_a_call() {
        let weight = Tensor::from_slice(&[1.0_f32]).set_requires_grad(true);
        {
            let _scope = Scope::enter();
            assert!(!(&weight * 2.0).requires_grad());
        }
        assert!((&weight * 2.0).requires_grad());
    }
}
