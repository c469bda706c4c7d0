//! `host.linalg/1`: factorizations, batched over leading dimensions, by LAPACK or cuSOLVER.
//! Signs and null spaces are the library's: results are portable only up to them.

use abi_stable::std_types::RStr;
use sdk::abi::{LinalgTable, TableHeader, host_tables::Handle};
use tch::Tensor;

use super::entry::compute;

/// The table.
pub static TABLE: LinalgTable = LinalgTable {
    header: TableHeader { struct_size: size_of::<LinalgTable>(), id: RStr::from_str("host.linalg/1"), revision: 0 },
    qr,
    eigh,
    svd,
};

extern "C" fn qr(a: Handle, q: *mut Handle, r: *mut Handle) -> u32 {
    // SAFETY: the boundary's contract is that result places are null or valid.
    unsafe {
        compute("qr", &[a], &[], [q, r], |t| {
            let (q, r) = Tensor::f_linalg_qr(t[0], "reduced")?;
            Ok([q, r])
        })
    }
}

extern "C" fn eigh(a: Handle, w: *mut Handle, v: *mut Handle) -> u32 {
    // SAFETY: as in `qr`.
    unsafe {
        compute("eigh", &[a], &[], [w, v], |t| {
            let (w, v) = t[0].f_linalg_eigh("L")?;
            Ok([w, v])
        })
    }
}

extern "C" fn svd(a: Handle, u: *mut Handle, s: *mut Handle, vh: *mut Handle) -> u32 {
    // SAFETY: as in `qr`.
    unsafe {
        compute("svd", &[a], &[], [u, s, vh], |t| {
            // torch::linalg_svd wants a driver from tch, and on the CPU accepts none. Its elder gives v, not vh.
            let (u, s, v) = t[0].f_svd(true, true)?;
            Ok([u, s, v.f_transpose(-2, -1)?])
        })
    }
}
