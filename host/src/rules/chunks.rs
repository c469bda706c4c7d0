//! Work on many tensors cut into chunks of even size, so that threads stay busy whatever the shapes.
//! Does not run anything.

/// Elements per chunk: small enough for the second-level cache, large enough that a call costs nothing beside it.
pub const CHUNK: usize = 65_536;

/// A run of elements of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which tensor.
    pub tensor: usize,
    /// Its first element.
    pub at: usize,
    /// How many elements.
    pub n: usize,
}

/// Cuts tensors of the given numbers of elements into chunks of at most `size`, in order, into `out`, which is emptied
/// first.
pub fn split(numels: impl IntoIterator<Item = usize>, size: usize, out: &mut Vec<Chunk>) {
    out.clear();
    for (tensor, numel) in numels.into_iter().enumerate() {
        let pieces = (0..numel).step_by(size.max(1)).map(|at| Chunk { tensor, at, n: size.min(numel - at) });
        out.extend(pieces);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_element_is_in_exactly_one_chunk(
            numels in proptest::collection::vec(0usize..300, 0..8), size in 1usize..100,
        ) {
            let mut chunks = Vec::new();
            split(numels.iter().copied(), size, &mut chunks);
            let mut seen: Vec<Vec<u8>> = numels.iter().map(|&n| vec![0; n]).collect();
            for chunk in chunks {
                prop_assert!(chunk.n > 0 && chunk.n <= size);
                seen[chunk.tensor][chunk.at..chunk.at + chunk.n].iter_mut().for_each(|times| *times += 1);
            }
            prop_assert!(seen.iter().flatten().all(|&times| times == 1));
        }
    }
}
