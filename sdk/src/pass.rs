//! Passes: what a rule over whole tensors does element by element, in one walk over memory.
//! Says what an element becomes; the host walks, on its threads, with the kernel that `cpu` makes of it.

use crate::{Lane, Record, Result, Scalar, Tensor};

/// How a tensor lies along the elements of a batch `[batch, …, r, c]`: as an input, what it says to an element; as a
/// result, what elements are summed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Per {
    /// One number for each element: `[batch, …, r, c]`. A result is kept, not summed; a denormal is kept as zero.
    Element = 0,
    /// One for each row: `[batch, …, r]`. Needs a matrix.
    Row = 1,
    /// One for each column: `[batch, …, c]`. Needs a matrix.
    Column = 2,
    /// One for each parameter of the batch: `[batch]`.
    Parameter = 3,
}

impl Per {
    /// By its code at the boundary; none where the code is not known here.
    pub fn of(code: u32) -> Option<Per> {
        [Per::Element, Per::Row, Per::Column, Per::Parameter].into_iter().find(|per| *per as u32 == code)
    }
}

/// One pass over the elements of a batch, written as an elementwise rule is: numbers, inputs, results.
///
/// Results may be kept ([`Per::Element`]) and summed in the same pass. Sums are taken in f64, in an order that follows
/// from the shape alone, so their bits are the same for any number of threads.
///
/// ```
/// use sdk::*;
///
/// /// The squares of x and g, to be summed.
/// struct Squares;
///
/// #[derive(Record)]
/// struct Both<T> { x: T, g: T }
///
/// #[derive(Record)]
/// struct Sums<T> { size: T, row: T, column: T }
///
/// impl Pass for Squares {
///     type Numbers<T: Copy> = Nothing<T>;
///     type Inputs<T: Copy> = Both<T>;
///     type Results<T: Copy> = Sums<T>;
///
///     fn each<L: Lane>(_: Nothing<Scalar<L>>) -> impl Fn(Both<L>) -> Sums<L> {
///         |Both { x, g }| Sums { size: x * x, row: g * g, column: g * g }
///     }
/// }
///
/// /// ‖x‖² of each parameter, and the sums of g² over each row and each column, read once.
/// fn sums<'t>(x: Tensor<'t>, g: Tensor<'t>) -> Result<Sums<Tensor<'t>>> {
///     Squares::run(
///         Nothing::default(),
///         Both { x: (x, Per::Element), g: (g, Per::Element) },
///         Sums { size: Per::Parameter, row: Per::Row, column: Per::Column },
///     )
/// }
/// ```
pub trait Pass: Sized + 'static {
    /// Numbers that are the same for the whole pass. They are symbols when the pass is recorded, so no `if` may ask
    /// them; a pass that has two forms is two passes, or has a const parameter.
    type Numbers<T: Copy>: Record<T>;
    /// What an element is computed from; at most 8.
    type Inputs<T: Copy>: Record<T>;
    /// What it is computed to; at most 8.
    type Results<T: Copy>: Record<T>;

    /// Called once per block, for what is the same everywhere; what it returns is called once per element.
    fn each<L: Lane>(numbers: Self::Numbers<Scalar<L>>) -> impl Fn(Self::Inputs<L>) -> Self::Results<L>;

    /// Runs it: tensors, each with how it lies along the elements, and what becomes of each result. At least one input
    /// is [`Per::Element`]; the first of them says the shape. Tensors of [`Per::Row`] and the like may have the
    /// dimensions that are summed over, with size 1.
    ///
    /// # Errors
    /// Tensors that do not fit each other, a host without passes, or a panic in the pass.
    fn run<'t>(
        numbers: Self::Numbers<f64>,
        inputs: Self::Inputs<(Tensor<'t>, Per)>,
        results: Self::Results<Per>,
    ) -> Result<Self::Results<Tensor<'t>>> {
        crate::export::run_pass::<Self>(numbers, inputs, results, false)
    }

    /// As [`Pass::run`], for inputs that are not needed again: a result of [`Per::Element`] takes the place of the input of
    /// its name, if that is [`Per::Element`] too. Such an input, and whatever else lies in its memory, is gone then, and
    /// naming it is an error. The values are those of [`Pass::run`]; what is saved is a walk through other memory. Parameters
    /// and state may be replaced so, and what a rule computed itself; a gradient is left as it is, but is gone as well.
    ///
    /// # Errors
    /// As [`Pass::run`].
    fn run_in_place<'t>(
        numbers: Self::Numbers<f64>,
        inputs: Self::Inputs<(Tensor<'t>, Per)>,
        results: Self::Results<Per>,
    ) -> Result<Self::Results<Tensor<'t>>> {
        crate::export::run_pass::<Self>(numbers, inputs, results, true)
    }
}
