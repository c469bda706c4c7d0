//! Tables that the host offers. Functions return a status; the text of a failure is fetched on the same thread with
//! [`CoreTable::take_error`]. Tensors are handles: a number with a generation, so a stale one is an error. Handles that
//! a function returns live until the plugin's call ends. Nothing is changed in place, but for what a pass
//! replaces ([`PassCall::replaces`]). One thread at a time: the one that entered the plugin.

use abi_stable::std_types::{RSlice, RStr, RString, RVec};

use super::{PassCall, TableHeader};

/// A tensor of the host's; 0 is none.
pub type Handle = u64;

/// `host.core/1`.
#[repr(C)]
pub struct CoreTable {
    /// Begins every table.
    pub header: TableHeader,
    /// Writes to the run's log. Level 0 error, 1 warning, 2 info, 3 debug.
    pub log: extern "C" fn(level: u32, message: RStr<'_>),
    /// Takes the text of the last failure on this thread; empty if there was none.
    pub take_error: extern "C" fn() -> RString,
}

/// A function of one tensor.
pub type Unary = extern "C" fn(a: Handle, out: *mut Handle) -> u32;
/// A function of two tensors, which broadcast as in torch.
pub type Binary = extern "C" fn(a: Handle, b: Handle, out: *mut Handle) -> u32;

/// `host.tensor/1`. `dtype`: 0 f32, 1 f64, 2 bf16. `device`: 0 CPU, 1 CUDA. Negative dimensions count from the end.
#[repr(C)]
pub struct TensorTable {
    /// Begins every table.
    pub header: TableHeader,
    /// Sizes.
    pub shape: extern "C" fn(a: Handle, out: &mut RVec<i64>) -> u32,
    /// Element type.
    pub dtype: extern "C" fn(a: Handle, out: *mut u32) -> u32,
    /// Where it lies.
    pub device: extern "C" fn(a: Handle, out: *mut u32) -> u32,
    /// The only element of a tensor.
    pub item: extern "C" fn(a: Handle, out: *mut f64) -> u32,
    /// Another element type.
    pub cast: extern "C" fn(a: Handle, dtype: u32, out: *mut Handle) -> u32,
    /// A copy with memory of its own.
    pub copy: Unary,
    /// The same elements in another shape; one size may be −1.
    pub reshape: extern "C" fn(a: Handle, shape: RSlice<'_, i64>, out: *mut Handle) -> u32,
    /// Two dimensions swapped.
    pub transpose: extern "C" fn(a: Handle, dim0: i64, dim1: i64, out: *mut Handle) -> u32,
    /// `len` indices from `start` along a dimension.
    pub narrow: extern "C" fn(a: Handle, dim: i64, start: i64, len: i64, out: *mut Handle) -> u32,
    /// The given indices along a dimension.
    pub index_select: extern "C" fn(a: Handle, dim: i64, index: RSlice<'_, i64>, out: *mut Handle) -> u32,
    /// Joined along a dimension.
    pub concat: extern "C" fn(all: RSlice<'_, Handle>, dim: i64, out: *mut Handle) -> u32,
    /// Filled with one value; element type and device of `like`.
    pub full: extern "C" fn(shape: RSlice<'_, i64>, value: f64, like: Handle, out: *mut Handle) -> u32,
    /// The identity matrix; element type and device of `like`.
    pub eye: extern "C" fn(n: i64, like: Handle, out: *mut Handle) -> u32,
    /// −a.
    pub neg: Unary,
    /// |a|.
    pub abs: Unary,
    /// −1, 0 or 1.
    pub sign: Unary,
    /// √a.
    pub sqrt: Unary,
    /// 1/√a.
    pub rsqrt: Unary,
    /// 1/a.
    pub reciprocal: Unary,
    /// eᵃ.
    pub exp: Unary,
    /// ln a.
    pub ln: Unary,
    /// tanh a.
    pub tanh: Unary,
    /// a + b.
    pub add: Binary,
    /// a − b.
    pub sub: Binary,
    /// a · b.
    pub mul: Binary,
    /// a / b.
    pub div: Binary,
    /// `a > b ? a : b`.
    pub max: Binary,
    /// `a < b ? a : b`.
    pub min: Binary,
    /// 1 where a > b, else 0; element type of `a`.
    pub gt: Binary,
    /// 1 where a ≥ b, else 0; element type of `a`.
    pub ge: Binary,
    /// a + x.
    pub add_scalar: extern "C" fn(a: Handle, x: f64, out: *mut Handle) -> u32,
    /// a · x.
    pub mul_scalar: extern "C" fn(a: Handle, x: f64, out: *mut Handle) -> u32,
    /// aˣ.
    pub pow_scalar: extern "C" fn(a: Handle, x: f64, out: *mut Handle) -> u32,
    /// `max(a, x)`, elementwise.
    pub max_scalar: extern "C" fn(a: Handle, x: f64, out: *mut Handle) -> u32,
    /// a + alpha · b.
    pub add_scaled: extern "C" fn(a: Handle, b: Handle, alpha: f64, out: *mut Handle) -> u32,
    /// `mask != 0 ? a : b`, elementwise.
    pub select: extern "C" fn(mask: Handle, a: Handle, b: Handle, out: *mut Handle) -> u32,
    /// Sum over the given dimensions, which are kept with size 1; over all, to a tensor without dimensions, where none
    /// is given.
    pub sum: extern "C" fn(a: Handle, dims: RSlice<'_, i64>, out: *mut Handle) -> u32,
    /// Mean, as `sum`.
    pub mean: extern "C" fn(a: Handle, dims: RSlice<'_, i64>, out: *mut Handle) -> u32,
    /// L2 norm, as `sum`.
    pub norm: extern "C" fn(a: Handle, dims: RSlice<'_, i64>, out: *mut Handle) -> u32,
    /// Matrix product over the last two dimensions; the leading ones broadcast.
    pub matmul: Binary,
    /// beta · c + alpha · (a @ b), batched over one leading dimension.
    pub add_matmul: extern "C" fn(c: Handle, a: Handle, b: Handle, beta: f64, alpha: f64, out: *mut Handle) -> u32,
    /// Tensors from the elements of the inputs, in one pass over memory: new ones, or in the place of inputs. `outs` has room for as many handles as
    /// there are results.
    ///
    /// The first input of code 0 says the shape, `[batch, …, r, c]`; others have it too, or `[batch, …, r]` for code 1,
    /// `[batch, …, c]` for code 2, `[batch]` for code 3, with the dimensions that are left out or of size 1. All are of
    /// one element type, which the results have as well. Sums are taken in f64, in an order that follows from the shape
    /// alone. Rows and columns need a matrix.
    pub pass: unsafe extern "C" fn(call: *const PassCall<'_>, outs: *mut Handle) -> u32,
}

/// `host.linalg/1`, batched over leading dimensions.
#[repr(C)]
pub struct LinalgTable {
    /// Begins every table.
    pub header: TableHeader,
    /// Reduced QR: `a = q @ r`.
    pub qr: extern "C" fn(a: Handle, q: *mut Handle, r: *mut Handle) -> u32,
    /// Symmetric eigendecomposition, eigenvalues ascending: `a = v @ diag(w) @ vᵀ`.
    pub eigh: extern "C" fn(a: Handle, w: *mut Handle, v: *mut Handle) -> u32,
    /// Reduced SVD: `a = u @ diag(s) @ vh`.
    pub svd: extern "C" fn(a: Handle, u: *mut Handle, s: *mut Handle, vh: *mut Handle) -> u32,
    /// beta · c + alpha · (a @ b), square matrices `[batch, n, n]`, where c (0 for none) and a @ b are known to be
    /// symmetric, so that about half of the product need be computed.
    pub symmetric_product:
        extern "C" fn(c: Handle, a: Handle, b: Handle, beta: f64, alpha: f64, out: *mut Handle) -> u32,
}

/// `host.rng/1`: numbers that depend on seed, step and parameter alone.
#[repr(C)]
pub struct RngTable {
    /// Begins every table.
    pub header: TableHeader,
    /// Uniform in [0, 1); shape, element type and device of `like`.
    pub uniform: extern "C" fn(seed: u64, step: u64, parameter: RStr<'_>, like: Handle, out: *mut Handle) -> u32,
    /// Standard normal; shape, element type and device of `like`.
    pub normal: extern "C" fn(seed: u64, step: u64, parameter: RStr<'_>, like: Handle, out: *mut Handle) -> u32,
}
