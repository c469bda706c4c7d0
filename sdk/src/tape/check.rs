//! What makes a list of nodes a tape.
//! A plugin's nodes are data from outside: everything that later indexing relies on is checked here, once.

use super::op::{Node, Op, Sort};
use crate::abi::SlotDescriptor;
use crate::{Error, Result};

/// Checks nodes that came from outside, for a rule with so many hyper-parameters and these slots.
///
/// # Errors
/// An operation not known here, an operand that does not come before its user or is of another kind, an index beyond
/// what is declared, or results that are not exactly the parameter and each slot once.
pub fn check(nodes: &[Node], hyper: usize, slots: &[SlotDescriptor]) -> Result<()> {
    let is_slot = |bits: u64| slots.iter().any(|slot| u64::from(slot.index) == bits);
    let mut x_stored = 0;
    let mut slots_stored = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let fault = |why: String| Err(Error::new(format!("node {i} of the recorded rule: {why}")));
        let Some(op) = node.operation() else { return fault(format!("operation {} is not known here", node.op)) };
        for (operand, want) in node.operands().zip(op.operands()) {
            if operand >= i {
                return fault(format!("{op:?} uses node {operand}, which does not come before it"));
            }
            let got = nodes[operand].operation().map(Op::sort);
            if got != Some(*want) || got == Some(Sort::Result) {
                return fault(format!("{op:?} takes a {want:?}, node {operand} is not one"));
            }
        }
        match op {
            Op::Hyper if node.bits >= hyper as u64 => {
                return fault(format!("hyper-parameter {} of {hyper}", node.bits));
            }
            Op::Step if node.bits > 2 => return fault(format!("step number {} of 3", node.bits)),
            Op::State | Op::OutState if !is_slot(node.bits) => {
                return fault(format!("slot {} is not declared", node.bits));
            }
            Op::OutX => x_stored += 1,
            Op::OutState => slots_stored.push(node.bits),
            _ => {}
        }
    }
    if x_stored != 1 {
        return Err(Error::new(format!("the recorded rule stores the parameter {x_stored} times")));
    }
    for slot in slots {
        let times = slots_stored.iter().filter(|&&stored| stored == u64::from(slot.index)).count();
        if times != 1 {
            return Err(Error::new(format!("the recorded rule stores slot `{}` {times} times", slot.name)));
        }
    }
    Ok(())
}
