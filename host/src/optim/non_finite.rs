//! What becomes of a tensor whose gradient is not finite: it is left untouched and named, or the run ends.
//! Does not look at gradients; that is `clip::measure`.

use std::collections::BTreeMap;

use super::clip::GradNorm;
use crate::{
    config::settings::NonFinite,
    fault::{Exit, Fault},
    model::Parameter,
};

/// Skips of one tensor in a row that end the run.
pub const MAX_IN_A_ROW: u32 = 10;

/// Applies the policy and counts skips in a row, per parameter.
#[derive(Clone, Debug)]
pub struct Guard {
    policy: NonFinite,
    in_a_row: BTreeMap<String, u32>,
}

impl Guard {
    /// With nothing skipped yet.
    pub fn new(policy: NonFinite) -> Guard {
        Guard { policy, in_a_row: BTreeMap::new() }
    }

    /// Which parameters this step (from 1) must skip, by their names; empty where all is well. `Optim::step` takes
    /// [`GradNorm::non_finite`] itself as what to skip.
    ///
    /// # Errors
    /// A gradient is not finite and the policy is to stop, or a tensor was skipped [`MAX_IN_A_ROW`] times in a row.
    pub fn check(&mut self, params: &[Parameter], found: &GradNorm, step: u64) -> Result<Vec<String>, Fault> {
        let named = params.iter().zip(&found.non_finite).filter(|(_, bad)| **bad).map(|(p, _)| p.name.clone());
        let skipped: Vec<String> = named.collect();
        self.in_a_row.retain(|name, _| skipped.contains(name));
        for name in &skipped {
            *self.in_a_row.entry(name.clone()).or_insert(0) += 1;
        }
        if skipped.is_empty() {
            return Ok(skipped);
        }
        let fault = |code, message: String, names: &[&str]| {
            Fault::new(code, Exit::Diverged, message).note("parameters", names.join(", "))
        };
        if self.policy == NonFinite::Stop {
            let names: Vec<&str> = skipped.iter().map(String::as_str).collect();
            let message = format!("the gradient of {} tensor(s) is not finite in step {step}", names.len());
            return Err(fault("N005", message, &names)
                .hint("train.non_finite = \"skip\" leaves such tensors untouched; a lower lr may avoid them"));
        }
        let stuck = self.in_a_row.iter().filter(|(_, times)| **times >= MAX_IN_A_ROW).map(|(name, _)| name.as_str());
        let stuck: Vec<&str> = stuck.collect();
        if !stuck.is_empty() {
            let message =
                format!("the gradient of {} tensor(s) was not finite {MAX_IN_A_ROW} steps in a row", stuck.len());
            return Err(fault("N002", message, &stuck)
                .note("step", step.to_string())
                .hint("the last checkpoint is whole; resume from it with a lower lr or stronger clipping"));
        }
        Ok(skipped)
    }

    /// Skips in a row by parameter, for a checkpoint.
    pub fn in_a_row(&self) -> &BTreeMap<String, u32> {
        &self.in_a_row
    }

    /// Goes on from a checkpoint.
    pub fn resume(&mut self, in_a_row: BTreeMap<String, u32>) {
        self.in_a_row = in_a_row;
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::model::Role;

    fn params() -> Vec<Parameter> {
        let tensor = || Tensor::zeros([1], (Kind::Float, Device::Cpu));
        let make = |name: &str| Parameter {
            name: name.into(),
            role: Role::Vector,
            layer: None,
            tensor: tensor(),
            frozen: false,
        };
        vec![make("a"), make("b")]
    }

    fn found(a: bool, b: bool) -> GradNorm {
        GradNorm { norm: 1.0, non_finite: vec![a, b] }
    }

    #[test]
    fn ten_in_a_row_end_the_run_and_nine_do_not() {
        let params = params();
        let mut guard = Guard::new(NonFinite::Skip);
        for step in 1..10 {
            assert_eq!(guard.check(&params, &found(false, true), step).unwrap(), ["b"]);
        }
        let mut other = guard.clone();
        let fault = guard.check(&params, &found(false, true), 10).unwrap_err();
        assert_eq!((fault.code, fault.exit), ("N002", Exit::Diverged));
        assert!(fault.to_string().contains("parameters: b"), "{fault}");
        assert!(other.check(&params, &found(true, false), 10).is_ok());
        assert_eq!(other.in_a_row().get("a"), Some(&1));
        assert_eq!(other.in_a_row().get("b"), None);
    }

    #[test]
    fn stop_stops_at_the_first() {
        let mut guard = Guard::new(NonFinite::Stop);
        assert!(guard.check(&params(), &found(false, false), 1).unwrap().is_empty());
        let fault = guard.check(&params(), &found(true, false), 2).unwrap_err();
        assert_eq!((fault.code, fault.exit), ("N005", Exit::Diverged));
    }
}
