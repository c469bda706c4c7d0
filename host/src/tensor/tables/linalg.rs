//! `host.linalg/1`: factorizations, batched over leading dimensions, by LAPACK or cuSOLVER, and products of known form.
//! Signs and null spaces are the library's: results are portable only up to them.

use abi_stable::std_types::RStr;
use sdk::abi::{LinalgTable, TableHeader, host_tables::Handle};
use tch::Tensor;

use super::{
    entry::{Refusal, compute},
    tensor::one_kind,
};
use crate::tensor::{symmetric, trace::Argument::Number};

/// The table.
pub static TABLE: LinalgTable = LinalgTable {
    header: TableHeader { struct_size: size_of::<LinalgTable>(), id: RStr::from_str("host.linalg/1"), revision: 0 },
    qr,
    eigh,
    svd,
    symmetric_product,
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

extern "C" fn symmetric_product(c: Handle, a: Handle, b: Handle, beta: f64, alpha: f64, out: *mut Handle) -> u32 {
    let operands = if c == 0 { vec![a, b] } else { vec![a, b, c] };
    // SAFETY: as in `qr`.
    unsafe {
        compute("symmetric_product", &operands, &[Number(beta), Number(alpha)], [out], |t| {
            one_kind(t)?;
            let fits = match (&t[0].size()[..], &t[1].size()[..]) {
                (&[batch, n, m], &[batches, k, columns]) => {
                    (batches, k, columns) == (batch, m, n) && t.get(2).is_none_or(|c| c.size() == [batch, n, n])
                }
                _ => false,
            };
            if !fits {
                return Err(Refusal::Text("[batch, n, m] times [batch, m, n] expected".to_owned()));
            }
            Ok([symmetric::product(t.get(2).copied(), t[0], t[1], beta, alpha)?])
        })
    }
}
