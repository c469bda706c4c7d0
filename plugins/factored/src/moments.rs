//! A second moment as one number per row and one per column.
//! Tensors are batches, `[batch, …, r, c]`; rows are `[batch, …, r]`, columns `[batch, …, c]`.

use sdk::*;

/// Slots for rows, columns, and the whole; the latter where the parameter is no matrix.
pub fn slots(is_matrix: bool) -> [Slot; 3] {
    let of = |kind, on: bool| Slot::zeros().shape(kind).degree(2).only_if(f64::from(u8::from(on)));
    let vector = of(ShapeKind::Elementwise, !is_matrix);
    if is_matrix {
        [of(ShapeKind::Row, true), of(ShapeKind::Column, true), vector]
    } else {
        [of(ShapeKind::Elementwise, false), of(ShapeKind::Elementwise, false), vector]
    }
}

/// Whether parameters stacked in a batch of this shape have rows and columns.
pub fn is_matrix(batch: &[i64]) -> bool {
    batch.len() > 2
}

/// Moves rows and columns on by the means of `squares`; `beta` is the share of the old.
pub fn average<'t>(squares: Tensor<'t>, beta: f64, row: &mut Tensor<'t>, column: &mut Tensor<'t>) -> Result<()> {
    *row = row.lerp(squares.mean(&[-1])?.reshape(&row.shape()?)?, beta)?;
    *column = column.lerp(squares.mean(&[-2])?.reshape(&column.shape()?)?, beta)?;
    Ok(())
}

/// Rows as `[batch, …, r, 1]` and columns as `[batch, …, 1, c]`, for parameters of `shape`, the batch's included.
pub fn spread<'t>(row: Tensor<'t>, column: Tensor<'t>, shape: &[i64]) -> Result<(Tensor<'t>, Tensor<'t>)> {
    let (leading, last) = shape.split_at(shape.len() - 2);
    Ok((row.reshape(&[leading, &[last[0], 1]].concat())?, column.reshape(&[leading, &[1, last[1]]].concat())?))
}

/// 1/√(row·column/mean(row)).
pub fn inverse_root<'t>(row: Tensor<'t>, column: Tensor<'t>, shape: &[i64]) -> Result<Tensor<'t>> {
    let (row, column) = spread(row, column, shape)?;
    row.div(row.mean(&[-2])?)?.rsqrt()?.mul(column.rsqrt()?)
}
