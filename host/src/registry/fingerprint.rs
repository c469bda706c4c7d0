//! The exact fingerprint of an optimizer's rule: equal fingerprints mean equal bits.
//! Does not compare fingerprints; that is `twins.rs`.

use super::Loaded;
use crate::{
    fault::Fault,
    tensor::{matrix_fingerprint, whole::WholeRule},
};

/// The fingerprint of a label's rule with the registry's defaults; none where it is no optimizer.
///
/// An elementwise rule is its recorded expression, a rule over whole tensors its calls of the host's tables and what
/// they make of a fixed probe.
///
/// # Errors
/// The plugin fails to record its rule, or to make a step.
pub fn fingerprint(loaded: &Loaded) -> Result<Option<String>, Fault> {
    let hyper = loaded.defaults();
    if let Some(table) = loaded.optimizer() {
        // Slots that cannot be kept are found before the probe keeps them.
        loaded.slots(&hyper)?;
        let fault = |status, stage: &str| loaded.fault(status, stage);
        let rule = WholeRule { label: &loaded.label, table, slots: loaded.slots_by_shape(), fault: &fault };
        return matrix_fingerprint(&rule, &hyper).map(Some);
    }
    let slots = loaded.slots(&hyper)?;
    Ok(loaded.record(&hyper)?.map(|nodes| sdk::tape::fingerprint(&nodes, &slots)))
}
