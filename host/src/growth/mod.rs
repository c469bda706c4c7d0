//! Scheduled operations: when each fires, what it changes in the hyper-parameters, and what its plan changes in the
//! network. Plans no change of the network itself; that is an arch-op plugin's, and it is pure.
//!
//! # Codes
//!
//! | code | exit | fault |
//! |---|---|---|
//! | C070 | 3 | an operation that fires beyond the last step, or never |
//! | C071 | 4 | a hyper-parameter does not fit the plugin's schema |
//! | C072 | 3 | an operation of the host has a value that it cannot take, or would change nothing |
//! | R001 | 4 | an operation that neither the host nor the registry has |
//! | R041 | 4 | a label of the registry has the name of an operation of the host |
//! | D070 | 8 | a saved position does not fit the schedule |
//! | P030 | 5 | a plan does not fit the network |
//! | P031 | 5 | a plan asks for what this host cannot carry |

mod apply;
pub mod hyper_ops;
mod live_hyper;
mod network;
mod operation;
mod plan;
mod schedule;
mod trigger;

pub use apply::{Applied, Carried, freeze, freeze_as_planned, grow};
pub use hyper_ops::{HYPER_OPS, HyperOp};
pub use live_hyper::LiveHyper;
pub use network::network;
pub use operation::Operation;
pub use plan::{Lineage, begins_fresh, planned_network};
pub use schedule::{Action, Entry, Fits, Planned, Position, Schedule, changes_network, lines, reason, unknown};
pub use trigger::Trigger;
