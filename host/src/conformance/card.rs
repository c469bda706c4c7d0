//! The CUDA card that level 6 compares with the CPU: the first one, or why there is none.
//! Runs nothing; a step on a card is the same step with tensors that lie there.

use sdk::conformance::Trouble;

use crate::{config::settings::Device, tensor::device};

/// The first card.
///
/// # Errors
/// There is none that can be used.
pub fn open() -> Result<tch::Device, Trouble> {
    device::open(Device::Cuda).map_err(|fault| {
        let why = fault.notes.iter().find(|(name, _)| *name == "why");
        Trouble::error(why.map_or(fault.message.clone(), |(_, why)| why.clone()))
    })
}
