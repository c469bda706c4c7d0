//! The family of a rule: what it is once hyper-parameters that switch something off have done so.
//! Says what two rules have in common on paper; that their bits are equal is the exact fingerprint's to say.

use super::fingerprint;
use super::fold::{Folded, folded};
use super::op::{Node, Op};
use crate::abi::SlotDescriptor;

/// Fingerprint of the family of a checked tape with its slots, recorded at these hyper-parameters, as 32 hexadecimal
/// digits. Equal ones are one rule up to rounding: "momentum 0 makes this sgd".
///
/// Hyper-parameters that are 0 or 1 are folded in (x·0, x + 0, x·1, β⁰, a constant condition), slots and sums that
/// nothing needs any more are left out, and all other hyper-parameters count by what is done with them. NaN stands for one
/// that is not to be folded in, such as a learning rate.
///
/// None where nothing is left to compare: the parameter stays as it is, its step does not see the gradient, or it
/// divides by zero.
pub fn family(nodes: &[Node], slots: &[SlotDescriptor], hyper: &[f64]) -> Option<String> {
    let Folded { nodes, slots, defined } = folded(nodes, slots, hyper);
    let has = |op: Op| nodes.iter().any(|node| node.operation() == Some(op));
    let stays = nodes.iter().any(|node| {
        let is_x = |node: &Node| node.operation() == Some(Op::X);
        node.operation() == Some(Op::OutX) && is_x(&nodes[node.a as usize])
    });
    let compared = has(Op::G) && !stays && defined;
    compared.then(|| fingerprint(&nodes, &slots))
}
