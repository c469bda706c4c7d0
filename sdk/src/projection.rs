//! Projections: what happens to a gradient before the optimizer sees it.
//! When they run, and where their inputs come from, is the host's to say.

use crate::{Knob, Record, Result, Tensor};

/// A change of one parameter's gradient.
pub trait Projection: 'static {
    /// Hyper-parameters.
    type Hyper<T: Copy>: Record<T>;
    /// Tensors that a user provides per parameter, such as a direction; their names are the fields'.
    type Inputs<T: Copy>: Record<T>;
    /// Numbers reported per parameter and step; their names are the fields'.
    type Metrics<T: Copy>: Record<T>;

    /// Schema of the hyper-parameters.
    fn hyper() -> Self::Hyper<Knob>;

    /// What the optimizer shall see in place of the gradient `g` (same shape and element type), and the metrics.
    ///
    /// # Errors
    /// Why the gradient cannot be projected, such as an input that does not fit.
    fn project<'t>(
        h: &Self::Hyper<f64>,
        g: Tensor<'t>,
        inputs: Self::Inputs<Tensor<'t>>,
    ) -> Result<(Tensor<'t>, Self::Metrics<f64>)>;
}
