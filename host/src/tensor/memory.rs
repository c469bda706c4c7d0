//! Where tensors lie, and what becomes of memory that libtorch frees: it stays with the process.
//!
//! A step of a rule over whole tensors makes and frees tensors as large as the parameters. glibc hands memory of that size
//! back to the system at once, which then has to clear every page of the next tensor: up to a third of such a step.

use std::ops::Range;

use tch::Tensor;

/// The addresses between a tensor's first and last element.
pub(crate) fn extent(tensor: &Tensor) -> Range<usize> {
    let start = tensor.data_ptr() as usize;
    if tensor.numel() == 0 {
        return start..start;
    }
    let last: i64 = tensor.size().iter().zip(tensor.stride()).map(|(size, stride)| (size - 1) * stride).sum();
    start..start + (last as usize + 1) * tensor.kind().elt_size_in_bytes()
}

/// Whether two of them have a byte in common.
pub(crate) fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Whether no byte is in both lists.
pub(crate) fn lie_apart(a: &[Range<usize>], b: &[Range<usize>]) -> bool {
    a.iter().all(|a| !b.iter().any(|b| overlap(a, b)))
}

/// Keeps freed memory for what is made next, from here on. The process then holds what it once needed until it ends.
/// Where the C library is not glibc, nothing changes.
pub fn keep_freed() {
    #[cfg(target_env = "gnu")]
    {
        // Names and values are those of malloc.h.
        const M_TRIM_THRESHOLD: i32 = -1;
        const M_MMAP_MAX: i32 = -4;
        // SAFETY: glibc's signature; it may be called at any time.
        unsafe extern "C" {
            safe fn mallopt(parameter: i32, value: i32) -> i32;
        }
        mallopt(M_MMAP_MAX, 0);
        mallopt(M_TRIM_THRESHOLD, -1);
    }
}
