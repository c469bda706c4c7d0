//! Scheduled architecture operations: when each fires, and the network that its plan leads to.
//! Plans no change itself; that is an arch-op plugin's, and it is pure.
//!
//! # Codes
//!
//! | code | exit | fault |
//! |---|---|---|
//! | C070 | 3 | an operation waits for no step, or beyond the last one |
//! | C071 | 4 | a hyper-parameter does not fit the plugin's schema |
//! | D070 | 8 | a saved position does not fit the schedule |
//! | P030 | 5 | a plan does not fit the network |
//! | P031 | 5 | a plan asks for what this host cannot carry |

mod apply;
mod network;
mod operation;
mod plan;
mod schedule;

pub use apply::{Applied, Carried, freeze, freeze_as_planned, grow};
pub use network::network;
pub use operation::Operation;
pub use plan::{Lineage, planned_network};
pub use schedule::{Position, Schedule};
