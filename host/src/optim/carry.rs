//! What becomes of the optimizer's state when the network changes: every slot follows the lineage of its parameter.
//! Knows slots by their shapes and degrees alone, and no rule by its name.
//!
//! A parameter is mapped by one index map per dimension; each new index says by how much values and gradients scale.
//! A slot of value degree a and gradient degree b goes through the same maps, with value scale^a · gradient scale^b:
//!
//! | shape | of a mapped parameter |
//! |---|---|
//! | elementwise | through all maps |
//! | row, column | through the maps of its own dimensions, times the mean factor of the one it is a mean over |
//! | left, right, square | as it is where every map is the identity, else *reset* |
//! | scalar, number | as it is; *approximated* where a map scales gradients or values that it depends on |
//!
//! A row or column slot is exact where every old index of the dimension it is a mean over takes an equal part in the new
//! one, else *approximated*.
//!
//! A slot that depends on the tensor as a whole (`Slot::mixed`) is approximated wherever a map is not the identity. Where a
//! map has no old index, slots begin as those of a fresh parameter do, and are approximated, because the parameter's step
//! count goes on. Of a parameter that took its adapter's change over, slots that hold values (degrees 1 and 0) move with
//! them, and slots of value degree 0 stay.
//!
//! A rule may begin in its first step what it needs later, such as the basis of SOAP. So where one slot of a parameter
//! is reset, all of that parameter's state restarts, its step count at 0, as if the parameter had just been made. The
//! same holds where an operation zeroes all gradients of a parameter, and where another optimizer takes it. A tensor
//! of another shape or element type than the rule asks for is never attached.

use std::{collections::BTreeMap, sync::Arc};

use sdk::{
    NUMBER, SQUARE,
    abi::{DimensionMap, NetworkPlan, SlotDescriptor},
};
use tch::{Kind, TchError, Tensor};

use super::{Optim, state::State};
use crate::{
    config::settings::GrownState,
    fault::Fault,
    growth::{Carried, Lineage, begins_fresh},
    model::{self, Parameter},
    tensor::index_map::{Axis, mapped, mapped_or},
};

impl Optim {
    /// Takes state, step counts and memories over from the optimizer of the network before a plan. This one was planned
    /// for the network after it and has taken no step. `old` and `new` are the parameters of the two networks.
    ///
    /// # Errors
    /// `E101` if libtorch has no room; this optimizer is then of no use, and `before` is as it was.
    pub fn carry(
        &mut self,
        before: &Optim,
        (old, new): (&[Parameter], &[Parameter]),
        plan: &NetworkPlan,
        how: GrownState,
    ) -> Result<Carried, Fault> {
        let mut carried = Carried::default();
        let lineages: BTreeMap<&str, _> = plan.parameters.iter().map(|one| (one.name.as_str(), one)).collect();
        for (one, parameter) in self.parameters.iter_mut().zip(new) {
            let Some(planned) = lineages.get(one.name.as_str()) else { continue };
            let place = before.parameters.iter().position(|one| planned.source == one.name);
            let Some(place) = place.filter(|_| Lineage::of(planned) != Lineage::Fresh) else { continue };
            if how == GrownState::Reset {
                carried.reset.push(format!("{}: growth.state", one.name));
                continue;
            }
            let (from, source) = (&before.parameters[place], &old[place].tensor);
            let (group, old_group) = (&self.groups[one.group].group, &before.groups[from.group].group);
            if !Arc::ptr_eq(&old_group.loaded, &group.loaded) {
                carried.reset.push(format!("{}: another optimizer", one.name));
                continue;
            }
            if (&old_group.takes, &old_group.hyper.values) != (&group.takes, &group.hyper.values) {
                carried.regrouped.push(format!("{}: {} instead of {}", one.name, group.takes, old_group.takes));
            }
            let way = match Lineage::of(planned) {
                Lineage::Mapped(_) => Ok(Way::Mapped(&planned.maps)),
                Lineage::Merged(_) => moved(source, &parameter.tensor).map(Way::Moved),
                _ => Ok(Way::Kept),
            };
            let is_mixed = |slot: &SlotDescriptor| group.loaded.is_mixed(&slot.name);
            let after = way.and_then(|way| along(&from.state, &one.state, &way, &source.size(), &is_mixed));
            match after.map_err(model::refused)? {
                After::Reset(why) => carried.reset.push(format!("{}: {why}", one.name)),
                After::Carried(slots, approximated) => {
                    for (index, tensor) in slots {
                        one.state.tensors[index] = Some(tensor);
                    }
                    one.count = from.count;
                    carried.approximated.extend(approximated.iter().map(|slot| format!("{}: {slot}", one.name)));
                }
            }
        }
        if how == GrownState::Reset {
            return Ok(carried);
        }
        for memory in &mut self.memories {
            memory.take_over(&before.memories);
        }
        Ok(carried)
    }
}

/// How state follows its parameter.
enum Way<'a> {
    /// It is the same tensor.
    Kept,
    /// The values of the parameter moved by this; gradients are what they were.
    Moved(Tensor),
    /// Through a map per dimension.
    Mapped(&'a [DimensionMap]),
}

/// The state of one parameter after an operation.
enum After {
    /// Its slots by place, and the names of those that are approximated.
    Carried(Vec<(usize, Tensor)>, Vec<String>),
    /// It restarts, and why.
    Reset(String),
}

/// By how much values differ, in f64.
fn moved(old: &Tensor, new: &Tensor) -> Result<Tensor, TchError> {
    let double = |tensor: &Tensor| tensor.f_detach()?.f_to_kind(Kind::Double);
    double(new)?.f_sub(&double(old)?)
}

/// State that follows its parameter, which had the shape `old`, where the rule asks for `fresh` in the new network.
fn along(
    before: &State,
    fresh: &State,
    way: &Way<'_>,
    old: &[i64],
    is_mixed: &dyn Fn(&SlotDescriptor) -> bool,
) -> Result<After, TchError> {
    let is_zeroed = |map: &DimensionMap| map.grad_scale.iter().all(|scale| *scale == 0.0);
    if matches!(way, Way::Mapped(maps) if maps.iter().any(is_zeroed)) {
        return Ok(After::Reset("zeroed".into()));
    }
    let (mut slots, mut approximated) = (Vec::new(), Vec::new());
    for slot in fresh.slots() {
        let same = before.slots().iter().find(|other| is_same(other, slot));
        let source = same.and_then(|other| before.tensors[other.index as usize].as_ref());
        let Some(source) = source else { return Ok(After::Reset(format!("{} is new", slot.name))) };
        let begun = fresh.tensors[slot.index as usize].as_ref();
        let found = match way {
            Way::Kept => Some(Slot { tensor: source.shallow_clone(), is_exact: true }),
            Way::Moved(by) => shifted(slot, source, by)?,
            Way::Mapped(maps) => carried(slot, source, maps, old, begun)?,
        };
        let Some(found) = found else { return Ok(After::Reset(slot.name.to_string())) };
        let fits = |wanted: &Tensor| wanted.size() == found.tensor.size() && wanted.kind() == found.tensor.kind();
        if !begun.is_some_and(fits) {
            return Ok(After::Reset(format!("{} has another shape", slot.name)));
        }
        let is_mapped = matches!(way, Way::Mapped(maps) if !are_identities(maps, slot, old));
        if !found.is_exact || (is_mapped && is_mixed(slot)) {
            approximated.push(slot.name.to_string());
        }
        slots.push((slot.index as usize, found.tensor));
    }
    Ok(After::Carried(slots, approximated))
}

/// One slot of a parameter whose values moved: what holds values moves with them, what follows from gradients stays.
/// None where it depends on values in another way.
fn shifted(slot: &SlotDescriptor, source: &Tensor, by: &Tensor) -> Result<Option<Slot>, TchError> {
    let tensor = match (slot.shape_kind, slot.value_degree, slot.grad_degree) {
        (_, 0, _) => source.shallow_clone(),
        (0, 1, 0) => source.f_to_kind(Kind::Double)?.f_add(by)?.f_to_kind(source.kind())?,
        _ => return Ok(None),
    };
    Ok(Some(Slot { tensor, is_exact: true }))
}

/// A slot in the new network.
struct Slot {
    tensor: Tensor,
    is_exact: bool,
}

/// Whether two slots mean the same, of parameters that may differ in shape.
fn is_same(one: &SlotDescriptor, other: &SlotDescriptor) -> bool {
    let kind = |slot: &SlotDescriptor| slot.shape_kind.min(SQUARE);
    one.name == other.name
        && kind(one) == kind(other)
        && (one.value_degree, one.grad_degree) == (other.value_degree, other.grad_degree)
}

/// One slot through the maps of its parameter, whose old shape is `old`; none where it cannot be carried. Where a map
/// has no old index the slot is as in `begun`.
fn carried(
    slot: &SlotDescriptor,
    source: &Tensor,
    maps: &[DimensionMap],
    old: &[i64],
    begun: Option<&Tensor>,
) -> Result<Option<Slot>, TchError> {
    let axes: Vec<Axis> = maps.iter().map(|map| axis(map, slot)).collect();
    if axes.iter().flat_map(|axis| &axis.factor).any(|factor| !factor.is_finite()) {
        return Ok(None);
    }
    let is_identity = are_identities(maps, slot, old);
    let plain = |is_exact| Ok(Some(Slot { tensor: mapped(source, &identity(&source.size()), 1.0)?, is_exact }));
    match (slot.shape_kind, &axes[..], old) {
        (0, ..) => Ok(Some(Slot { tensor: mapped_or(source, &axes, 1.0, begun)?, is_exact: !begins_fresh(maps) })),
        (5 | NUMBER, ..) => plain(is_identity || (slot.value_degree, slot.grad_degree) == (0, 0)),
        _ if is_identity => plain(true),
        (1, [leading @ .., rows, columns], [.., n]) => {
            over(source, &[leading, std::slice::from_ref(rows)].concat(), columns, *n, begun)
        }
        (2, [leading @ .., rows, columns], [.., n, _]) => {
            over(source, &[leading, std::slice::from_ref(columns)].concat(), rows, *n, begun)
        }
        _ => Ok(None),
    }
}

/// A slot that is a mean over the dimension of `summed`, of `n` old indices.
fn over(
    source: &Tensor,
    axes: &[Axis],
    summed: &Axis,
    n: i64,
    begun: Option<&Tensor>,
) -> Result<Option<Slot>, TchError> {
    let mut parts = vec![0.0; n as usize];
    let known = || summed.index.iter().zip(&summed.factor).filter(|(index, _)| **index >= 0);
    for (index, factor) in known() {
        parts[*index as usize] += factor;
    }
    let mean = parts.iter().sum::<f64>() / known().count().max(1) as f64;
    let even = parts.iter().all(|part| (part - parts[0]).abs() <= 1e-12 * parts[0].abs());
    let is_exact = even && known().count() == summed.index.len();
    Ok(Some(Slot { tensor: mapped_or(source, axes, mean, begun)?, is_exact }))
}

/// Whether the slot stays as it is.
fn are_identities(maps: &[DimensionMap], slot: &SlotDescriptor, old: &[i64]) -> bool {
    maps.iter().zip(old).all(|(map, size)| axis(map, slot).is_identity(*size))
}

/// What a map does to a slot of these degrees.
fn axis(map: &DimensionMap, slot: &SlotDescriptor) -> Axis {
    let factor = |(value, grad): (&f64, &f64)| value.powi(slot.value_degree) * grad.powi(slot.grad_degree);
    Axis { index: map.index.to_vec(), factor: map.value_scale.iter().zip(&map.grad_scale).map(factor).collect() }
}

fn identity(sizes: &[i64]) -> Vec<Axis> {
    sizes.iter().map(|size| Axis { index: (0..*size).collect(), factor: vec![1.0; *size as usize] }).collect()
}
