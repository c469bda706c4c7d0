//! Storage formats of tensors: adaptors at load and store, outside the rule.
//! Do no arithmetic but rounding. Which slots of a call lie in bf16 instead is said per call.

use super::lane::{CpuLane, F32, F64};

/// How elements lie in memory, and which lanes they become.
pub trait Storage: 'static {
    /// Element of parameter and gradient.
    type Value: Copy + Default;
    /// Element of a slot.
    type Held: Copy + Default;
    /// What a rule computes with.
    type Lane<const ISA: u8>: CpuLane;

    /// An element of parameter or gradient as a lane.
    fn load<const ISA: u8>(value: Self::Value) -> Self::Lane<ISA>;
    /// A lane as an element of the parameter.
    fn store<const ISA: u8>(lane: Self::Lane<ISA>) -> Self::Value;
    /// An element of a slot as a lane.
    fn load_state<const ISA: u8>(held: Self::Held) -> Self::Lane<ISA>;
    /// A lane as an element of a slot.
    fn store_state<const ISA: u8>(lane: Self::Lane<ISA>) -> Self::Held;
    /// A bf16 as an element of a slot; exact.
    fn widen(bits: u16) -> Self::Held;
    /// The nearest bf16 of an element of a slot, ties to even; of an f64 by way of f32.
    fn narrow(held: Self::Held) -> u16;
}

/// Everything f32.
pub struct Single;
/// Everything f64.
pub struct Double;
/// Parameter and gradient bf16, state and arithmetic f32; rounded to nearest even on store.
pub struct Brain;

impl Storage for Single {
    type Value = f32;
    type Held = f32;
    type Lane<const ISA: u8> = F32<ISA, 0>;

    #[inline(always)]
    fn load<const ISA: u8>(value: f32) -> F32<ISA, 0> {
        F32(value)
    }
    #[inline(always)]
    fn store<const ISA: u8>(lane: F32<ISA, 0>) -> f32 {
        lane.0
    }
    #[inline(always)]
    fn load_state<const ISA: u8>(held: f32) -> F32<ISA, 0> {
        F32(held)
    }
    #[inline(always)]
    fn store_state<const ISA: u8>(lane: F32<ISA, 0>) -> f32 {
        lane.0
    }
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        from_bf16(bits)
    }
    #[inline(always)]
    fn narrow(held: f32) -> u16 {
        to_bf16(held)
    }
}

impl Storage for Double {
    type Value = f64;
    type Held = f64;
    type Lane<const ISA: u8> = F64<ISA, 0>;

    #[inline(always)]
    fn load<const ISA: u8>(value: f64) -> F64<ISA, 0> {
        F64(value)
    }
    #[inline(always)]
    fn store<const ISA: u8>(lane: F64<ISA, 0>) -> f64 {
        lane.0
    }
    #[inline(always)]
    fn load_state<const ISA: u8>(held: f64) -> F64<ISA, 0> {
        F64(held)
    }
    #[inline(always)]
    fn store_state<const ISA: u8>(lane: F64<ISA, 0>) -> f64 {
        lane.0
    }
    #[inline(always)]
    fn widen(bits: u16) -> f64 {
        from_bf16(bits).into()
    }
    #[inline(always)]
    fn narrow(held: f64) -> u16 {
        to_bf16(held as f32)
    }
}

impl Storage for Brain {
    type Value = u16;
    type Held = f32;
    // Another lane type than `Single`'s: a rule's closure must have one caller only.
    type Lane<const ISA: u8> = F32<ISA, 1>;

    #[inline(always)]
    fn load<const ISA: u8>(value: u16) -> F32<ISA, 1> {
        F32(from_bf16(value))
    }
    #[inline(always)]
    fn store<const ISA: u8>(lane: F32<ISA, 1>) -> u16 {
        to_bf16(lane.0)
    }
    #[inline(always)]
    fn load_state<const ISA: u8>(held: f32) -> F32<ISA, 1> {
        F32(held)
    }
    #[inline(always)]
    fn store_state<const ISA: u8>(lane: F32<ISA, 1>) -> f32 {
        lane.0
    }
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        from_bf16(bits)
    }
    #[inline(always)]
    fn narrow(held: f32) -> u16 {
        to_bf16(held)
    }
}

/// The f32 of a bf16; exact.
#[inline(always)]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The nearest bf16, ties to even; a NaN stays a NaN.
#[inline(always)]
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // Rounding up could carry a NaN's payload into infinity.
    let quiet = (bits >> 16) | 0x40;
    (if x.is_nan() { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_nearest_even() {
        let cases = [
            (1.0, 0x3f80),
            (-0.0, 0x8000),
            (f32::from_bits(0x3f80_8000), 0x3f80), // a tie goes to the even one below
            (f32::from_bits(0x3f81_8000), 0x3f82), // and to the even one above
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (f32::from_bits(0x3f80_7fff), 0x3f80),
            (f32::MAX, 0x7f80), // nearer to what would be 2¹²⁸
            (f32::INFINITY, 0x7f80),
            (f32::from_bits(0x0000_8001), 0x0001), // denormals too
        ];
        for (x, bits) in cases {
            assert_eq!(to_bf16(x), bits, "{x:e}");
        }
        assert!(from_bf16(to_bf16(f32::from_bits(0x7fff_ffff))).is_nan());
        assert!(from_bf16(to_bf16(f32::from_bits(0x7f80_0001))).is_nan());
    }

    #[test]
    fn every_bf16_survives_the_way_to_f32_and_back() {
        for bits in 0..=u16::MAX {
            let x = from_bf16(bits);
            assert!(to_bf16(x) == bits || x.is_nan());
        }
    }
}
