//! Optimizer state: tensors owned by the host, keyed `<parameter>/<slot>`.
//! Does not know what a slot means to its rule.

use std::collections::BTreeMap;

use sdk::abi::SlotDescriptor;
use tch::{Kind, Tensor};

use crate::{
    fault::{Exit, Fault, Faults},
    rules::kernel::{MAX_SLOTS, state_kind},
};

/// The state of one parameter.
pub struct State {
    slots: Vec<SlotDescriptor>,
    /// By place in the rule's state record; none where a slot is switched off.
    pub tensors: Vec<Option<Tensor>>,
}

impl State {
    /// Freshly made for a parameter: f64 where the parameter is f64, else f32, on its device.
    ///
    /// # Errors
    /// A slot that does not fit the parameter's shape or lies beyond what a rule may have.
    pub fn new(label: &str, name: &str, slots: &[SlotDescriptor], parameter: &Tensor) -> Result<State, Fault> {
        let mut tensors: Vec<Option<Tensor>> = (0..MAX_SLOTS).map(|_| None).collect();
        for slot in slots {
            let fault = |text: String| {
                let text = format!("state slot `{}` of `{label}` cannot be made for `{name}`: {text}", slot.name);
                Fault::new("P012", Exit::Plugin, text)
            };
            let shape = shape(slot.shape_kind, &parameter.size()).map_err(fault)?;
            let place = tensors.get_mut(slot.index as usize);
            let place = place.ok_or_else(|| fault(format!("place {} of at most {MAX_SLOTS}", slot.index)))?;
            if place.is_some() {
                return Err(fault(format!("place {} is taken twice", slot.index)));
            }
            let made = start(slot, &shape, parameter).map_err(|error| fault(error.to_string()))?;
            *place = Some(made);
        }
        Ok(State { slots: slots.to_vec(), tensors })
    }

    /// Every slot's key and tensor, in the order of the descriptors.
    pub fn named<'a>(&'a self, parameter: &'a str) -> impl Iterator<Item = (String, &'a Tensor)> {
        self.slots.iter().filter_map(move |slot| {
            let tensor = self.tensors[slot.index as usize].as_ref()?;
            Some((format!("{parameter}/{}", slot.name), tensor))
        })
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().flatten().map(|tensor| tensor.numel() as u64 * tensor.kind().elt_size_in_bytes() as u64).sum()
    }
}

/// The sizes of a slot for a parameter seen as a matrix `[…, rows, columns]`, where left and right are taken of the matrix
/// `[first dimension, all others]`.
fn shape(kind: u32, parameter: &[i64]) -> Result<Vec<i64>, String> {
    let dims = parameter.len();
    let of_matrix = |shape: Vec<i64>| {
        if dims >= 2 { Ok(shape) } else { Err(format!("it needs two dimensions, not shape {parameter:?}")) }
    };
    match kind {
        0 => Ok(parameter.to_vec()),
        1 => of_matrix(parameter[..dims.saturating_sub(1)].to_vec()),
        2 => of_matrix([&parameter[..dims.saturating_sub(2)], &parameter[dims.saturating_sub(1)..]].concat()),
        3 => of_matrix(vec![parameter.first().copied().unwrap_or(1); 2]),
        4 => of_matrix(vec![parameter.iter().skip(1).product(); 2]),
        5 => Ok(Vec::new()),
        other => Err(format!("shape kind {other} is unknown")),
    }
}

fn start(slot: &SlotDescriptor, shape: &[i64], parameter: &Tensor) -> Result<Tensor, Box<dyn std::error::Error>> {
    let options = (state_kind(parameter.kind()), parameter.device());
    Ok(match slot.start {
        0 => Tensor::f_zeros(shape, options)?,
        1 => Tensor::f_full(shape, slot.fill, options)?,
        2 if slot.shape_kind == 0 => parameter.f_detach()?.f_to_kind(options.0)?.f_contiguous()?.f_copy()?,
        2 => return Err("a copy of the parameter must have the parameter's shape".into()),
        other => return Err(format!("start {other} is unknown").into()),
    })
}

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
                faults.push(
                    Fault::new("D042", Exit::Data, text)
                        .note("saved", described(&found))
                        .note("needed", described(planned)),
                );
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
        faults.push(Fault::new("D041", Exit::Data, format!("the step count of `{name}` belongs to nothing in this run")));
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
    found.f_detach()?.f_to_device(planned.device())?.f_contiguous()?.f_copy()
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
    fn shapes_per_kind() {
        let table: &[(u32, &[i64], Option<&[i64]>)] = &[
            (0, &[], Some(&[])),
            (0, &[4, 3], Some(&[4, 3])),
            (1, &[4, 3], Some(&[4])),
            (1, &[2, 4, 3], Some(&[2, 4])),
            (1, &[4], None),
            (2, &[4, 3], Some(&[3])),
            (2, &[2, 4, 3], Some(&[2, 3])),
            (2, &[], None),
            (3, &[4, 3], Some(&[4, 4])),
            (4, &[4, 3, 2], Some(&[6, 6])),
            (4, &[4], None),
            (5, &[4, 3], Some(&[])),
            (6, &[4, 3], None),
        ];
        for (kind, parameter, expected) in table {
            assert_eq!(shape(*kind, parameter).ok().as_deref(), *expected, "kind {kind} of {parameter:?}");
        }
    }

    #[test]
    fn slots_start_as_they_say_and_never_share_memory() {
        let parameter = Tensor::arange(6, (Kind::BFloat16, Device::Cpu)).reshape([2, 3]);
        let slots = [slot("zeros", 0, 0, 0), slot("fill", 1, 1, 1), slot("slow", 3, 0, 2)];
        let state = State::new("x", "w", &slots, &parameter).unwrap();
        let found: Vec<(String, Vec<i64>, f64)> =
            state.named("w").map(|(key, t)| (key, t.size(), t.sum(Kind::Double).double_value(&[]))).collect();
        let expected = [("w/zeros", vec![2, 3], 0.0), ("w/fill", vec![2], 5.0), ("w/slow", vec![2, 3], 15.0)];
        assert_eq!(found, expected.map(|(key, size, sum)| (key.to_string(), size, sum)));
        assert!(state.tensors[2].is_none());
        assert_eq!(state.bytes(), (6 + 2 + 6) * 4);
        let parameter = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        let state = State::new("x", "w", &slots[2..], &parameter).unwrap();
        assert_ne!(state.tensors[3].as_ref().unwrap().data_ptr(), parameter.data_ptr());
        assert!(State::new("x", "w", &[slot("a", 8, 0, 0)], &parameter).is_err());
        assert!(State::new("x", "w", &[slot("a", 1, 0, 0), slot("b", 1, 0, 0)], &parameter).is_err());
    }

    #[test]
    fn a_saved_state_is_checked_whole() {
        let parameter = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        let mut state = State::new("x", "w", &[slot("a", 0, 0, 0), slot("b", 1, 0, 0)], &parameter).unwrap();
        let ones = |n: i64, kind| Tensor::ones([n], (kind, Device::Cpu));
        let count = |name: &str| BTreeMap::from([(name.to_string(), 7u64)]);
        let good = || ("w/a".to_string(), ones(2, Kind::Float));
        let cases: Vec<(Vec<(String, Tensor)>, BTreeMap<String, u64>, &str)> = vec![
            (vec![good()], count("w"), "`w/b` is missing"),
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
