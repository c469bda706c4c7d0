//! The tensors that a plugin may name while one of its entries runs.
//! Computes nothing: the tables do, with what they find here.
//!
//! A handle is a number made of the call's generation and a position. Generations are never used twice in a process, so
//! a handle that outlived its call, or came from another thread, is found out and is an error.

use std::{
    cell::RefCell,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

use sdk::abi::host_tables::Handle;
use tch::{NoGradGuard, Tensor};

use super::trace::Trace;
use crate::fault::{Exit, Fault};

/// Low bits of a handle: 1 + the position within the call. The rest is the generation.
const POSITION_BITS: u32 = 24;

static GENERATION: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The calls under way on this thread, the innermost last.
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// One plugin call under way.
pub(super) struct Call {
    generation: u64,
    tensors: Vec<Option<Tensor>>,
    pub(super) trace: Option<Trace>,
}

impl Call {
    /// Position of a live handle within this call.
    pub(super) fn position(&self, handle: Handle) -> Result<usize, String> {
        let position = (handle & ((1 << POSITION_BITS) - 1)) as usize;
        let live = handle >> POSITION_BITS == self.generation
            && position > 0
            && self.tensors.get(position - 1).is_some_and(Option::is_some);
        if live { Ok(position - 1) } else { Err("stale tensor handle".to_owned()) }
    }

    /// The tensor at a position that [`Call::position`] gave.
    pub(super) fn tensor(&self, position: usize) -> Result<&Tensor, String> {
        self.tensors.get(position).and_then(Option::as_ref).ok_or_else(|| "stale tensor handle".to_owned())
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
    pub(super) fn insert(&mut self, tensor: Tensor) -> Handle {
        self.tensors.push(Some(tensor));
        self.generation << POSITION_BITS | self.tensors.len() as u64
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
        CALLS.with_borrow_mut(|calls| calls.push(Call { generation, tensors: Vec::new(), trace }));
        Scope { generation, _no_grad: tch::no_grad_guard(), _this_thread: PhantomData }
    }

    /// A handle for a tensor; the plugin sees it, and cannot change it.
    pub fn insert(&self, tensor: Tensor) -> Handle {
        CALLS.with_borrow_mut(|calls| {
            calls.iter_mut().find(|call| call.generation == self.generation).map_or(0, |call| call.insert(tensor))
        })
    }

    /// Another reference to the tensor of a handle.
    pub fn get(&self, handle: Handle) -> Result<Tensor, Fault> {
        with_call(|call| call.position(handle).and_then(|at| call.tensor(at).map(Tensor::shallow_clone)))
            .map_err(|text| Fault::new("P090", Exit::Plugin, text))
    }

    /// Takes the tensor of a handle out of the call; the handle is stale from then on.
    pub fn take(&self, handle: Handle) -> Result<Tensor, Fault> {
        with_call(|call| {
            let position = call.position(handle)?;
            call.tensors[position].take().ok_or_else(|| "stale tensor handle".to_owned())
        })
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
        assert_eq!(outer.take(a).unwrap().double_value(&[]), 1.0);
        assert!(outer.take(a).is_err());
        for made_up in [0, 1, u64::MAX, a + 1, a - 1] {
            assert!(outer.get(made_up).is_err(), "{made_up}");
        }
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
