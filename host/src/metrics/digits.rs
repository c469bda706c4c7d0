//! Numbers for machines: 17 significant digits, which name one `f64` each, and the bits themselves.
//! Does not round for people.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// An `f64` written as a JSON number of 17 significant digits; not finite, as `null`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Digits(pub f64);

/// `1.2345678901234567e0`, or `null` where the number is not finite.
pub fn digits(value: f64) -> String {
    if value.is_finite() { format!("{value:.16e}") } else { "null".into() }
}

/// The 64 bits as 16 hexadecimal digits, most significant first.
pub fn bits(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

/// The number whose [`bits`] these are.
pub fn from_bits(text: &str) -> Option<f64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(f64::from_bits)
}

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(digits(self.0)).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digits, D::Error> {
        Ok(Digits(Option::deserialize(deserializer)?.unwrap_or(f64::NAN)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn written_with_seventeen_digits() {
        assert_eq!(serde_json::to_string(&Digits(0.1)).unwrap(), "1.0000000000000001e-1");
        assert_eq!(serde_json::to_string(&Digits(f64::NAN)).unwrap(), "null");
        assert!(serde_json::from_str::<Digits>("null").unwrap().0.is_nan());
        assert_eq!(bits(1.0), "3ff0000000000000");
        assert_eq!(from_bits("3ff0000000000000"), Some(1.0));
        for wrong in ["", "3ff", "+ff0000000000000", "3ff00000000000000", "3ff000000000000g"] {
            assert_eq!(from_bits(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_number_returns_with_its_bits(any in any::<u64>()) {
            let value = f64::from_bits(any);
            prop_assert_eq!(from_bits(&bits(value)).map(f64::to_bits), Some(any));
            let read: Digits = serde_json::from_str(&serde_json::to_string(&Digits(value)).unwrap()).unwrap();
            if value.is_finite() {
                prop_assert_eq!(read.0.to_bits(), any);
            } else {
                prop_assert!(read.0.is_nan());
            }
        }
    }
}
