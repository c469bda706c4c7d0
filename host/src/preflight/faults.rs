//! What can be wrong at the gate: one code each.
//! Finds nothing by itself.

use crate::fault::{Exit, Fault};

/// Seeds do not make a difference.
pub const SEEDS: &str = "G001";
/// Two labels end at the same bits.
pub const SAME_BITS: &str = "G002";
/// A label that is not in the registry was not refused.
pub const FAKE_LABEL: &str = "G003";
/// The same seed and label end elsewhere.
pub const REPEAT: &str = "G004";
/// A knob does nothing.
pub const DEAD_KNOB: &str = "G005";
/// The loss of a label never improved.
pub const NO_PROGRESS: &str = "G006";
/// All labels end at nearly the same BPB, or there is no pair.
pub const TOO_NEAR: &str = "G007";
/// A run of the gate did not come to its end, or trained something else than it was sent.
pub const RUN: &str = "G008";
/// What the gate sends would not arrive.
pub const OUTRANKED: &str = "G009";
/// The gate was interrupted.
pub const INTERRUPTED: &str = "G010";
/// The network cannot be set up as the runs would.
pub const START: &str = "G011";

/// Says that the system refused what the gate needs to run anything.
pub fn unable(what: &str, error: &std::io::Error) -> Fault {
    Fault::new("E120", Exit::Environment, format!("{what}: {error}"))
        .hint("is there room, and may processes be started?")
}
