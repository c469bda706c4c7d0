//! Tensors of the host, by handle: what rules over whole tensors compute with.
//! Owns no memory; every operation is a call of the host's table and makes a new tensor.
//!
//! A handle lives for the plugin's call it came with, which is what the lifetime says; nothing is changed in place.
#![allow(unsafe_code)]
// The names are torch's; `std::ops` cannot fail.
#![allow(clippy::should_implement_trait)]

use core::fmt;
use core::marker::PhantomData;

use abi_stable::std_types::{RSlice, RStr, RVec};

use crate::abi::host_tables::Handle;
use crate::abi::{LinalgTable, PassCall, RngTable, TensorTable};
use crate::host::Host;
use crate::{Error, Result, table_entry};

/// A tensor of the host's. Copying it copies the handle.
///
/// Operations broadcast as in torch, dimensions may count from the end, and every error is the host's text.
#[derive(Clone, Copy)]
pub struct Tensor<'t> {
    handle: Handle,
    // A raw pointer keeps it on the thread that entered the plugin.
    call: PhantomData<(&'t (), *const ())>,
}

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Dtype {
    /// 32-bit float.
    F32 = 0,
    /// 64-bit float.
    F64 = 1,
    /// The upper half of an f32.
    Bf16 = 2,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Device {
    /// Main memory.
    Cpu = 0,
    /// A graphics card.
    Cuda = 1,
}

/// Calls a function of a table of the host's, read by name; an older host may not have it.
macro_rules! call {
    ($table:ident: $type:ident, $function:ident($($argument:expr),*)) => {{
        let host = Host::get()?;
        let Some(function) = table_entry!(host.$table()?, $type, $function) else {
            return Err(Error::new(concat!("this host's tables have no `", stringify!($function), "`")));
        };
        host.outcome(function($($argument),*), stringify!($function))
    }};
}

/// Methods that make one tensor of one or two.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident: $arity:ident;)*) => { $( operations!(@ $(#[$doc])* $name: $arity); )* };
    (@ $(#[$doc:meta])* $name:ident: Unary) => {
        $(#[$doc])*
        pub fn $name(self) -> Result<Tensor<'t>> {
            let mut out = 0;
            call!(tensor: TensorTable, $name(self.present()?, &mut out))?;
            Ok(Tensor::of(out))
        }
    };
    (@ $(#[$doc:meta])* $name:ident: Binary) => {
        $(#[$doc])*
        pub fn $name(self, other: Tensor<'t>) -> Result<Tensor<'t>> {
            let mut out = 0;
            call!(tensor: TensorTable, $name(self.present()?, other.present()?, &mut out))?;
            Ok(Tensor::of(out))
        }
    };
    (@ $(#[$doc:meta])* $name:ident: Number) => {
        $(#[$doc])*
        pub fn $name(self, x: f64) -> Result<Tensor<'t>> {
            let mut out = 0;
            call!(tensor: TensorTable, $name(self.present()?, x, &mut out))?;
            Ok(Tensor::of(out))
        }
    };
    (@ $(#[$doc:meta])* $name:ident: Reduction) => {
        $(#[$doc])*
        pub fn $name(self, dims: &[i64]) -> Result<Tensor<'t>> {
            let mut out = 0;
            call!(tensor: TensorTable, $name(self.present()?, RSlice::from_slice(dims), &mut out))?;
            Ok(Tensor::of(out))
        }
    };
}

impl<'t> Tensor<'t> {
    /// The tensor of a handle; 0 is one that is not there.
    pub(crate) fn of(handle: Handle) -> Tensor<'t> {
        Tensor { handle, call: PhantomData }
    }

    /// Its handle; 0 if it is not there.
    pub(crate) fn handle(self) -> Handle {
        self.handle
    }

    /// Its handle, if it is there.
    pub(crate) fn present(self) -> Result<Handle> {
        if self.handle == 0 {
            return Err(Error::new("a tensor is used that is not there, such as a slot that is switched off"));
        }
        Ok(self.handle)
    }

    /// Sizes.
    pub fn shape(self) -> Result<Vec<i64>> {
        let mut out = RVec::new();
        call!(tensor: TensorTable, shape(self.present()?, &mut out))?;
        Ok(out.into_vec())
    }

    /// Size of one dimension.
    pub fn size(self, dim: i64) -> Result<i64> {
        let shape = self.shape()?;
        let index = if dim < 0 { dim + shape.len() as i64 } else { dim };
        let size = usize::try_from(index).ok().and_then(|index| shape.get(index));
        size.copied().ok_or_else(|| Error::new(format!("there is no dimension {dim} in {shape:?}")))
    }

    /// Element type.
    pub fn dtype(self) -> Result<Dtype> {
        let mut out = 0;
        call!(tensor: TensorTable, dtype(self.present()?, &mut out))?;
        match out {
            0 => Ok(Dtype::F32),
            1 => Ok(Dtype::F64),
            2 => Ok(Dtype::Bf16),
            other => Err(Error::new(format!("element type {other} is not known here"))),
        }
    }

    /// Where it lies.
    pub fn device(self) -> Result<Device> {
        let mut out = 0;
        call!(tensor: TensorTable, device(self.present()?, &mut out))?;
        match out {
            0 => Ok(Device::Cpu),
            1 => Ok(Device::Cuda),
            other => Err(Error::new(format!("device {other} is not known here"))),
        }
    }

    /// The only element of a tensor.
    pub fn item(self) -> Result<f64> {
        let mut out = 0.0;
        call!(tensor: TensorTable, item(self.present()?, &mut out))?;
        Ok(out)
    }

    /// The same values with another element type.
    pub fn cast(self, dtype: Dtype) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, cast(self.present()?, dtype as u32, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// The same elements in another shape; one size may be −1.
    pub fn reshape(self, shape: &[i64]) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, reshape(self.present()?, RSlice::from_slice(shape), &mut out))?;
        Ok(Tensor::of(out))
    }

    /// Two dimensions swapped.
    pub fn transpose(self, dim0: i64, dim1: i64) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, transpose(self.present()?, dim0, dim1, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// The last two dimensions swapped.
    pub fn t(self) -> Result<Tensor<'t>> {
        self.transpose(-2, -1)
    }

    /// `len` indices from `start` along a dimension.
    pub fn narrow(self, dim: i64, start: i64, len: i64) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, narrow(self.present()?, dim, start, len, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// The given indices along a dimension.
    pub fn index_select(self, dim: i64, index: &[i64]) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, index_select(self.present()?, dim, RSlice::from_slice(index), &mut out))?;
        Ok(Tensor::of(out))
    }

    /// Joined along a dimension.
    pub fn concat(all: &[Tensor<'t>], dim: i64) -> Result<Tensor<'t>> {
        let handles = all.iter().map(|tensor| tensor.present()).collect::<Result<Vec<_>>>()?;
        let mut out = 0;
        call!(tensor: TensorTable, concat(RSlice::from_slice(&handles), dim, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// Filled with one value; element type and device of this one.
    pub fn full(self, shape: &[i64], value: f64) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, full(RSlice::from_slice(shape), value, self.present()?, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// The identity matrix `[n, n]`; element type and device of this one.
    pub fn eye(self, n: i64) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, eye(n, self.present()?, &mut out))?;
        Ok(Tensor::of(out))
    }

    operations! {
        /// A copy with memory of its own.
        copy: Unary;
        /// −a.
        neg: Unary;
        /// |a|.
        abs: Unary;
        /// −1, 0 or 1.
        sign: Unary;
        /// √a.
        sqrt: Unary;
        /// 1/√a.
        rsqrt: Unary;
        /// 1/a.
        reciprocal: Unary;
        /// eᵃ.
        exp: Unary;
        /// ln a.
        ln: Unary;
        /// tanh a.
        tanh: Unary;
        /// a + b.
        add: Binary;
        /// a − b.
        sub: Binary;
        /// a · b.
        mul: Binary;
        /// a / b.
        div: Binary;
        /// `a > b ? a : b`.
        max: Binary;
        /// `a < b ? a : b`.
        min: Binary;
        /// 1 where a > b, else 0.
        gt: Binary;
        /// 1 where a ≥ b, else 0.
        ge: Binary;
        /// a + x.
        add_scalar: Number;
        /// a · x.
        mul_scalar: Number;
        /// aˣ.
        pow_scalar: Number;
        /// `max(a, x)`, elementwise.
        max_scalar: Number;
        /// Sum over these dimensions, which are kept with size 1; over all, to a tensor without dimensions, where none
        /// is given.
        sum: Reduction;
        /// Mean, as [`Tensor::sum`].
        mean: Reduction;
        /// L2 norm, as [`Tensor::sum`].
        norm: Reduction;
        /// Matrix product over the last two dimensions; the leading ones broadcast.
        matmul: Binary;
    }

    /// a + alpha · b.
    pub fn add_scaled(self, other: Tensor<'t>, alpha: f64) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, add_scaled(self.present()?, other.present()?, alpha, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// `beta · self + (1 − beta) · other`: a moving average.
    pub fn lerp(self, other: Tensor<'t>, beta: f64) -> Result<Tensor<'t>> {
        self.mul_scalar(beta)?.add_scaled(other, 1.0 - beta)
    }

    /// Sum over all dimensions but the first, the batch's; they are kept with size 1.
    pub fn sum_each(self) -> Result<Tensor<'t>> {
        let dims: Vec<i64> = (1..self.shape()?.len() as i64).collect();
        if dims.is_empty() { Ok(self) } else { self.sum(&dims) }
    }

    /// Mean, as [`Tensor::sum_each`].
    pub fn mean_each(self) -> Result<Tensor<'t>> {
        let dims: Vec<i64> = (1..self.shape()?.len() as i64).collect();
        if dims.is_empty() { Ok(self) } else { self.mean(&dims) }
    }

    /// `self != 0 ? yes : no`, elementwise.
    pub fn select(self, yes: Tensor<'t>, no: Tensor<'t>) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(tensor: TensorTable, select(self.present()?, yes.present()?, no.present()?, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// beta · self + alpha · (a @ b), over one leading dimension.
    pub fn add_matmul(self, a: Tensor<'t>, b: Tensor<'t>, beta: f64, alpha: f64) -> Result<Tensor<'t>> {
        let mut out = 0;
        let (own, a, b) = (self.present()?, a.present()?, b.present()?);
        call!(tensor: TensorTable, add_matmul(own, a, b, beta, alpha, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// The results of a pass, as many as `N` at most; those beyond what the call has are not there.
    pub(crate) fn pass<const N: usize>(call: &PassCall<'_>) -> Result<[Tensor<'t>; N]> {
        assert!(call.result_per.len() <= N, "a pass has at most {N} results");
        let mut outs = [0; N];
        let host = Host::get()?;
        let Some(pass) = table_entry!(host.tensor()?, TensorTable, pass) else {
            return Err(Error::new("this host's tables have no `pass`"));
        };
        // SAFETY: the call lives here, and `outs` has room for its results.
        let status = unsafe { pass(&raw const *call, outs.as_mut_ptr()) };
        host.outcome(status, "pass")?;
        Ok(outs.map(Tensor::of))
    }

    /// Reduced QR `(q, r)`: `self = q @ r`. Over leading dimensions.
    pub fn qr(self) -> Result<(Tensor<'t>, Tensor<'t>)> {
        let (mut q, mut r) = (0, 0);
        call!(linalg: LinalgTable, qr(self.present()?, &mut q, &mut r))?;
        Ok((Tensor::of(q), Tensor::of(r)))
    }

    /// Eigenvalues, ascending, and eigenvectors `(w, v)` of a symmetric matrix: `self = v @ diag(w) @ vᵀ`. Over leading
    /// dimensions.
    pub fn eigh(self) -> Result<(Tensor<'t>, Tensor<'t>)> {
        let (mut w, mut v) = (0, 0);
        call!(linalg: LinalgTable, eigh(self.present()?, &mut w, &mut v))?;
        Ok((Tensor::of(w), Tensor::of(v)))
    }

    /// Reduced SVD `(u, s, vh)`: `self = u @ diag(s) @ vh`. Over leading dimensions.
    pub fn svd(self) -> Result<(Tensor<'t>, Tensor<'t>, Tensor<'t>)> {
        let (mut u, mut s, mut vh) = (0, 0, 0);
        call!(linalg: LinalgTable, svd(self.present()?, &mut u, &mut s, &mut vh))?;
        Ok((Tensor::of(u), Tensor::of(s), Tensor::of(vh)))
    }

    /// self @ other, `[batch, n, m]` times `[batch, m, n]`, for factors whose product is known to be symmetric, such as a
    /// matrix and its own transpose, or two polynomials in one symmetric matrix: about half of it is computed.
    pub fn symmetric_matmul(self, other: Tensor<'t>) -> Result<Tensor<'t>> {
        self.symmetric_product(0, other, 0.0, 1.0)
    }

    /// beta · self + alpha · (a @ b), as [`Tensor::symmetric_matmul`]; self is symmetric too.
    pub fn add_symmetric_matmul(self, a: Tensor<'t>, b: Tensor<'t>, beta: f64, alpha: f64) -> Result<Tensor<'t>> {
        a.symmetric_product(self.present()?, b, beta, alpha)
    }

    fn symmetric_product(self, c: Handle, other: Tensor<'t>, beta: f64, alpha: f64) -> Result<Tensor<'t>> {
        let mut out = 0;
        let (a, b) = (self.present()?, other.present()?);
        call!(linalg: LinalgTable, symmetric_product(c, a, b, beta, alpha, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// Uniform numbers in [0, 1) with shape, element type and device of this one. They depend on seed, step and the
    /// parameter's name alone.
    pub fn random_uniform(self, seed: u64, step: u64, parameter: &str) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(rng: RngTable, uniform(seed, step, RStr::from_str(parameter), self.present()?, &mut out))?;
        Ok(Tensor::of(out))
    }

    /// Standard normal numbers, as [`Tensor::random_uniform`].
    pub fn random_normal(self, seed: u64, step: u64, parameter: &str) -> Result<Tensor<'t>> {
        let mut out = 0;
        call!(rng: RngTable, normal(seed, step, RStr::from_str(parameter), self.present()?, &mut out))?;
        Ok(Tensor::of(out))
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor#{:x}", self.handle)
    }
}
