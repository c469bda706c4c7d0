//! Random numbers by address: a key and a counter in, the same bits out, on every machine and in any order.
//! Holds no state, so that there is none to save.

use sha2::{Digest, Sha256};

/// Philox-4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3") under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
}

impl Stream {
    /// The stream of one purpose: `domain` keeps numbers for different purposes apart under one seed.
    pub fn new(seed: u64, domain: &str) -> Stream {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(domain).finalize();
        let word = |i: usize| u32::from_le_bytes([digest[i], digest[i + 1], digest[i + 2], digest[i + 3]]);
        Stream { key: [word(0), word(4)] }
    }

    /// 128 random bits at a counter.
    pub fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        let [mut c0, mut c1, mut c2, mut c3] = counter;
        let [mut k0, mut k1] = self.key;
        for _ in 0..10 {
            let low = u64::from(c0) * 0xD251_1F53;
            let high = u64::from(c2) * 0xCD9E_8D57;
            (c0, c1, c2, c3) = ((high >> 32) as u32 ^ c1 ^ k0, high as u32, (low >> 32) as u32 ^ c3 ^ k1, low as u32);
            k0 = k0.wrapping_add(0x9E37_79B9);
            k1 = k1.wrapping_add(0xBB67_AE85);
        }
        [c0, c1, c2, c3]
    }

    /// Two independent words of 64 bits at (`high`, `low`).
    pub fn words(&self, high: u64, low: u64) -> [u64; 2] {
        let [a, b, c, d] = self.block([low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32]);
        [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32]
    }

    /// Two independent numbers in [0, 1) at (`high`, `low`).
    pub fn uniforms(&self, high: u64, low: u64) -> [f64; 2] {
        self.words(high, low).map(|word| (word >> 11) as f64 * (1.0 / (1_u64 << 53) as f64))
    }

    /// Two independent standard normal numbers at (`high`, `low`), by Box and Muller with portable `libm`.
    pub fn normals(&self, high: u64, low: u64) -> [f64; 2] {
        let [u, v] = self.uniforms(high, low);
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - u));
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * v);
        [radius * cos, radius * sin]
    }
}

/// An integer in 0..n from a random word; the bias is below n/2⁶⁴. `n` is at least 1.
pub fn below(word: u64, n: u64) -> u64 {
    ((u128::from(word) * u128::from(n)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_authors() {
        // kat_vectors of Random123: philox4x32 10.
        for (key, counter, expected) in [
            ([0, 0], [0; 4], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([!0, !0], [!0; 4], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(Stream { key }.block(counter), expected);
        }
    }

    #[test]
    fn purposes_and_seeds_differ() {
        let first = Stream::new(1, "batch").words(0, 0);
        assert_ne!(first, Stream::new(1, "init").words(0, 0));
        assert_ne!(first, Stream::new(2, "batch").words(0, 0));
        assert_eq!(first, Stream::new(1, "batch").words(0, 0));
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let stream = Stream::new(7, "test");
        let n = 200_000;
        let mut moments = [0.0; 4];
        for x in (0..n / 2).flat_map(|i| stream.normals(0, i)) {
            for (k, moment) in moments.iter_mut().enumerate() {
                *moment += x.powi(k as i32 + 1) / n as f64;
            }
        }
        for (moment, (expected, deviation)) in moments.iter().zip([(0.0, 1.0), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0)]) {
            let allowed = 5.0 * f64::sqrt(deviation / n as f64);
            assert!((moment - expected).abs() < allowed, "{moment} is not {expected} ± {allowed}");
        }
    }

    #[test]
    fn below_reaches_both_ends() {
        assert_eq!(below(0, 10), 0);
        assert_eq!(below(u64::MAX, 10), 9);
        assert_eq!(below(u64::MAX, 1), 0);
    }
}
