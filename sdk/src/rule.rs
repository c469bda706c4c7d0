//! Elementwise rules: new value and new state of each element from that element alone.
//! What runs them is elsewhere: `cpu` as a kernel, `tape` as an expression.
//!
//! Rules that first sum over a tensor (LAMB's norms) or over all tensors (Prodigy's estimate) will be further traits
//! beside [`Elementwise`], each with `measure` before `update`; kernel and tape take `update` as they will
//! need it.

use crate::{Knob, Lane, Record, Scalar, Slot};

/// The moment of one tensor's step.
#[derive(Clone, Copy, Debug)]
pub struct Step<L: Lane> {
    /// This tensor's own step, from 1.
    pub t: Scalar<L>,
    /// Elements of this tensor.
    pub numel: Scalar<L>,
    /// L2 norm of all gradients of the run, before clipping.
    pub grad_norm: Scalar<L>,
}

impl<L: Lane> Step<L> {
    /// Names of the fields, in the order in which their values cross the boundary.
    pub(crate) const NAMES: [&'static str; 3] = ["t", "numel", "grad_norm"];

    #[inline(always)]
    pub(crate) fn build(mut f: impl FnMut(usize) -> Scalar<L>) -> Self {
        Step { t: f(0), numel: f(1), grad_norm: f(2) }
    }
}

/// A rule that runs on each element: new x from x, g and the state, which it moves on.
///
/// Written once, read three ways: with SIMD lanes it is the CPU kernel, with recording lanes it is an expression, from
/// which come the formula, the fingerprint and kernels for other devices. The crate's front page shows one whole.
pub trait Elementwise: 'static {
    /// Hyper-parameters.
    type Hyper<T: Copy>: Record<T>;
    /// State, one number per element and slot.
    type State<T: Copy>: Record<T>;

    /// Schema of the hyper-parameters.
    fn hyper() -> Self::Hyper<Knob>;

    /// Slots for these hyper-parameters.
    fn state(h: &Self::Hyper<f64>) -> Self::State<Slot>;

    /// Called once per step and tensor; what it returns is called once per element, with x, g and the state.
    ///
    /// The gradient already is what the host wants seen: clipped and projected, never non-finite.
    fn update<L: Lane>(h: Self::Hyper<Scalar<L>>, step: Step<L>) -> impl Fn(L, L, &mut Self::State<L>) -> L;
}
