//! A second moment as one number per row and one per column, and the passes that its rules share.
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

/// What a rule sums its squares to: rows and columns; where there are none, the squares are kept, and the second is not
/// looked at.
pub fn squares(shape: &[i64]) -> [Per; 2] {
    if is_matrix(shape) { [Per::Row, Per::Column] } else { [Per::Element, Per::Parameter] }
}

/// ‖x‖² of each parameter, and the squares of g with `eps` added.
pub struct Sizes;

/// Parameters and gradients.
#[derive(Record)]
pub struct Both<T> {
    pub x: T,
    pub g: T,
}

/// What is added to a square.
#[derive(Record)]
pub struct Eps<T> {
    pub eps: T,
}

/// ‖x‖², and squares along rows and columns.
#[derive(Record)]
pub struct Sums<T> {
    pub size: T,
    pub row: T,
    pub column: T,
}

impl Pass for Sizes {
    type Numbers<T: Copy> = Eps<T>;
    type Inputs<T: Copy> = Both<T>;
    type Results<T: Copy> = Sums<T>;

    fn each<L: Lane>(n: Eps<Scalar<L>>) -> impl Fn(Both<L>) -> Sums<L> {
        move |Both { x, g }| {
            let square = g * g + n.eps;
            Sums { size: x * x, row: square, column: square }
        }
    }
}

/// 1/√V, V being a second moment: the product of the two, but at most `most`.
#[derive(Clone, Copy)]
pub struct Root<'t> {
    pub row: (Tensor<'t>, Per),
    pub column: (Tensor<'t>, Per),
}

/// Moves a second moment on by squares that lie as [`squares`] says; `beta` is the share of the old. Slots are those of
/// [`slots`]. The mean over the rows counts as no less than `least`.
pub fn advance<'t>(
    beta: f64,
    least: f64,
    shape: &[i64],
    [row, column]: [Tensor<'t>; 2],
    [row_var, col_var, variance]: [&mut Tensor<'t>; 3],
) -> Result<Root<'t>> {
    let (true, &[.., rows, columns]) = (is_matrix(shape), shape) else {
        *variance = variance.lerp(row, beta)?;
        return Ok(Root { row: (variance.rsqrt()?, Per::Element), column: (ones(*variance, shape)?, Per::Parameter) });
    };
    *row_var = row_var.lerp(row.mul_scalar(1.0 / columns as f64)?, beta)?;
    *col_var = col_var.lerp(column.mul_scalar(1.0 / rows as f64)?, beta)?;
    let row = row_var.div(row_var.mean(&[-1])?.max_scalar(least)?)?;
    Ok(Root { row: (row.rsqrt()?, Per::Row), column: (col_var.rsqrt()?, Per::Column) })
}

/// 1 for each parameter of a batch of this shape, of the element type of `like`.
pub fn ones<'t>(like: Tensor<'t>, shape: &[i64]) -> Result<Tensor<'t>> {
    like.full(&shape[..1], 1.0)
}

/// ‖u‖² of each parameter, u being g/√V.
struct Length;

#[derive(Record)]
struct Scaled<T> {
    g: T,
    row: T,
    column: T,
}

#[derive(Record)]
struct Most<T> {
    most: T,
}

#[derive(Record)]
struct Size<T> {
    size: T,
}

impl Pass for Length {
    type Numbers<T: Copy> = Most<T>;
    type Inputs<T: Copy> = Scaled<T>;
    type Results<T: Copy> = Size<T>;

    fn each<L: Lane>(n: Most<Scalar<L>>) -> impl Fn(Scaled<L>) -> Size<L> {
        move |Scaled { g, row, column }| {
            let u = g * (row * column).min(n.most);
            Size { size: u * u }
        }
    }
}

/// By what u = g·min(1/√V, `most`) is to be divided, so that its root mean square is at most `d`: one number per
/// parameter of `numel` elements.
pub fn excess<'t>(g: Tensor<'t>, root: Root<'t>, most: f64, numel: f64, d: f64) -> Result<Tensor<'t>> {
    let inputs = Scaled { g: (g, Per::Element), row: root.row, column: root.column };
    let Size { size } = Length::run(Most { most }, inputs, Size { size: Per::Parameter })?;
    size.mul_scalar(1.0 / numel)?.sqrt()?.mul_scalar(1.0 / d)?.max_scalar(1.0)
}
