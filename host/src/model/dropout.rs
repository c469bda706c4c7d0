//! Which activations a training pass drops: a function of seed, step and micro-batch alone.
//! Draws no masks; libtorch does, from the generator that a pass seeds before its first operation.

use crate::random::Stream;

/// The seed of the masks of one backward pass. A pass that is given it sets libtorch's default generator to it, and
/// the masks are then drawn in the fixed order of the network's operations: a resumed run draws the same ones.
pub fn dropout_seed(seed: u64, step: u64, micro: u64) -> u64 {
    Stream::new(seed, "dropout").words(step, micro)[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_has_its_own_seed() {
        let mut seeds: Vec<u64> =
            (0..10).flat_map(|step| (0..4).map(move |micro| dropout_seed(1, step, micro))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 40);
        assert_ne!(dropout_seed(1, 5, 0), dropout_seed(2, 5, 0));
    }
}
