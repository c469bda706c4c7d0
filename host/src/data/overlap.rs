//! Whether validation text was seen in training: exactly, in time linear in both texts.
//! Looks at bytes, not at meaning.

use std::collections::HashMap;

/// Bytes in a row that count as seen.
pub(super) const WINDOW: usize = 256;

/// Any window holds one whole block of this length that starts at a multiple of it.
const BLOCK: usize = WINDOW / 2;

/// Base of the polynomial hash modulo 2⁶⁴; odd, so that no byte is lost. Every hit is verified.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where a stretch of [`WINDOW`] bytes of `val` stands in `train` too: (byte in `val`, byte in `train`).
///
/// The aligned blocks of `train` are indexed by hash; a hash rolls over `val`; a block that is found is compared
/// byte by byte and extended both ways.
pub(super) fn find(train: &[u8], val: &[u8]) -> Option<(usize, usize)> {
    if train.len() < WINDOW || val.len() < WINDOW {
        return None;
    }
    let mut blocks: HashMap<u64, Vec<usize>> = HashMap::new();
    for (i, block) in train.chunks_exact(BLOCK).enumerate() {
        blocks.entry(block.iter().fold(0, |hash, &byte| append(hash, byte))).or_default().push(i * BLOCK);
    }
    let leaving = (0..BLOCK).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let mut hash = 0;
    for (end, &byte) in val.iter().enumerate() {
        hash = append(hash, byte);
        if let Some(gone) = end.checked_sub(BLOCK) {
            hash = hash.wrapping_sub(leaving.wrapping_mul(u64::from(val[gone]) + 1));
        }
        let Some(start) = (end + 1).checked_sub(BLOCK) else {
            continue;
        };
        for &place in blocks.get(&hash).into_iter().flatten() {
            if let Some(found) = extend(train, val, place, start) {
                return Some(found);
            }
        }
    }
    None
}

fn append(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(u64::from(byte) + 1)
}

/// The common stretch around a block at `place` of `train` and `start` of `val`, if it is long enough.
fn extend(train: &[u8], val: &[u8], place: usize, start: usize) -> Option<(usize, usize)> {
    let forward = train[place..].iter().zip(&val[start..]).take(WINDOW).take_while(|(a, b)| a == b).count();
    if forward < BLOCK {
        return None;
    }
    let back = train[..place].iter().rev().zip(val[..start].iter().rev());
    let back = back.take(WINDOW - forward.min(WINDOW)).take_while(|(a, b)| a == b).count();
    (forward + back >= WINDOW).then(|| (start - back, place - back))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn noise(seed: u64, n: usize, letters: u64) -> Vec<u8> {
        let stream = Stream::new(seed, "overlap");
        (0..n as u64).map(|i| b'a' + (stream.words(0, i)[0] % letters) as u8).collect()
    }

    #[test]
    fn a_window_is_found_wherever_it_stands_and_one_byte_less_is_not() {
        let train = noise(1, 5000, 26);
        for from in [0, 1, 127, 128, 129, 1000, 3333, 4744] {
            for at in [0, 1, 130, 700] {
                for (length, expected) in [(WINDOW, Some((at, from))), (WINDOW - 1, None)] {
                    let mut val = noise(2, 1200, 26);
                    val[at..at + length].copy_from_slice(&train[from..from + length]);
                    // Neighbours that differ, so that the stretch is no longer than meant.
                    if at > 0 && from > 0 {
                        val[at - 1] = train[from - 1] ^ 1;
                    }
                    if let Some(next) = train.get(from + length) {
                        val[at + length] = next ^ 1;
                    }
                    assert_eq!(find(&train, &val), expected, "{length} bytes from {from} at {at}");
                }
            }
        }
    }

    #[test]
    fn agrees_with_comparing_all_windows() {
        for seed in 0..30 {
            // Two letters in long runs, so that near misses abound.
            let runs = |seed| noise(seed, 60, 2).into_iter().flat_map(|c| [c; 40]).collect::<Vec<u8>>();
            let (train, val) = (runs(2 * seed), runs(2 * seed + 1));
            let seen = val.windows(WINDOW).any(|window| train.windows(WINDOW).any(|other| other == window));
            let found = find(&train, &val);
            assert_eq!(found.is_some(), seen, "seed {seed}");
            if let Some((v, t)) = found {
                assert_eq!(val[v..v + WINDOW], train[t..t + WINDOW]);
            }
        }
    }

    #[test]
    fn short_texts_have_no_window() {
        assert_eq!(find(&[b'a'; 255], &[b'a'; 1000]), None);
        assert_eq!(find(&[b'a'; 256], &[b'a'; 256]), Some((0, 0)));
    }
}
