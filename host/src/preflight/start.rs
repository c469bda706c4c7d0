//! The network before its first step: what progress is measured from.
//! Trains nothing.

use serde::{Deserialize, Serialize};

use super::{Plan, child, faults::START};
use crate::{
    evaluation::Evaluation,
    fault::Fault,
    metrics::digits::{Digits, bits},
};

/// The verb that a child is started with.
pub const VERB: &str = "evaluate-start";

/// How well the network predicts the validation text before its first step, and where it lies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Nats per token, over the whole text.
    pub val_loss: Digits,
    /// Its bits.
    pub val_loss_bits: String,
    /// Bits per byte.
    pub val_bpb: Digits,
    /// Its bits.
    pub val_bpb_bits: String,
    /// `cpu`, `cuda:0`.
    pub device: String,
}

impl Start {
    /// From an evaluation.
    pub fn new(evaluation: &Evaluation, device: String) -> Start {
        let Evaluation { loss, bpb, .. } = *evaluation;
        Start {
            val_loss: Digits(loss),
            val_loss_bits: bits(loss),
            val_bpb: Digits(bpb),
            val_bpb_bits: bits(bpb),
            device,
        }
    }
}

/// Has a child evaluate it.
///
/// # Errors
/// G011 with the exit code of the child, where data or network cannot be set up; E120, G010.
pub fn ask(
    plan: &Plan,
    threads: Option<usize>,
    work: &std::path::Path,
    stop: &dyn Fn() -> bool,
) -> Result<Start, Fault> {
    let mut ask = plan.start.clone();
    ask.name = "start".into();
    let ended = child::run((plan, &ask), VERB, Vec::new(), threads, work, stop)?;
    match (ended.code, serde_json::from_str(&ended.printed)) {
        (Some(0), Ok(start)) => Ok(start),
        (Some(0), Err(error)) => {
            let fault = Fault::new(START, crate::fault::Exit::Bug, "what the first evaluation says is not understood");
            Err(fault.note("reason", error.to_string()))
        }
        _ => {
            let message = format!("a run with these settings cannot begin: it {}", ended.how);
            Err(Fault::new(START, ended.exit(), message).note("it said", ended.complaint()))
        }
    }
}
