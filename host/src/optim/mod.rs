//! Which optimizer takes which parameter, its state by name, and one step of all of them.
//! Does not compute an update; that is a plugin's rule, run by `rules` or through `tensor`.
//!
//! One step, in the order of the training loop: [`clip::measure`] reads every raw gradient once, [`non_finite::Guard`]
//! says which tensors are left out, [`clip::scale`] clips, projections rewrite gradients, [`Optim::step`] updates.

pub mod pattern;

pub mod hyper;
pub mod narrow;
pub mod param_groups;
pub mod state;

mod carry;
pub mod clip;
pub mod lr_schedule;
mod memory;
pub mod non_finite;
pub mod step;

pub use param_groups::{GroupRow, labels_wanted};
pub use step::{Optim, StepReport};
