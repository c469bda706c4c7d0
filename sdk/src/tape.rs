//! Recording lanes: a rule as an expression.

use abi_stable::StableAbi;

/// A node of a recorded rule.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// What it does: an `Op`.
    pub op: u32,
    /// First operand: index of an earlier node.
    pub a: u32,
    /// Second operand.
    pub b: u32,
    /// Third operand.
    pub c: u32,
    /// Bits of a literal, or index of a leaf.
    pub bits: u64,
}
