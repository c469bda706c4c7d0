//! What a plugin author depends on: optimizers, gradient projections and architecture operations for the trainer.
//! Knows neither libtorch nor files nor threads; the host owns every tensor.
//!
//! A whole optimizer, in a crate whose `Cargo.toml` asks for `crate-type = ["cdylib"]` and depends on `sdk` alone:
//!
//! ```
//! //! Lion: the sign of an interpolated momentum.
//! //!
//! //! x ← x·(1 − lr·weight_decay) − lr·sign(β₁·m + (1 − β₁)·g)
//! //! m ← β₂·m + (1 − β₂)·g
//!
//! use sdk::*;
//!
//! pub struct Lion;
//!
//! #[derive(Record)]
//! pub struct Hyper<T> { lr: T, beta1: T, beta2: T, weight_decay: T }
//!
//! #[derive(Record)]
//! pub struct State<T> { exp_avg: T }
//!
//! impl Elementwise for Lion {
//!     type Hyper<T: Copy> = Hyper<T>;
//!     type State<T: Copy> = State<T>;
//!
//!     fn hyper() -> Hyper<Knob> {
//!         Hyper {
//!             lr: knob(1e-4, 0.0..=1.0, "length of a step, the same for every element"),
//!             beta1: knob(0.9, 0.0..=1.0, "share of the momentum in the direction"),
//!             beta2: knob(0.99, 0.0..=1.0, "decay of the momentum"),
//!             weight_decay: knob(0.0, 0.0..=10.0, "decoupled decay, times lr"),
//!         }
//!     }
//!
//!     fn state(_: &Hyper<f64>) -> State<Slot> {
//!         State { exp_avg: Slot::zeros().degree(1) }
//!     }
//!
//!     fn update<L: Lane>(h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
//!         let keep = 1.0 - h.lr * h.weight_decay; // once per step and tensor, in f64
//!         move |x, g, state| {
//!             // once per element
//!             let direction = (h.beta1 * state.exp_avg + (1.0 - h.beta1) * g).sign();
//!             state.exp_avg = h.beta2 * state.exp_avg + (1.0 - h.beta2) * g;
//!             x * keep - h.lr * direction
//!         }
//!     }
//! }
//!
//! register!(Elementwise Lion, "lion", summary = "sign of an interpolated momentum", paper = "arXiv 2302.06675");
//! plugin!();
//!
//! // What the host shows of it:
//! let nodes = tape::record::<Lion>(&[1e-4, 0.9, 0.99, 0.0]).unwrap();
//! assert_eq!(
//!     tape::formula(&nodes, &["lr", "beta1", "beta2", "weight_decay"], &["exp_avg"]),
//!     "x ← x·(1 − lr·weight_decay) − lr·sign(beta1·exp_avg + (1 − beta1)·g)\n\
//!      exp_avg ← beta2·exp_avg + (1 − beta2)·g"
//! );
//! ```
//!
//! The kinds of plugin are traits: [`Elementwise`], [`Reducing`], [`Global`] and [`Optimizer`] for optimizers, [`Projection`], [`ArchOp`].

// Lets the derive's paths (`::sdk::…`) work in this crate too.
extern crate self as sdk;

pub mod abi;

mod error;
mod hyper;
mod record;
mod state;

pub mod cpu;
mod lane;
#[doc(hidden)]
pub mod rule;
pub mod tape;

mod arch_op;
mod host;
mod optimizer;
mod pass;
mod projection;
mod tensor;

#[doc(hidden)]
pub mod export;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use abi::{DimensionMap, Network, NetworkPlan, ParameterInfo, ParameterPlan};
pub use arch_op::{ArchOp, lora_rank};
pub use error::{Error, Result};
pub use host::{Level, log};
pub use hyper::{Knob, Switch, choice, flag, knob};
pub use lane::{Cond, Lane, Mask, Scalar};
pub use optimizer::{Optimizer, TensorStep};
pub use pass::{Pass, Per};
pub use projection::Projection;
pub use record::{Nothing, Record};
pub use rule::{Elementwise, Global, Reducing, Step};
pub use sdk_derive::Record;
pub use state::{FINEST_DECAY, SQUARE, ShapeKind, Slot, descriptors as slot_descriptors, narrow as narrow_slots};
pub use tensor::{Device, Dtype, Tensor};

// What the macros name.
#[doc(hidden)]
pub use abi_stable;
#[doc(hidden)]
pub use inventory;

/// Version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The examples of the author's guide, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/plugin-author-guide.md")]
struct Guide;
