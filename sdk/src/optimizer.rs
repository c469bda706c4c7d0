//! Rules over whole tensors, for what an elementwise rule cannot say, such as a matrix product.
//! Tensors and operations are the host's; a rule only says how they follow from each other.

use crate::{Knob, Record, Result, Slot, Tensor};

/// The moment of one step, the same for all parameters of a batch.
#[derive(Clone, Copy, Debug)]
pub struct TensorStep {
    /// The parameter's own step, from 1.
    pub t: f64,
    /// Elements of one parameter.
    pub numel: f64,
    /// L2 norm of all gradients of the run, before clipping.
    pub grad_norm: f64,
}

/// A rule over whole tensors.
///
/// Parameters of one shape come stacked: `x`, `g`, the slots and the result are `[batch, …shape]`, also for a batch of
/// one.
///
/// ```
/// use sdk::*;
///
/// /// Gradient descent by the sign of the whole gradient's mean.
/// pub struct MeanSign;
///
/// #[derive(Record)]
/// pub struct Hyper<T> { lr: T }
///
/// impl Optimizer for MeanSign {
///     type Hyper<T: Copy> = Hyper<T>;
///     type State<T: Copy> = Nothing<T>;
///
///     fn hyper() -> Hyper<Knob> {
///         Hyper { lr: knob(1e-3, 0.0..=1.0, "length of a step") }
///     }
///
///     fn state(_: &Hyper<f64>) -> Nothing<Slot> {
///         Nothing::default()
///     }
///
///     fn accepts(shape: &[i64]) -> Result<()> {
///         if shape.len() == 2 { Ok(()) } else { Err(format!("needs a matrix, not {shape:?}").into()) }
///     }
///
///     fn update<'t>(
///         h: &Hyper<f64>,
///         _: TensorStep,
///         x: Tensor<'t>,
///         g: Tensor<'t>,
///         _: &mut Nothing<Tensor<'t>>,
///     ) -> Result<Tensor<'t>> {
///         let direction = g.mean(&[-2, -1])?.sign()?; // [batch, 1, 1]
///         x.add_scaled(direction, -h.lr)
///     }
/// }
/// ```
pub trait Optimizer: 'static {
    /// Hyper-parameters.
    type Hyper<T: Copy>: Record<T>;
    /// State, one tensor per slot.
    type State<T: Copy>: Record<T>;

    /// Whether [`update`](Optimizer::update) calls a [`Pass`](crate::Pass). A host that has none then refuses the label, and
    /// parameters come in batches that are not stacked before a tensor operation asks for that: passes gain nothing by the copy.
    const BY_PASSES: bool = false;

    /// Schema of the hyper-parameters.
    fn hyper() -> Self::Hyper<Knob>;

    /// Slots for these hyper-parameters.
    fn state(h: &Self::Hyper<f64>) -> Self::State<Slot>;

    /// Slots of a parameter of this shape, where they are not the same for all; [`Optimizer::state`] then says what a
    /// matrix has, which is what lists show.
    fn state_of(h: &Self::Hyper<f64>, shape: &[i64]) -> Self::State<Slot> {
        let _ = shape;
        Self::state(h)
    }

    /// Whether a parameter of this shape can be optimized.
    ///
    /// # Errors
    /// Why not; the host asks before training.
    fn accepts(shape: &[i64]) -> Result<()>;

    /// New value of the parameters `x`, from them, their gradients `g` and the state, which it moves on. A slot that is
    /// switched off is a tensor that is not there: to use it is an error.
    ///
    /// # Errors
    /// Why the step cannot be done; then nothing has changed, but for what a pass put in its place.
    fn update<'t>(
        h: &Self::Hyper<f64>,
        step: TensorStep,
        x: Tensor<'t>,
        g: Tensor<'t>,
        state: &mut Self::State<Tensor<'t>>,
    ) -> Result<Tensor<'t>>;
}
