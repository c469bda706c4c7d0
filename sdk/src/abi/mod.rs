//! The only types that cross the boundary between the host and a plugin.
//! Nothing here computes; the safe faces of these types live in the rest of the sdk and in the host.
//!
//! Three layers, from frozen to growing:
//! 1. [`Root`]: the module that abi_stable loads and layout-checks. Frozen for the life of [`MAJOR`].
//! 2. Descriptors: `StableAbi` values that a plugin hands out once, at load. Frozen; [`Descriptor::facts`] is the room
//!    to grow.
//! 3. Tables: `#[repr(C)]` structs found by an id, each beginning with a [`TableHeader`]. Append-only: a field is read
//!    only where the header's `struct_size` says it is there. An id never changes its meaning; a new one is a new id.

pub mod access;
pub mod descriptor;
pub mod host_tables;
pub mod network;
pub mod pass;
pub mod plugin_tables;
pub mod root;

pub use access::{Table, TableRef};
pub use descriptor::{Descriptor, HyperDescriptor, SlotDescriptor};
pub use host_tables::{CoreTable, LinalgTable, RngTable, TensorTable};
pub use network::{DimensionMap, Network, NetworkPlan, ParameterInfo, ParameterPlan};
pub use pass::{PassBlock, PassCall};
pub use plugin_tables::{
    ArchOpTable, EvaluationTable, KernelCall, MeasureCall, NarrowEntry, NarrowKernel, NarrowMeasure, OptimizerCall,
    OptimizerTable, PassesTable, PluginCoreTable, ProjectionCall, ProjectionTable, RuleTable, SlotsTable, SumsTable,
};
pub use root::{AbiVersion, GetTable, Root, RootRef, TableHeader};

/// Two sides with different majors do not talk. The package's own version is tied to it: abi_stable refuses types of an
/// incompatible version of the package that defines them.
pub const MAJOR: u32 = 1;
/// Raised when a table gains a function or an id appears. A plugin requires the minor of what it uses, not this one.
pub const MINOR: u32 = 3;

/// What a plugin requires of every host. A host that lacks a table which a label runs by refuses that label alone.
pub const REQUIRED_MINOR: u32 = 0;

/// Status of a call that went well; every other value is a failure whose text the caller fetches.
pub const OK: u32 = 0;
/// The call failed with an error.
pub const FAILED: u32 = 1;
/// The callee panicked; its text carries file and line, and the instance is not used again.
pub const PANICKED: u32 = 2;
