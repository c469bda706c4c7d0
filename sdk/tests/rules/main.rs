//! Rules as kernels and as expressions: same bits, right text, right twins.

mod bits;
mod family;
mod fingerprint;
mod formula;
mod memory;
mod recording;
mod rule_set;
mod sums;
