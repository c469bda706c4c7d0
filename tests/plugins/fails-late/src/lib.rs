//! An architecture operation that can be done until the run has begun, and then cannot: what is tried at start passes.
#![forbid(unsafe_code)]

use sdk::*;

/// Changes nothing, and fails once there are metrics in `run/` of the working directory.
pub struct FailsLate;

impl ArchOp for FailsLate {
    type Hyper<T: Copy> = Nothing<T>;

    fn hyper() -> Nothing<Knob> {
        Nothing::default()
    }

    fn plan(_: &Nothing<f64>, network: &Network) -> Result<NetworkPlan> {
        match std::path::Path::new("run/metrics.jsonl").exists() {
            true => Err("the operation gives up".into()),
            false => Ok(network.keep_all()),
        }
    }
}

register!(ArchOp FailsLate, "fails-late", summary = "a fixture: fails once a run has begun", paper = "none: a fixture");
plugin!();
