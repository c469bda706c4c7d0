//! One matrix per dimension of a tensor: products with it, and the second moments that it is made of.
//! Tensors are batches, `[batch, …shape]`; dimension `a` counts within the shape.

use sdk::*;

/// Most dimensions of a parameter that has a matrix for each.
pub const MOST_DIMS: usize = 4;
/// Largest dimension that gets a matrix; its square is allocated.
pub const LARGEST: i64 = 16_384;

/// Whether one matrix per dimension can be kept.
pub fn accepts(label: &str, shape: &[i64]) -> Result<()> {
    if shape.len() > MOST_DIMS {
        return Err(
            format!("{label} keeps a matrix for each of at most {MOST_DIMS} dimensions, not for {shape:?}").into()
        );
    }
    Ok(())
}

/// `[batch, elements before, n, elements after]` around dimension `a`.
fn around<'t>(x: Tensor<'t>, shape: &[i64], a: usize) -> Result<Tensor<'t>> {
    let batch = x.size(0)?;
    x.reshape(&[batch, shape[..a].iter().product(), shape[a], shape[a + 1..].iter().product()])
}

/// Whether no elements lie behind those of dimension `a`.
fn is_last(shape: &[i64], a: usize) -> bool {
    shape[a + 1..].iter().product::<i64>() == 1
}

fn batched(x: Tensor<'_>, shape: &[i64]) -> Result<Vec<i64>> {
    Ok([&[x.size(0)?], shape].concat())
}

/// The matrices `m`, `[batch, n, n]`, times `x` along dimension `a`.
pub fn times<'t>(m: Tensor<'t>, x: Tensor<'t>, shape: &[i64], a: usize) -> Result<Tensor<'t>> {
    let (batch, n) = (m.size(0)?, shape[a]);
    if is_last(shape, a) {
        // One product of matrices, where the general way would be as many products with vectors.
        return x.reshape(&[batch, shape[..a].iter().product(), n])?.matmul(m.t()?)?.reshape(&batched(x, shape)?);
    }
    let product = m.reshape(&[batch, 1, n, n])?.matmul(around(x, shape, a)?)?;
    product.reshape(&batched(x, shape)?)
}

/// The unfolding of `g` along dimension `a` times its own transpose: `[batch, n, n]`.
pub fn second_moment<'t>(g: Tensor<'t>, shape: &[i64], a: usize) -> Result<Tensor<'t>> {
    let (batch, n) = (g.size(0)?, shape[a]);
    if is_last(shape, a) {
        let rows = g.reshape(&[batch, shape[..a].iter().product(), n])?;
        return rows.t()?.symmetric_matmul(rows);
    }
    if a == 0 {
        let rows = g.reshape(&[batch, n, shape[1..].iter().product()])?;
        return rows.symmetric_matmul(rows.t()?);
    }
    let unfolded = around(g, shape, a)?;
    unfolded.matmul(unfolded.t()?)?.sum(&[1])?.reshape(&[batch, n, n])
}

/// `m^(power)` of symmetric positive matrices `[batch, n, n]`, eigenvalues raised by `shift`. Taken in f64: in f32 the
/// decomposition gives up on matrices that are nearly singular. Eigenvalues that rounding made negative are as large as
/// they are where nothing is added; zeros would have infinite roots.
pub fn power<'t>(m: Tensor<'t>, power: f64, shift: f64) -> Result<Tensor<'t>> {
    let (batch, n) = (m.size(0)?, m.size(-1)?);
    let (values, vectors) = m.cast(Dtype::F64)?.eigh()?;
    let values = if shift == 0.0 { values.abs()? } else { values.max_scalar(0.0)?.add_scalar(shift)? };
    let powers = values.pow_scalar(power)?.reshape(&[batch, 1, n])?;
    vectors.mul(powers)?.matmul(vectors.t()?)?.cast(m.dtype()?)
}
