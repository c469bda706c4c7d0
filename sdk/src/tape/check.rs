//! What makes a list of nodes a tape.
//! A plugin's nodes are data from outside: everything that later indexing relies on is checked here, once.

use super::op::{Node, Op, Sort};
use crate::abi::SlotDescriptor;
use crate::{Error, Per, Result};

/// Most sums, and most numbers of memory.
const MOST_NUMBERS: usize = 8;

/// Checks nodes that came from outside, for a rule with so many hyper-parameters and these slots.
///
/// # Errors
/// An operation not known here, an operand that does not come before its user or is of another kind, an index beyond
/// what is declared, results that are not exactly the parameter and each slot once, or sums and memory that follow from
/// themselves.
pub fn check(nodes: &[Node], hyper: usize, slots: &[SlotDescriptor]) -> Result<()> {
    // Numbers per tensor are memory to a tape.
    let (numbers, slots): (Vec<&SlotDescriptor>, Vec<_>) = slots.iter().partition(|slot| slot.is_number());
    let is_slot = |bits: u64| slots.iter().any(|slot| u64::from(slot.index) == bits);
    let stored = |op: Op| -> Vec<u64> {
        nodes.iter().filter(|node| node.operation() == Some(op)).map(|node| node.bits).collect()
    };
    let (sums, memory) = (stored(Op::OutSum), stored(Op::OutMemory));
    // Which nodes follow from sums: what is measured must not.
    let mut after_sums = vec![false; nodes.len()];
    let mut x_stored = 0;
    let mut slots_stored = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        let fault = |why: String| Err(Error::new(format!("node {i} of the recorded rule: {why}")));
        let op = match operation(nodes, i) {
            Ok(op) => op,
            Err(why) => return fault(why),
        };
        after_sums[i] = matches!(op, Op::Sum | Op::NewMemory) || node.operands().any(|operand| after_sums[operand]);
        match op {
            Op::Sum if !sums.contains(&node.bits) => return fault(format!("sum {} is not measured", node.bits)),
            Op::Memory | Op::NewMemory if !memory.contains(&node.bits) => {
                return fault(format!("number {} of the memory is not moved on", node.bits));
            }
            Op::OutSum if after_sums[i] => return fault("a share in a sum follows from sums".into()),
            Op::OutMemory if follows_from(nodes, i, Op::NewMemory) => {
                return fault("the memory follows from itself".into());
            }
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
    for (what, stored) in [("sum", &sums), ("number of the memory", &memory)] {
        if let Some(missing) = (0..stored.len() as u64).find(|k| !stored.contains(k)) {
            return Err(Error::new(format!("the recorded rule does not give {what} {missing} exactly once")));
        }
        if stored.len() > MOST_NUMBERS {
            return Err(Error::new(format!(
                "the recorded rule has {} times a {what}, at most 8 will do",
                stored.len()
            )));
        }
    }
    if !numbers.is_empty() && numbers.len() != memory.len() {
        let (moved, declared) = (memory.len(), numbers.len());
        return Err(Error::new(format!("the recorded rule moves {moved} numbers on, {declared} are declared")));
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

/// What node `i` does, if that is known and its operands are before it and of the kinds it takes.
fn operation(nodes: &[Node], i: usize) -> core::result::Result<Op, String> {
    let node = &nodes[i];
    let op = node.operation().ok_or_else(|| format!("operation {} is not known here", node.op))?;
    for (operand, want) in node.operands().zip(op.operands()) {
        if operand >= i {
            return Err(format!("{op:?} uses node {operand}, which does not come before it"));
        }
        let got = nodes[operand].operation().map(Op::sort);
        if got != Some(*want) || got == Some(Sort::Result) {
            return Err(format!("{op:?} takes a {want:?}, node {operand} is not one"));
        }
    }
    Ok(op)
}

/// Checks nodes of a pass that came from outside, with so many numbers and inputs, and these results.
///
/// # Errors
/// As [`check`]: the results must be exactly those named, kept or summed as said.
pub fn check_pass(nodes: &[Node], numbers: usize, inputs: usize, results: &[Per]) -> Result<()> {
    let mut given = vec![0; results.len()];
    for (i, node) in nodes.iter().enumerate() {
        let fault = |why: String| Err(Error::new(format!("node {i} of the recorded pass: {why}")));
        let op = match operation(nodes, i) {
            Ok(op) => op,
            Err(why) => return fault(why),
        };
        match op {
            Op::Hyper if node.bits >= numbers as u64 => return fault(format!("number {} of {numbers}", node.bits)),
            Op::State if node.bits >= inputs as u64 => return fault(format!("input {} of {inputs}", node.bits)),
            Op::OutState | Op::OutSum => {
                let kept = op == Op::OutState;
                match usize::try_from(node.bits).ok().filter(|k| results.get(*k).is_some()) {
                    Some(k) if (results[k] == Per::Element) == kept => given[k] += 1,
                    _ => return fault(format!("{op:?} {} is no result of this pass", node.bits)),
                }
            }
            Op::Step | Op::Sum | Op::Memory | Op::NewMemory | Op::X | Op::G | Op::OutX | Op::OutMemory => {
                return fault(format!("{op:?} has no place in a pass"));
            }
            _ => {}
        }
    }
    match given.iter().position(|times| *times != 1) {
        Some(k) => Err(Error::new(format!("the recorded pass gives result {k} {} times", given[k]))),
        None => Ok(()),
    }
}

/// Whether a checked part of a tape, up to node `i`, lets node `i` depend on an operation.
fn follows_from(nodes: &[Node], i: usize, op: Op) -> bool {
    let mut needed = vec![false; i + 1];
    needed[i] = true;
    for k in (0..=i).rev() {
        if needed[k] {
            if nodes[k].operation() == Some(op) {
                return true;
            }
            for operand in nodes[k].operands() {
                needed[operand] = true;
            }
        }
    }
    false
}
