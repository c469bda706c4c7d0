//! How much optimizer state a parameter costs.
//! Does not know how many parameters there are.

use std::fmt;

use sdk::abi::SlotDescriptor;

/// Bytes of one state number in f32, and in bf16.
const F32: u64 = 4;
const BF16: u64 = 2;

/// Names of a slot's shape, by number.
const SHAPES: [&str; 7] = ["elementwise", "row", "column", "left", "right", "scalar", "number"];

/// State of every parameter, shown as `8`, `4 + row + column` or `8 + number`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateBytes {
    /// Bytes per element of the parameter.
    pub per_parameter: u64,
    /// Shapes of the slots that grow otherwise.
    pub others: Vec<&'static str>,
}

impl StateBytes {
    /// Of these slots, in f32.
    pub fn of(slots: &[SlotDescriptor]) -> StateBytes {
        let elementwise = slots.iter().filter(|slot| slot.shape_kind == 0).count() as u64;
        let others = slots.iter().filter(|slot| slot.shape_kind != 0).map(shape).collect();
        StateBytes { per_parameter: elementwise * F32, others }
    }

    /// With these slots, as bits, in bf16. They have the parameter's shape.
    pub fn with_narrow(self, narrow: u64) -> StateBytes {
        let saved = (F32 - BF16) * u64::from(narrow.count_ones());
        StateBytes { per_parameter: self.per_parameter - saved.min(self.per_parameter), ..self }
    }
}

/// The name of a slot's shape.
pub fn shape(slot: &SlotDescriptor) -> &'static str {
    if slot.shape_kind >= sdk::SQUARE {
        return "square";
    }
    SHAPES.get(slot.shape_kind as usize).copied().unwrap_or("unknown")
}

impl fmt::Display for StateBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elementwise = (self.per_parameter > 0 || self.others.is_empty()).then(|| self.per_parameter.to_string());
        let parts: Vec<String> = elementwise.into_iter().chain(self.others.iter().map(|s| s.to_string())).collect();
        f.pad(&parts.join(" + "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elementwise_slots_are_counted_and_others_named() {
        let slot = |shape_kind| SlotDescriptor {
            name: "s".into(),
            index: 0,
            shape_kind,
            start: 0,
            fill: 0.0,
            value_degree: 0,
            grad_degree: 1,
        };
        let text = |shapes: &[u32]| StateBytes::of(&shapes.iter().map(|s| slot(*s)).collect::<Vec<_>>()).to_string();
        assert_eq!(text(&[]), "0");
        assert_eq!(text(&[0, 0]), "8");
        assert_eq!(text(&[0, 1, 2]), "4 + row + column");
        assert_eq!(text(&[3, 4]), "left + right");
        assert_eq!(text(&[0, 6]), "4 + number");
        let bytes = StateBytes::of(&[slot(0), slot(0), slot(1)]);
        assert_eq!(bytes.with_narrow(0b10).to_string(), "6 + row");
    }
}
