//! Hashes: of a checkpoint's files, and of the parameters themselves, however they are stored.
//! Does not read or write files.

use std::fmt::Write;

use safetensors::Dtype;
use sha2::{Digest, Sha256};
use tch::Tensor;

use super::{MODEL, OPTIMIZER, STATE};
use crate::{fault::Fault, tensor::bytes::to_bytes};

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One hash for a set of named tensors: equal exactly where names, element types, shapes and bits are.
///
/// SHA-256 over all tensors in the order of their names' bytes. Each contributes its name, element type as safetensors
/// writes it (`F32`), number of dimensions, each dimension, and its row-major little-endian bytes; texts and bytes are
/// preceded by their length, and every number is a little-endian `u64`.
///
/// # Errors
/// Those of [`to_bytes`].
pub fn parameter_hash(tensors: &[(String, Tensor)]) -> Result<String, Fault> {
    let mut sorted: Vec<&(String, Tensor)> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hasher = ParameterHasher::default();
    for (name, tensor) in sorted {
        let (dtype, shape, bytes) = to_bytes(tensor)?;
        hasher.add(name, dtype, &shape, &bytes);
    }
    Ok(hasher.finish())
}

/// [`parameter_hash`] of tensors that are given one by one, in the order of their names.
#[derive(Default)]
pub(super) struct ParameterHasher(Sha256);

impl ParameterHasher {
    pub(super) fn add(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) {
        self.text(name.as_bytes());
        self.text(dtype.to_string().as_bytes());
        self.number(shape.len());
        for &size in shape {
            self.number(size);
        }
        self.text(bytes);
    }

    fn text(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// The file `hash`. `sha256sum -c hash` checks it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashes {
    /// Of each file, in the order of [`Hashes::FILES`].
    pub files: [String; 3],
    /// [`parameter_hash`] of the model.
    pub parameters: String,
}

impl Hashes {
    pub const FILES: [&str; 3] = [MODEL, OPTIMIZER, STATE];

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, hash) in Self::FILES.iter().zip(&self.files) {
            let _ = writeln!(text, "{hash}  {name}");
        }
        let _ = writeln!(text, "# parameters {}", self.parameters);
        text
    }

    /// Only exactly what [`Hashes::to_text`] wrote.
    pub fn parse(text: &str) -> Option<Hashes> {
        let mut lines = text.lines();
        let mut next = |name| lines.next()?.strip_suffix(name).map(str::to_owned);
        let files = [next("  model.safetensors")?, next("  optimizer.safetensors")?, next("  state.json")?];
        let parameters = lines.next()?.strip_prefix("# parameters ")?.to_owned();
        let hashes = Hashes { files, parameters };
        (hashes.to_text() == text).then_some(hashes)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn named(name: &str, values: &[f32]) -> (String, Tensor) {
        (name.to_owned(), Tensor::from_slice(values))
    }

    #[test]
    fn the_order_of_the_tensors_does_not_matter() {
        let one = parameter_hash(&[named("a", &[1.0]), named("b", &[2.0])]).unwrap();
        let other = parameter_hash(&[named("b", &[2.0]), named("a", &[1.0])]).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.len(), 64);
    }

    /// The bytes are put together by hand here, as another program would.
    #[test]
    fn the_hash_is_the_documented_one() {
        let mut bytes = Vec::new();
        for part in [&1u64.to_le_bytes()[..], b"w", &3u64.to_le_bytes(), b"F32", &2u64.to_le_bytes()] {
            bytes.extend_from_slice(part);
        }
        for number in [1u64, 2, 8] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&1.5f32.to_le_bytes());
        bytes.extend_from_slice(&(-2.0f32).to_le_bytes());
        let tensor = Tensor::from_slice(&[1.5f32, -2.0]).reshape([1, 2]);
        assert_eq!(parameter_hash(&[("w".to_owned(), tensor)]).unwrap(), sha256(&bytes));
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn every_difference_shows() {
        let base = || Tensor::from_slice(&[1.0f32, 0.0, 3.0, 4.0]);
        let variants = [
            ("w", base()),
            ("v", base()),
            ("w", base().reshape([2, 2])),
            ("w", base().reshape([2, 2]).transpose(0, 1)),
            ("w", base().to_kind(Kind::BFloat16)),
            ("w", Tensor::from_slice(&[1.0f32, -0.0, 3.0, 4.0])),
            ("w", Tensor::from_slice(&[1.0f32, 0.0, 3.0, 4.0000005])),
        ];
        let hashes: std::collections::BTreeSet<String> =
            variants.iter().map(|(name, t)| parameter_hash(&[((*name).to_owned(), t.copy())]).unwrap()).collect();
        assert_eq!(hashes.len(), variants.len());
    }

    #[test]
    fn the_file_is_read_exactly_as_written() {
        let hashes = Hashes { files: ["a".repeat(64), "b".repeat(64), "c".repeat(64)], parameters: "d".repeat(64) };
        let text = hashes.to_text();
        assert_eq!(Hashes::parse(&text), Some(hashes));
        for wrong in ["", &text[..text.len() - 1], &text.replace("optimizer", "optimiser"), &format!("{text}\n")] {
            assert_eq!(Hashes::parse(wrong), None, "{wrong}");
        }
    }
}
