//! `host.tensor/1`: shapes, copies, arithmetic, products and sums of tensors.
//! Promotes nothing: operands of two element types are refused, so that no step changes precision unseen.

use abi_stable::std_types::{RSlice, RStr, RVec};
use sdk::abi::{TableHeader, TensorTable, host_tables::Handle};
use tch::{Device, TchError, Tensor};

use super::{
    entry::{Out, Refusal, compute, compute_all, read, read_into},
    pass::pass,
};
use crate::tensor::{
    Batch,
    slots::{kind_code, kind_of_code},
    trace::Argument::{Integer, Integers, Number},
};

/// The table.
pub static TABLE: TensorTable = TensorTable {
    header: TableHeader { struct_size: size_of::<TensorTable>(), id: RStr::from_str("host.tensor/1"), revision: 0 },
    shape,
    dtype,
    device,
    item,
    cast,
    copy,
    reshape,
    transpose,
    narrow,
    index_select,
    concat,
    full,
    eye,
    neg,
    abs,
    sign,
    sqrt,
    rsqrt,
    reciprocal,
    exp,
    ln,
    tanh,
    add,
    sub,
    mul,
    div,
    max,
    min,
    gt,
    ge,
    add_scalar,
    mul_scalar,
    pow_scalar,
    max_scalar,
    add_scaled,
    select,
    sum,
    mean,
    norm,
    matmul,
    add_matmul,
    pass,
};

extern "C" fn shape(a: Handle, out: &mut RVec<i64>) -> u32 {
    read("shape", a, |t| Ok(t.size()), |sizes| *out = sizes.into())
}

extern "C" fn dtype(a: Handle, out: *mut u32) -> u32 {
    // SAFETY: the boundary's contract is that result places are null or valid. So in every block of this file.
    unsafe { read_into("dtype", a, out, |t| kind_code(t.kind()).map_err(Refusal::Text)) }
}

extern "C" fn device(a: Handle, out: *mut u32) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        read_into("device", a, out, |t| match t.device() {
            Device::Cpu => Ok(0),
            Device::Cuda(_) => Ok(1),
            other => Err(Refusal::Text(format!("a tensor on {other:?} has no code"))),
        })
    }
}

extern "C" fn item(a: Handle, out: *mut f64) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        read_into("item", a, out, |t| match t.stacked()?.numel() {
            1 => Ok(t.stacked()?.f_double_value(&[])?),
            n => Err(Refusal::Text(format!("one element expected, not {n}"))),
        })
    }
}

extern "C" fn cast(a: Handle, dtype: u32, out: *mut Handle) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        compute("cast", &[a], &[Integer(dtype.into())], [out], |t| {
            let kind = kind_of_code(dtype).map_err(Refusal::Text)?;
            Ok([t[0].f_to_dtype(kind, false, false)?])
        })
    }
}

extern "C" fn copy(a: Handle, out: *mut Handle) -> u32 {
    unary("copy", a, out, |t| t.f_to_dtype(t.f_kind()?, false, true))
}

extern "C" fn reshape(a: Handle, shape: RSlice<'_, i64>, out: *mut Handle) -> u32 {
    let shape = shape.as_slice();
    // SAFETY: as in `dtype`.
    unsafe { compute_all("reshape", &[a], &[Integers(shape)], &[out], |t| Ok(vec![t[0].reshaped(shape)?])) }
}

extern "C" fn transpose(a: Handle, dim0: i64, dim1: i64, out: *mut Handle) -> u32 {
    let arguments = [Integer(dim0), Integer(dim1)];
    // SAFETY: as in `dtype`.
    unsafe { compute("transpose", &[a], &arguments, [out], |t| Ok([t[0].f_transpose(dim0, dim1)?])) }
}

extern "C" fn narrow(a: Handle, dim: i64, start: i64, len: i64, out: *mut Handle) -> u32 {
    let arguments = [Integer(dim), Integer(start), Integer(len)];
    // SAFETY: as in `dtype`.
    unsafe { compute("narrow", &[a], &arguments, [out], |t| Ok([t[0].f_narrow(dim, start, len)?])) }
}

extern "C" fn index_select(a: Handle, dim: i64, index: RSlice<'_, i64>, out: *mut Handle) -> u32 {
    let index = index.as_slice();
    // SAFETY: as in `dtype`.
    unsafe {
        compute("index_select", &[a], &[Integer(dim), Integers(index)], [out], |t| {
            // Checked here, because on a GPU an index out of range takes the whole process down.
            let sizes = t[0].size();
            let at = if dim < 0 { dim + sizes.len() as i64 } else { dim };
            let size = usize::try_from(at).ok().and_then(|at| sizes.get(at)).copied();
            let size = size.ok_or_else(|| Refusal::Text(format!("there is no dimension {dim}")))?;
            if let Some(wrong) = index.iter().find(|&&i| i < 0 || i >= size) {
                return Err(Refusal::Text(format!("index {wrong} is not in 0..{size}")));
            }
            let index = Tensor::f_from_slice(index)?.f_to_device(t[0].device())?;
            Ok([t[0].f_index_select(dim, &index)?])
        })
    }
}

extern "C" fn concat(all: RSlice<'_, Handle>, dim: i64, out: *mut Handle) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        compute("concat", all.as_slice(), &[Integer(dim)], [out], |t| {
            one_kind(t)?;
            Ok([Tensor::f_cat(t, dim)?])
        })
    }
}

extern "C" fn full(shape: RSlice<'_, i64>, value: f64, like: Handle, out: *mut Handle) -> u32 {
    let shape = shape.as_slice();
    // SAFETY: as in `dtype`.
    unsafe {
        compute_all("full", &[like], &[Integers(shape), Number(value)], &[out], |t| {
            Ok(vec![Batch::Stacked(Tensor::f_full(shape, value, (t[0].kind(), t[0].device()))?)])
        })
    }
}

extern "C" fn eye(n: i64, like: Handle, out: *mut Handle) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        compute_all("eye", &[like], &[Integer(n)], &[out], |t| {
            Ok(vec![Batch::Stacked(Tensor::f_eye(n, (t[0].kind(), t[0].device()))?)])
        })
    }
}

fn unary(name: &str, a: Handle, out: Out<Handle>, operation: impl FnOnce(&Tensor) -> Result<Tensor, TchError>) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe { compute(name, &[a], &[], [out], |t| Ok([operation(t[0])?])) }
}

extern "C" fn neg(a: Handle, out: *mut Handle) -> u32 {
    unary("neg", a, out, Tensor::f_neg)
}

extern "C" fn abs(a: Handle, out: *mut Handle) -> u32 {
    unary("abs", a, out, Tensor::f_abs)
}

extern "C" fn sign(a: Handle, out: *mut Handle) -> u32 {
    unary("sign", a, out, Tensor::f_sign)
}

extern "C" fn sqrt(a: Handle, out: *mut Handle) -> u32 {
    unary("sqrt", a, out, Tensor::f_sqrt)
}

extern "C" fn rsqrt(a: Handle, out: *mut Handle) -> u32 {
    unary("rsqrt", a, out, Tensor::f_rsqrt)
}

extern "C" fn reciprocal(a: Handle, out: *mut Handle) -> u32 {
    unary("reciprocal", a, out, Tensor::f_reciprocal)
}

extern "C" fn exp(a: Handle, out: *mut Handle) -> u32 {
    unary("exp", a, out, Tensor::f_exp)
}

extern "C" fn ln(a: Handle, out: *mut Handle) -> u32 {
    unary("ln", a, out, Tensor::f_log)
}

extern "C" fn tanh(a: Handle, out: *mut Handle) -> u32 {
    unary("tanh", a, out, Tensor::f_tanh)
}

fn binary(
    name: &str,
    a: Handle,
    b: Handle,
    out: Out<Handle>,
    operation: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor, TchError>,
) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        compute(name, &[a, b], &[], [out], |t| {
            one_kind(t)?;
            Ok([operation(t[0], t[1])?])
        })
    }
}

extern "C" fn add(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("add", a, b, out, Tensor::f_add)
}

extern "C" fn sub(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("sub", a, b, out, Tensor::f_sub)
}

extern "C" fn mul(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("mul", a, b, out, Tensor::f_mul)
}

extern "C" fn div(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("div", a, b, out, Tensor::f_div)
}

// As selections, not torch's maximum and minimum: those return NaN where one operand is NaN.
extern "C" fn max(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("max", a, b, out, |a, b| a.f_where_self(&a.f_gt_tensor(b)?, b))
}

extern "C" fn min(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("min", a, b, out, |a, b| a.f_where_self(&a.f_lt_tensor(b)?, b))
}

extern "C" fn gt(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("gt", a, b, out, |a, b| a.f_gt_tensor(b)?.f_to_kind(a.f_kind()?))
}

extern "C" fn ge(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("ge", a, b, out, |a, b| a.f_ge_tensor(b)?.f_to_kind(a.f_kind()?))
}

fn with_number(
    name: &str,
    a: Handle,
    x: f64,
    out: Out<Handle>,
    operation: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe { compute(name, &[a], &[Number(x)], [out], |t| Ok([operation(t[0])?])) }
}

extern "C" fn add_scalar(a: Handle, x: f64, out: *mut Handle) -> u32 {
    with_number("add_scalar", a, x, out, |a| a.f_add_scalar(x))
}

extern "C" fn mul_scalar(a: Handle, x: f64, out: *mut Handle) -> u32 {
    with_number("mul_scalar", a, x, out, |a| a.f_mul_scalar(x))
}

extern "C" fn pow_scalar(a: Handle, x: f64, out: *mut Handle) -> u32 {
    with_number("pow_scalar", a, x, out, |a| a.f_pow_tensor_scalar(x))
}

extern "C" fn max_scalar(a: Handle, x: f64, out: *mut Handle) -> u32 {
    with_number("max_scalar", a, x, out, |a| {
        let x = Tensor::f_scalar_tensor(x, (a.f_kind()?, a.device()))?;
        a.f_where_self(&a.f_gt_tensor(&x)?, &x)
    })
}

extern "C" fn add_scaled(a: Handle, b: Handle, alpha: f64, out: *mut Handle) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        compute("add_scaled", &[a, b], &[Number(alpha)], [out], |t| {
            one_kind(t)?;
            let mut scaled = t[1].f_mul_scalar(alpha)?;
            // In place where the result has that shape: the scaled tensor is nobody else's.
            Ok([if t[0].size() == t[1].size() { scaled.f_add_(t[0])? } else { t[0].f_add(&scaled)? }])
        })
    }
}

extern "C" fn select(mask: Handle, a: Handle, b: Handle, out: *mut Handle) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        compute("select", &[mask, a, b], &[], [out], |t| {
            one_kind(&t[1..])?;
            Ok([t[1].f_where_self(&t[0].f_ne(0.0)?, t[2])?])
        })
    }
}

fn reduction(
    name: &str,
    a: Handle,
    dims: &[i64],
    out: Out<Handle>,
    operation: impl FnOnce(&Tensor, &[i64], bool) -> Result<Tensor, TchError>,
) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        compute(name, &[a], &[Integers(dims)], [out], |t| {
            let all: Vec<i64> = (0..t[0].dim() as i64).collect();
            let (dims, keep) = if dims.is_empty() { (all.as_slice(), false) } else { (dims, true) };
            Ok([operation(t[0], dims, keep)?])
        })
    }
}

extern "C" fn sum(a: Handle, dims: RSlice<'_, i64>, out: *mut Handle) -> u32 {
    reduction("sum", a, dims.as_slice(), out, |a, dims, keep| a.f_sum_dim_intlist(dims, keep, a.f_kind()?))
}

extern "C" fn mean(a: Handle, dims: RSlice<'_, i64>, out: *mut Handle) -> u32 {
    reduction("mean", a, dims.as_slice(), out, |a, dims, keep| a.f_mean_dim(dims, keep, a.f_kind()?))
}

extern "C" fn norm(a: Handle, dims: RSlice<'_, i64>, out: *mut Handle) -> u32 {
    reduction("norm", a, dims.as_slice(), out, |a, dims, keep| a.f_norm_scalaropt_dim(2, dims, keep))
}

extern "C" fn matmul(a: Handle, b: Handle, out: *mut Handle) -> u32 {
    binary("matmul", a, b, out, Tensor::f_matmul)
}

extern "C" fn add_matmul(c: Handle, a: Handle, b: Handle, beta: f64, alpha: f64, out: *mut Handle) -> u32 {
    // SAFETY: as in `dtype`.
    unsafe {
        compute("add_matmul", &[c, a, b], &[Number(beta), Number(alpha)], [out], |t| {
            one_kind(t)?;
            if t.iter().any(|tensor| tensor.dim() != 3) {
                return Err(Refusal::Text("three tensors [batch, rows, columns] expected".to_owned()));
            }
            Ok([t[0].f_baddbmm(t[1], t[2], beta, alpha)?])
        })
    }
}

/// Refuses operands of different element types.
pub(super) fn one_kind(tensors: &[&Tensor]) -> Result<(), Refusal> {
    let mut kinds = tensors.iter().map(|tensor| tensor.kind());
    let first = kinds.next();
    if kinds.all(|kind| Some(kind) == first) {
        Ok(())
    } else {
        Err(Refusal::Text("operands of one element type expected; cast first".to_owned()))
    }
}
