//! State slots: the tensors an optimizer keeps per parameter.
//! Holds none: a rule declares them; the host makes, keeps and saves them.

use crate::abi::SlotDescriptor;
use crate::record::values;
use crate::{Error, Record, Result};

/// One named tensor of optimizer state per parameter. Its name is the field's.
///
/// The degrees say how the slot's values scale when the parameter or its gradient is scaled, so that state can be
/// carried over when the network changes: a first moment has gradient degree 1, a second moment 2, a copy of the
/// parameter has value degree 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    start: Start,
    shape: ShapeKind,
    value_degree: i32,
    grad_degree: i32,
    decay: f64,
    mixed: bool,
    present: bool,
}

/// What a slot holds before the first step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Zeros,
    Fill(f64),
    Parameter,
}

/// Shape of a slot, for a parameter of shape `[…, r, c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeKind {
    /// As the parameter. Any shape.
    Elementwise,
    /// One number per row: `[…, r]`.
    Row,
    /// One number per column: `[…, c]`.
    Column,
    /// A matrix that multiplies from the left: `[…, r, r]`.
    Left,
    /// A matrix that multiplies from the right: `[…, c, c]`.
    Right,
    /// One number. Any shape.
    Scalar,
    /// A matrix `[n, n]`, whatever the parameter's shape; for slots that depend on it, see
    /// [`Optimizer::state_of`](crate::Optimizer::state_of).
    Square(u32),
}

impl ShapeKind {
    /// As it crosses the boundary.
    fn code(self) -> u32 {
        match self {
            ShapeKind::Elementwise => 0,
            ShapeKind::Row => 1,
            ShapeKind::Column => 2,
            ShapeKind::Left => 3,
            ShapeKind::Right => 4,
            ShapeKind::Scalar => 5,
            ShapeKind::Square(n) => SQUARE + n,
        }
    }
}

/// Shape kinds from here on are square matrices of so many rows more.
pub const SQUARE: u32 = 256;

/// The shape kind of a number that a rule over elements keeps per tensor: one f64, in main memory.
pub const NUMBER: u32 = 6;

/// Index of the first number of a rule over elements; those below are of slots of the parameter's shape.
pub const FIRST_NUMBER: u32 = 8;

impl Slot {
    /// Zeros.
    pub const fn zeros() -> Slot {
        Slot {
            start: Start::Zeros,
            shape: ShapeKind::Elementwise,
            value_degree: 0,
            grad_degree: 0,
            decay: 1.0,
            mixed: false,
            present: true,
        }
    }

    /// One value everywhere.
    pub const fn fill(value: f64) -> Slot {
        Slot { start: Start::Fill(value), ..Slot::zeros() }
    }

    /// The parameter as it is before the first step; value degree 1.
    pub const fn copy_of_parameter() -> Slot {
        Slot { start: Start::Parameter, value_degree: 1, ..Slot::zeros() }
    }

    /// Scales with this power of the gradient.
    pub const fn degree(self, grad_degree: i32) -> Slot {
        Slot { grad_degree, ..self }
    }

    /// Scales with this power of the parameter's values.
    pub const fn value_degree(self, value_degree: i32) -> Slot {
        Slot { value_degree, ..self }
    }

    /// A decaying average, or sum: a step keeps this share of what was there, and adds what is new. 0 is a slot that
    /// every step writes anew.
    ///
    /// Where a run asks for state in bf16, such slots are kept in it, if they have the parameter's shape and forget more
    /// than [`FINEST_DECAY`] in a step. A slot that does not say so stays in f32: a sum that only grows, a copy of the
    /// parameter or a count would stand still once its steps are below bf16's rounding.
    pub const fn decay(self, share: f64) -> Slot {
        Slot { decay: share, ..self }
    }

    /// What it holds follows from more of the tensor than its own element, row or column, by a norm, a mean or a clip. Its
    /// degrees then hold where the whole tensor is scaled; where a network grows and parts are scaled apart, the slot is
    /// carried by them all the same, and the host says that it is approximated.
    pub const fn mixed(self) -> Slot {
        Slot { mixed: true, ..self }
    }

    /// Another shape than the parameter's. For rules over whole tensors.
    pub const fn shape(self, shape: ShapeKind) -> Slot {
        Slot { shape, ..self }
    }

    /// Only there if a flag is on. A slot that is not there reads as zeros in an elementwise rule, and what is written
    /// to it is dropped.
    pub const fn only_if(self, flag: f64) -> Slot {
        Slot { present: flag != 0.0, ..self }
    }

    /// Whether it may be kept in bf16.
    fn is_narrow(&self) -> bool {
        self.present && self.is_elementwise() && 1.0 - self.decay > FINEST_DECAY
    }

    /// Whether it is there.
    pub(crate) fn is_present(&self) -> bool {
        self.present
    }

    /// Whether it has the parameter's shape.
    pub(crate) fn is_elementwise(&self) -> bool {
        self.shape == ShapeKind::Elementwise
    }
}

/// The finest decay that bf16 can show: half the widest step between its numbers, relative to them. An average that
/// loses no more than this in a step is rounded back to where it was, and never falls.
pub const FINEST_DECAY: f64 = 1.0 / 256.0;

/// The slots that may be kept in bf16, as bits by index in the record.
pub fn narrow<S: Record<Slot>>(state: &S) -> u64 {
    let mut bits = 0;
    state.visit(|k, slot| bits |= u64::from(slot.is_narrow()) << k);
    bits
}

/// Names of the slots that are mixed, whether they are there or not.
pub(crate) fn mixed<S: Record<Slot>>(state: &S) -> Vec<&'static str> {
    values(state).iter().zip(S::NAMES).filter(|(slot, _)| slot.mixed).map(|(_, &name)| name).collect()
}

/// The numbers that a rule over elements keeps per tensor, each with its place in the record behind [`FIRST_NUMBER`].
///
/// # Errors
/// One that starts as a copy of the parameter, has a shape, or is switched off.
pub fn numbers<M: Record<Slot>>(memory: &M) -> Result<Vec<SlotDescriptor>> {
    let unfit = |slot: &Slot| slot.start == Start::Parameter || !slot.is_elementwise() || !slot.present;
    if let Some(k) = values(memory).iter().position(unfit) {
        let name = M::NAMES[k];
        return Err(Error::new(format!("number `{name}` must be there, start as a number, and have no shape")));
    }
    let numbers = descriptors(memory).into_iter();
    Ok(numbers
        .map(|number| SlotDescriptor { index: FIRST_NUMBER + number.index, shape_kind: NUMBER, ..number })
        .collect())
}

/// The values of numbers before the first step.
pub(crate) fn starts<M: Record<Slot>>(memory: &M) -> Vec<f64> {
    descriptors(memory).iter().map(SlotDescriptor::start_number).collect()
}

/// The slots that are there, each with its index in the record.
pub fn descriptors<S: Record<Slot>>(state: &S) -> Vec<SlotDescriptor> {
    let slots = values(state);
    slots
        .iter()
        .zip(S::NAMES)
        .enumerate()
        .filter(|(_, (slot, _))| slot.present)
        .map(|(index, (slot, &name))| {
            let (start, fill) = match slot.start {
                Start::Zeros => (0, 0.0),
                Start::Fill(value) => (1, value),
                Start::Parameter => (2, 0.0),
            };
            SlotDescriptor {
                name: name.into(),
                index: index as u32,
                shape_kind: slot.shape.code(),
                start,
                fill,
                value_degree: slot.value_degree,
                grad_degree: slot.grad_degree,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Record)]
    struct State<T> {
        exp_avg: T,
        max_exp_avg_sq: T,
        left: T,
        start: T,
    }

    #[test]
    fn slots_that_forget_fast_enough_may_be_narrow() {
        let of = |slot: Slot| {
            let wide = Slot::zeros();
            narrow(&State { exp_avg: wide, max_exp_avg_sq: slot, left: wide, start: Slot::copy_of_parameter() })
        };
        for (slot, bits) in [
            (Slot::zeros(), 0),
            (Slot::zeros().decay(0.0), 0b10),
            (Slot::zeros().decay(0.99), 0b10),
            (Slot::zeros().decay(1.0 - FINEST_DECAY), 0),
            (Slot::zeros().decay(0.999), 0),
            (Slot::zeros().decay(f64::NAN), 0),
            (Slot::zeros().decay(0.9).only_if(0.0), 0),
            (Slot::zeros().decay(0.9).shape(ShapeKind::Row), 0),
        ] {
            assert_eq!(of(slot), bits, "{slot:?}");
        }
    }

    /// What [`FINEST_DECAY`] says of bf16, shown: below it every number falls, at it there are some that do not.
    #[test]
    fn the_finest_decay_is_that_of_bf16() {
        use crate::cpu::{from_bf16, to_bf16};
        let falls = |decay: f64, bits: u16| to_bf16((f64::from(from_bf16(bits)) * (1.0 - decay)) as f32) < bits;
        let all = 0x3f80..=0x3fff;
        assert!(all.clone().all(|bits| falls(FINEST_DECAY * 1.01, bits)));
        assert!(!all.clone().all(|bits| falls(FINEST_DECAY * 0.99, bits)));
    }

    #[test]
    fn numbers_stand_behind_the_slots_and_start_as_numbers() {
        let of = |slot: Slot| {
            let zeros = Slot::zeros();
            let memory = State { exp_avg: Slot::fill(0.5).degree(2), max_exp_avg_sq: slot, left: zeros, start: zeros };
            numbers(&memory)
        };
        let rows: Vec<_> = of(Slot::zeros()).unwrap().into_iter().map(|n| (n.index, n.shape_kind, n.fill)).collect();
        assert_eq!(rows, [(8, 6, 0.5), (9, 6, 0.0), (10, 6, 0.0), (11, 6, 0.0)]);
        for slot in [Slot::copy_of_parameter(), Slot::zeros().shape(ShapeKind::Row), Slot::zeros().only_if(0.0)] {
            let refused = of(slot).unwrap_err().to_string();
            assert!(refused.starts_with("number `max_exp_avg_sq` must be there"), "{refused}");
        }
    }

    #[test]
    fn mixed_slots_are_named() {
        let state = State {
            exp_avg: Slot::zeros().mixed(),
            max_exp_avg_sq: Slot::zeros(),
            left: Slot::zeros().only_if(0.0).mixed(),
            start: Slot::copy_of_parameter(),
        };
        assert_eq!(mixed(&state), ["exp_avg", "left"]);
    }

    #[test]
    fn slots_that_are_off_are_not_listed_and_the_others_keep_their_index() {
        let state = State {
            exp_avg: Slot::fill(0.5).degree(1),
            max_exp_avg_sq: Slot::zeros().degree(2).only_if(0.0),
            left: Slot::zeros().shape(ShapeKind::Left).degree(2),
            start: Slot::copy_of_parameter(),
        };
        let all = descriptors(&state);
        let rows: Vec<_> = all
            .iter()
            .map(|s| (&*s.name, s.index, s.shape_kind, s.start, s.fill, s.value_degree, s.grad_degree))
            .collect();
        assert_eq!(
            rows,
            [("exp_avg", 0, 0, 1, 0.5, 0, 1), ("left", 2, 3, 0, 0.0, 0, 2), ("start", 3, 0, 2, 0.0, 1, 0)]
        );
    }
}
