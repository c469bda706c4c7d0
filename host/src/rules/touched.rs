//! Which operands of a rule over elements its stages touch, read off its recorded expression.
//! What a stage leaves as it is and does not look at need not pass through its kernel. A denormal there stays one, where a card or
//! the expression would store a zero; none is there at the start.

use sdk::tape::{Node, Op};

/// Slots by stage, as bits by place in the state record, and whether the parameter is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Slots that the reducing pass reads.
    pub measured: u64,
    /// Whether the reducing pass reads the parameter.
    pub measures_x: bool,
    /// Slots that the update reads or changes.
    pub updated: u64,
}

impl Touched {
    /// As if every stage touched everything.
    pub const ALL: Touched = Touched { measured: u64::MAX, measures_x: true, updated: u64::MAX };

    /// Of a checked expression. A slot that the update only hands on is not touched by it.
    pub fn of(nodes: &[Node]) -> Touched {
        let slot_of = |index: usize| match nodes[index].operation() {
            Some(Op::State) => Some(nodes[index].bits),
            _ => None,
        };
        let results = |of: &dyn Fn(&Node) -> bool| {
            let mut reached = vec![false; nodes.len()];
            for (index, node) in nodes.iter().enumerate().rev() {
                if reached[index] || of(node) {
                    node.operands().for_each(|operand| reached[operand] = true);
                }
            }
            reached
        };
        let slots = |reached: &[bool]| {
            let read = (0..nodes.len()).filter(|&index| reached[index]).filter_map(slot_of);
            read.fold(0, |bits, slot| bits | 1 << slot)
        };
        let hands_on =
            |node: &Node| node.operation() == Some(Op::OutState) && slot_of(node.a as usize) == Some(node.bits);
        let changed = |node: &Node| matches!(node.operation(), Some(Op::OutX | Op::OutState)) && !hands_on(node);
        let measured = results(&|node| node.operation() == Some(Op::OutSum));
        let written = nodes.iter().filter(|node| node.operation() == Some(Op::OutState) && changed(node));
        Touched {
            measured: slots(&measured),
            measures_x: (0..nodes.len()).any(|index| measured[index] && nodes[index].operation() == Some(Op::X)),
            updated: written.fold(slots(&results(&changed)), |bits, node| bits | 1 << node.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: Op, a: u32, bits: u64) -> Node {
        Node { op: op as u32, a, b: 0, c: 0, bits }
    }

    #[test]
    fn what_is_handed_on_is_not_touched() {
        // 0 x, 1 g, 2 slot 0, 3 slot 1, 4 slot 2, 5 slot 3, 6 −slot 1
        let mut nodes = vec![node(Op::X, 0, 0), node(Op::G, 0, 0)];
        nodes.extend((0..4).map(|slot| node(Op::State, 0, slot)));
        nodes.push(node(Op::Neg, 3, 0));
        // The sum reads slot 0 alone; x becomes −slot 1; slot 2 becomes g; slots 0, 1 and 3 are handed on.
        nodes.extend([node(Op::OutSum, 2, 0), node(Op::OutX, 6, 0), node(Op::OutState, 1, 2)]);
        nodes.extend([node(Op::OutState, 2, 0), node(Op::OutState, 3, 1), node(Op::OutState, 5, 3)]);
        assert_eq!(Touched::of(&nodes), Touched { measured: 0b0001, measures_x: false, updated: 0b0110 });
        // Slots that change places are touched, and a sum of x reads it.
        let mut nodes = vec![node(Op::X, 0, 0), node(Op::State, 0, 0), node(Op::State, 0, 1)];
        nodes.extend([
            node(Op::OutSum, 0, 0),
            node(Op::OutX, 0, 0),
            node(Op::OutState, 2, 0),
            node(Op::OutState, 1, 1),
        ]);
        assert_eq!(Touched::of(&nodes), Touched { measured: 0, measures_x: true, updated: 0b11 });
    }
}
