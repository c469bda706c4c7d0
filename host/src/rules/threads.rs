//! Work on libtorch's own threads: chunks are taken one by one by whichever thread is free.
//! Does not split work; that is `chunks.rs`.

use std::{
    any::Any,
    ffi::{c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

unsafe extern "C" {
    fn host_parallel(workers: i64, body: extern "C" fn(*mut c_void, i64), context: *mut c_void) -> c_int;
    fn host_get_num_threads() -> c_int;
    fn host_set_num_threads(threads: c_int) -> c_int;
}

/// Threads that libtorch uses for one operation, and [`for_each`] for one loop.
pub fn count() -> usize {
    // SAFETY: takes no arguments and does not throw.
    usize::try_from(unsafe { host_get_num_threads() }).unwrap_or(1).max(1)
}

/// Sets the number of threads of libtorch's operations and of [`for_each`], for the calling thread and new ones. False
/// if libtorch refused.
pub fn set_count(threads: usize) -> bool {
    let Ok(threads) = c_int::try_from(threads) else { return false };
    // SAFETY: a plain number goes in, and the shim catches what libtorch throws.
    threads > 0 && unsafe { host_set_num_threads(threads) } == 0
}

/// What the workers of one loop share.
struct Loop<'a> {
    next: AtomicUsize,
    len: usize,
    body: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Loop<'_> {
    fn drain(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.len {
                return;
            }
            (self.body)(index);
        }
    }
}

extern "C" fn worker(context: *mut c_void, _: i64) {
    // SAFETY: `context` is the `Loop` that `for_each` keeps alive until all workers are done, and is shared read-only.
    let work = unsafe { &*(context as *const Loop<'_>) };
    // A panic must not cross the C++ frames above.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.drain())) {
        work.next.store(work.len, Ordering::Relaxed);
        let mut first = work.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(panic);
    }
}

/// Calls `body` once for every index in `0..len`, in no given order, on libtorch's threads. A panic in `body` ends the
/// loop early and goes on in the caller.
pub fn for_each(len: usize, body: &(dyn Fn(usize) + Sync)) {
    let workers = count().min(len);
    if workers <= 1 {
        (0..len).for_each(body);
        return;
    }
    let work = Loop { next: AtomicUsize::new(0), len, body, panic: Mutex::new(None) };
    let context = &raw const work as *mut c_void;
    // SAFETY: `worker` matches the signature, does not unwind, and reads the `Loop`, which outlives the call.
    let refused = unsafe { host_parallel(workers as i64, worker, context) } != 0;
    if refused {
        // No thread could be started: what is left is done here.
        work.drain();
    }
    if let Some(panic) = work.panic.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn every_index_once() {
        for len in [0, 1, 2, 3, 1000] {
            let seen: Vec<AtomicU32> = (0..len).map(|_| AtomicU32::new(0)).collect();
            for_each(len, &|index| {
                seen[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|times| times.load(Ordering::Relaxed) == 1), "{len}");
        }
    }

    #[test]
    fn a_panic_crosses_the_threads_as_a_panic() {
        let caught = catch_unwind(|| for_each(100, &|index| assert!(index != 57, "index fifty-seven")));
        let text = *caught.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(text, "index fifty-seven");
    }
}
