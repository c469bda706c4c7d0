//! Reading what the host passes to an entry: a call is read only if it is as long as this plugin knows it.

use core::slice;

use crate::{Error, Result};

/// The call, if it is as long as this plugin knows it.
///
/// # Safety
/// `call` points to a struct whose first field says its size in bytes, and which lives as long as `'a`; if that size is
/// at least `C`'s, it begins with a `C`.
pub unsafe fn sized<'a, C>(call: *const C) -> Result<&'a C> {
    // SAFETY: the size is the first field, there in every version.
    let size = unsafe { call.cast::<usize>().read() };
    if size < size_of::<C>() {
        return Err(Error::new(format!("the host's call has {size} bytes, this plugin needs {}", size_of::<C>())));
    }
    // SAFETY: it begins with a `C`.
    Ok(unsafe { &*call })
}

/// Hyper-parameters in the schema's order.
///
/// # Safety
/// `hyper` points to `count` numbers that live as long as `'a`.
pub unsafe fn numbers<'a>(hyper: *const f64, count: usize) -> &'a [f64] {
    // A schema may be empty, and an empty list may be null.
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(hyper, count) }
}
