//! Optimizer state: tensors and numbers owned by the host, keyed `<parameter>/<slot>`.
//! Does not know what a slot means to its rule.

use std::collections::BTreeMap;

use sdk::{FIRST_NUMBER, abi::SlotDescriptor};
use tch::{Kind, Tensor};

use crate::{
    fault::{Exit, Fault, Faults},
    rules::kernel::slot_kind,
    tensor::slots::initial_slot,
};

/// The state of one parameter.
pub struct State {
    slots: Vec<SlotDescriptor>,
    /// By place in the rule's state record, numbers behind them; none where a slot is switched off.
    pub tensors: Vec<Option<Tensor>>,
}

impl State {
    /// Freshly made for a parameter, on its device: f64 where the parameter is f64, else f32, or bf16 for the slots whose
    /// bit of `narrow` is set. Numbers are f64 and in main memory.
    ///
    /// # Errors
    /// A slot that does not fit the parameter's shape (P012).
    pub fn new(
        label: &str,
        name: &str,
        slots: &[SlotDescriptor],
        narrow: u64,
        parameter: &Tensor,
    ) -> Result<State, Fault> {
        let places = slots.iter().map(|slot| slot.index as usize + 1).max().unwrap_or(0);
        let mut tensors: Vec<Option<Tensor>> = (0..places).map(|_| None).collect();
        for slot in slots {
            let fault = |text: String| {
                let text = format!("state slot `{}` of `{label}` cannot be made for `{name}`: {text}", slot.name);
                Fault::new("P012", Exit::Plugin, text)
            };
            if slot.is_number() {
                tensors[slot.index as usize] = Some(Tensor::from(slot.start_number()));
                continue;
            }
            // Slots are made for batches of parameters; here it is a batch of one.
            let batch = parameter.f_detach().and_then(|parameter| parameter.f_contiguous()?.f_unsqueeze(0));
            let batch = batch.map_err(|error| fault(error.to_string()))?;
            let kind = slot_kind(parameter.kind(), narrow, slot);
            let made = initial_slot(slot, &batch, kind).map_err(fault)?;
            tensors[slot.index as usize] = Some(made.f_squeeze_dim(0).map_err(|error| fault(error.to_string()))?);
        }
        Ok(State { slots: slots.to_vec(), tensors })
    }

    /// Descriptors of the slots that are there.
    pub(super) fn slots(&self) -> &[SlotDescriptor] {
        &self.slots
    }

    /// The slots of a rule over elements, without its numbers.
    pub fn elementwise(&self) -> &[Option<Tensor>] {
        &self.tensors[..self.tensors.len().min(FIRST_NUMBER as usize)]
    }

    /// The numbers, in the order of their record.
    pub fn numbers(&self) -> Vec<f64> {
        self.tensors.iter().skip(FIRST_NUMBER as usize).flatten().map(|number| number.double_value(&[])).collect()
    }

    /// Puts numbers in the place of those that were there.
    pub fn set_numbers(&mut self, numbers: &[f64]) {
        let places = self.tensors.iter_mut().skip(FIRST_NUMBER as usize);
        places.zip(numbers).for_each(|(place, number)| *place = Some(Tensor::from(*number)));
    }

    /// Every slot's key and tensor, in the order of the descriptors.
    pub fn named<'a>(&'a self, parameter: &'a str) -> impl Iterator<Item = (String, &'a Tensor)> {
        self.slots.iter().filter_map(move |slot| {
            let tensor = self.tensors[slot.index as usize].as_ref()?;
            Some((format!("{parameter}/{}", slot.name), tensor))
        })
    }

    /// Names of the slots in bf16, and of the others. Numbers are neither.
    pub fn by_format(&self) -> (Vec<String>, Vec<String>) {
        let slots = self.slots.iter().filter(|slot| !slot.is_number());
        let present = slots.filter_map(|slot| Some((slot, self.tensors[slot.index as usize].as_ref()?)));
        let (narrow, wide): (Vec<_>, Vec<_>) = present.partition(|(_, tensor)| tensor.kind() == Kind::BFloat16);
        let names = |all: Vec<(&SlotDescriptor, &Tensor)>| all.iter().map(|(slot, _)| slot.name.to_string()).collect();
        (names(narrow), names(wide))
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().flatten().map(|tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64).sum()
    }
}

/// The way out where state was saved in another element type.
const OTHER_FORMAT: &str = "state is not converted: `format` and `state_format` must be those it was saved with";

/// Tensors for every slot of every parameter, checked whole: the second step, [`Checked::apply`], cannot fail.
pub struct Checked {
    tensors: Vec<Vec<(usize, Tensor)>>,
    counts: Vec<u64>,
}

/// Checks names, shapes and element types of a saved state against the planned one; changes nothing.
///
/// # Errors
/// Every missing, unknown or ill-fitting tensor and count (D040 to D042).
pub fn check(
    planned: &[(&str, &State)],
    tensors: Vec<(String, Tensor)>,
    mut counts: BTreeMap<String, u64>,
) -> Result<Checked, Faults> {
    let mut faults = Faults::none();
    let mut given: BTreeMap<String, Tensor> = BTreeMap::new();
    for (key, tensor) in tensors {
        if given.insert(key.clone(), tensor).is_some() {
            faults.push(Fault::new("D041", Exit::Data, format!("optimizer state `{key}` is saved twice")));
        }
    }
    let mut checked = Checked { tensors: Vec::new(), counts: Vec::new() };
    for (name, state) in planned {
        let mut slots = Vec::new();
        for (slot, (key, planned)) in state.slots.iter().zip(state.named(name)) {
            let Some(found) = given.remove(&key) else {
                faults.push(Fault::new("D040", Exit::Data, format!("optimizer state `{key}` is missing")));
                continue;
            };
            if found.size() != planned.size() || found.kind() != planned.kind() {
                let text = format!("optimizer state `{key}` does not fit this run");
                let fault = Fault::new("D042", Exit::Data, text)
                    .note("saved", described(&found))
                    .note("needed", described(planned));
                let other_format = found.size() == planned.size();
                faults.push(if other_format { fault.hint(OTHER_FORMAT) } else { fault });
                continue;
            }
            match own_copy(&found, planned) {
                Ok(copy) => slots.push((slot.index as usize, copy)),
                Err(error) => {
                    let text = format!("optimizer state `{key}` cannot be copied: {error}");
                    faults.push(Fault::new("D042", Exit::Data, text));
                }
            }
        }
        checked.tensors.push(slots);
        match counts.remove(*name) {
            Some(count) => checked.counts.push(count),
            None => faults.push(Fault::new("D040", Exit::Data, format!("the step count of `{name}` is missing"))),
        }
    }
    for key in given.keys() {
        let text = format!("optimizer state `{key}` belongs to nothing in this run");
        faults.push(Fault::new("D041", Exit::Data, text).hint("was it saved with another optimizer or model?"));
    }
    for name in counts.keys() {
        faults.push(Fault::new(
            "D041",
            Exit::Data,
            format!("the step count of `{name}` belongs to nothing in this run"),
        ));
    }
    faults.check()?;
    Ok(checked)
}

impl Checked {
    /// Takes everything over; gives the step counts back.
    pub fn apply(self, states: &mut [&mut State]) -> Vec<u64> {
        for (state, slots) in states.iter_mut().zip(self.tensors) {
            for (index, tensor) in slots {
                state.tensors[index] = Some(tensor);
            }
        }
        self.counts
    }
}

/// Memory of its own, contiguous, where the state lives.
fn own_copy(found: &Tensor, planned: &Tensor) -> Result<Tensor, tch::TchError> {
    found.f_to_device(planned.device())?.f_contiguous()?.f_detach_copy()
}

fn described(tensor: &Tensor) -> String {
    let kind = match tensor.kind() {
        Kind::Float => "f32".to_string(),
        Kind::Double => "f64".to_string(),
        Kind::BFloat16 => "bf16".to_string(),
        other => format!("{other:?}"),
    };
    format!("{kind} {:?}", tensor.size())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn slot(name: &str, index: u32, shape_kind: u32, start: u32) -> SlotDescriptor {
        let name = name.into();
        SlotDescriptor { name, index, shape_kind, start, fill: 2.5, value_degree: 0, grad_degree: 0 }
    }

    #[test]
    fn slots_start_as_they_say_and_never_share_memory() {
        let parameter = Tensor::arange(6, (Kind::BFloat16, Device::Cpu)).reshape([2, 3]);
        let slots = [slot("zeros", 0, 0, 0), slot("fill", 1, 1, 1), slot("slow", 3, 0, 2)];
        let state = State::new("x", "w", &slots, 0b1000, &parameter).unwrap();
        let found: Vec<(String, Vec<i64>, f64)> =
            state.named("w").map(|(key, t)| (key, t.size(), t.sum(Kind::Double).double_value(&[]))).collect();
        let expected = [("w/zeros", vec![2, 3], 0.0), ("w/fill", vec![2], 5.0), ("w/slow", vec![2, 3], 15.0)];
        assert_eq!(found, expected.map(|(key, size, sum)| (key.to_string(), size, sum)));
        assert!(state.tensors[2].is_none());
        assert_eq!(state.bytes(), (6 + 2) * 4 + 6 * 2);
        assert_eq!(state.by_format(), (vec!["slow".to_string()], vec!["zeros".to_string(), "fill".to_string()]));
        let parameter = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        let state = State::new("x", "w", &slots[2..], 0, &parameter).unwrap();
        assert_ne!(state.tensors[3].as_ref().unwrap().data_ptr(), parameter.data_ptr());
        assert!(State::new("x", "w", &[slot("rows", 0, 1, 0)], 0, &parameter).is_err());
    }

    #[test]
    fn a_saved_state_is_checked_whole() {
        let parameter = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        let mut state = State::new("x", "w", &[slot("a", 0, 0, 0), slot("b", 1, 0, 0)], 0, &parameter).unwrap();
        let ones = |n: i64, kind| Tensor::ones([n], (kind, Device::Cpu));
        let count = |name: &str| BTreeMap::from([(name.to_string(), 7u64)]);
        let good = || ("w/a".to_string(), ones(2, Kind::Float));
        let cases: Vec<(Vec<(String, Tensor)>, BTreeMap<String, u64>, &str)> = vec![
            (vec![good()], count("w"), "`w/b` is missing"),
            (vec![good(), ("w/b".into(), ones(2, Kind::BFloat16))], count("w"), "saved: bf16 [2]"),
            (vec![good(), ("w/b".into(), ones(2, Kind::BFloat16))], count("w"), "`state_format` must be"),
            (vec![good(), ("w/b".into(), ones(3, Kind::Float))], count("w"), "`w/b` does not fit"),
            (vec![good(), ("w/b".into(), ones(2, Kind::Double))], count("w"), "`w/b` does not fit"),
            (vec![good(), ("w/b".into(), ones(2, Kind::Float))], count("v"), "the step count of `w` is missing"),
            (vec![good(), good(), ("w/b".into(), ones(2, Kind::Float))], count("w"), "saved twice"),
            (
                vec![good(), ("w/b".into(), ones(2, Kind::Float)), ("v/a".into(), ones(2, Kind::Float))],
                count("w"),
                "`v/a` belongs to nothing",
            ),
        ];
        for (tensors, counts, expected) in cases {
            let Err(faults) = check(&[("w", &state)], tensors, counts) else { panic!("accepted: {expected}") };
            assert!(faults.to_string().contains(expected), "{faults}");
        }
        let tensors = vec![good(), ("w/b".into(), ones(2, Kind::Float))];
        let checked = check(&[("w", &state)], tensors, count("w")).unwrap();
        assert_eq!(checked.apply(&mut [&mut state]), [7]);
        assert!(state.named("w").all(|(_, tensor)| tensor.sum(Kind::Double).double_value(&[]) == 2.0));
    }
}
