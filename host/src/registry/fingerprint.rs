//! The exact fingerprint of an optimizer's rule: equal fingerprints mean equal bits.
//! Does not compare fingerprints; that is `twins.rs`.

use sdk::tape::Node;

use super::Loaded;
use crate::fault::Fault;

/// TEMP
pub fn fingerprint(_loaded: &Loaded) -> Result<Option<String>, Fault> {
    Ok(None)
}

/// Why nodes are no expression: every operand must be an earlier node, so that reading them in order is safe.
pub fn malformed(nodes: &[Node]) -> Option<String> {
    let reaches = |i: usize, node: &Node| [node.a, node.b, node.c].into_iter().any(|operand| operand as usize >= i.max(1));
    let wrong = nodes.iter().enumerate().find(|(i, node)| reaches(*i, node));
    wrong.map(|(i, _)| format!("node {i} of {} refers to a later one", nodes.len()))
}
