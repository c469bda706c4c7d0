//! One hash over the whole way a run went: equal exactly where every step had the same loss and gradient norm, in bits.
//! Does not say where two ways part; `metrics.jsonl` does.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// A chain: hash₀ = 32 zero bytes, hashₙ = SHA-256(hashₙ₋₁ ‖ step ‖ bits of the loss ‖ bits of the gradient norm), the
/// three as little-endian 64-bit words. A checkpoint carries [`Trajectory::hex`], so that a resumed run goes on with
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trajectory {
    hash: [u8; 32],
}

impl Trajectory {
    /// Adds a step.
    pub fn push(&mut self, step: u64, loss: f64, grad_norm: f64) {
        let mut hasher = Sha256::new();
        hasher.update(self.hash);
        for word in [step, loss.to_bits(), grad_norm.to_bits()] {
            hasher.update(word.to_le_bytes());
        }
        self.hash = hasher.finalize().into();
    }

    /// 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.hash.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// From what [`Trajectory::hex`] gave.
    pub fn from_hex(text: &str) -> Option<Trajectory> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Trajectory { hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_the_documented_one() {
        let mut trajectory = Trajectory::default();
        trajectory.push(1, 1.0, -0.5);
        // python3: hashlib.sha256(bytes(32) + struct.pack('<Qdd', 1, 1.0, -0.5)).hexdigest()
        let expected = "d10f44ea980c0f00182e528a5f589406ed8504d28ed72899b8f10e2cdc9a139e";
        assert_eq!(trajectory.hex(), expected);
        trajectory.push(2, 0.1, 2.0);
        // python3: hashlib.sha256(bytes.fromhex(<the one above>) + struct.pack('<Qdd', 2, 0.1, 2.0)).hexdigest()
        assert_eq!(trajectory.hex(), "bc0224b537d97a11ce66d0fa16017a721ab0eab25f306f055ef17f8cd61cd6fe");
    }

    #[test]
    fn a_resumed_chain_is_the_uninterrupted_one_and_every_bit_counts() {
        let steps = [(1, 4.0, 1.0), (2, 3.0, 0.5), (3, 2.5, 0.25)];
        let mut whole = Trajectory::default();
        steps.iter().for_each(|&(step, loss, norm)| whole.push(step, loss, norm));
        let mut first = Trajectory::default();
        first.push(1, 4.0, 1.0);
        let mut resumed = Trajectory::from_hex(&first.hex()).unwrap();
        steps[1..].iter().for_each(|&(step, loss, norm)| resumed.push(step, loss, norm));
        assert_eq!(resumed, whole);

        for (step, loss, norm) in [(4, 2.5, 0.25), (3, 2.500_000_000_000_000_4, 0.25), (3, 2.5, -0.25)] {
            let mut other = first.clone();
            other.push(2, 3.0, 0.5);
            other.push(step, loss, norm);
            assert_ne!(other, whole);
        }
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(Trajectory::from_hex(wrong), None);
        }
    }
}
