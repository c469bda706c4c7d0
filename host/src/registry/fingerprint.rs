//! The exact fingerprint of an optimizer's rule: equal fingerprints mean equal bits.
//! Does not compare fingerprints; that is `twins.rs`.

use super::Loaded;
use crate::fault::Fault;

/// The fingerprint of a label's rule with the registry's defaults; none where it is no optimizer.
///
/// # Errors
/// P002 where the plugin fails to record its rule.
pub fn fingerprint(loaded: &Loaded) -> Result<Option<String>, Fault> {
    let hyper = loaded.defaults();
    let slots = loaded.slots(&hyper)?;
    Ok(loaded.record(&hyper)?.map(|nodes| sdk::tape::fingerprint(&nodes, &slots)))
}
