//! Numbers that a rule keeps from step to step: of each tensor, or shared by all. How they move on, the rule's expression says.
//! Those of a tensor lie in its state; those that all share are here.

use std::sync::Arc;

use sdk::tape::{self, Node};
use tch::{Kind, Tensor};

use super::step::{How, Members, Planned};
use crate::{
    fault::{Exit, Fault, Faults},
    registry::Loaded,
    rules::{Memory, Pass, Rule},
};

/// The numbers of one rule that sums over all tensors it runs.
pub(super) struct SharedMemory {
    loaded: Arc<Loaded>,
    names: Vec<String>,
    values: Vec<f64>,
}

impl SharedMemory {
    /// Whether it is that of this label.
    pub(super) fn is_of(&self, loaded: &Arc<Loaded>) -> bool {
        Arc::ptr_eq(&self.loaded, loaded)
    }

    /// Every number with the key under which it is saved. No parameter's name has a colon.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, f64)> {
        let key = |name: &String| format!("optimizer:{}/{name}", self.loaded.label);
        self.names.iter().map(key).zip(self.values.iter().copied())
    }

    /// Takes its saved numbers out of a list of tensors.
    ///
    /// # Errors
    /// D040 and D042: every number that is missing, or is not one f64.
    pub(super) fn taken_out_of(&self, tensors: &mut Vec<(String, Tensor)>) -> Result<Vec<f64>, Faults> {
        let mut faults = Faults::none();
        let numbers = self.named().map(|(key, _)| take_number(tensors, &key));
        let values = numbers.filter_map(|number| faults.take(number)).collect();
        faults.check().map(|()| values)
    }

    /// Holds these from now on.
    pub(super) fn set(&mut self, values: Vec<f64>) {
        self.values = values;
    }

    /// Takes over what the same rule holds elsewhere, if it keeps the same numbers.
    pub(super) fn take_over(&mut self, others: &[SharedMemory]) {
        let same = others.iter().find(|other| other.is_of(&self.loaded) && other.names == self.names);
        if let Some(other) = same {
            self.values.clone_from(&other.values);
        }
    }
}

/// One memory per rule that has one, with the numbers of its first group.
pub(super) fn of_all(groups: &[Planned]) -> Result<Vec<SharedMemory>, Fault> {
    let mut memories: Vec<SharedMemory> = Vec::new();
    for Planned { group, how, .. } in groups {
        let How::Elementwise { rule, .. } = how else { continue };
        let known = memories.iter().any(|memory| memory.is_of(&group.loaded));
        if rule.memory() == Memory::OfAll && !known {
            let (names, values) = group.loaded.memory(&group.hyper.values)?.into_iter().unzip();
            memories.push(SharedMemory { loaded: group.loaded.clone(), names, values });
        }
    }
    Ok(memories)
}

impl Members<'_> {
    /// The numbers of every member after its sums are known.
    ///
    /// # Errors
    /// A failure of the plugin.
    pub(super) fn numbers_of_each(&self, rule: &Rule, pass: &mut Pass) -> Result<Vec<Vec<f64>>, Fault> {
        let own = self.members.iter().map(|&(_, member)| self.parameters[member].state.numbers());
        let mut numbers: Vec<Vec<f64>> = own.collect();
        let sums = pass.sums(rule, &self.targets(&numbers))?;
        for ((&(group, member), numbers), sums) in self.members.iter().zip(&mut numbers).zip(sums) {
            let How::Elementwise { expression, .. } = &self.groups[group].how else { continue };
            let step = self.parameters[member].next_step(self.grad_norm);
            *numbers = advanced(expression, &self.hyper[group], step, &sums, numbers);
        }
        Ok(numbers)
    }

    /// The numbers that all members share after the sums over all are known, once per member.
    ///
    /// # Errors
    /// A failure of the plugin.
    pub(super) fn numbers_of_all(
        &self,
        rule: &Rule,
        pass: &mut Pass,
        shared: &mut SharedMemory,
    ) -> Result<Vec<Vec<f64>>, Fault> {
        let each = |values: &Vec<f64>| vec![values.clone(); self.members.len()];
        let mut total: Vec<f64> = Vec::new();
        for sums in pass.sums(rule, &self.targets(&each(&shared.values)))? {
            total.resize(sums.len(), 0.0);
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        // The first of those with the largest `lr`, and the step of the tensor that has taken the most.
        let lr = |group: usize| self.groups[group].lr.map_or(0.0, |lr| self.hyper[group][lr]);
        let leads = |best: usize, &(group, _): &(usize, usize)| if lr(group) > lr(best) { group } else { best };
        let leader = self.members.iter().fold(self.members[0].0, leads);
        let steps = self.members.iter().map(|&(_, member)| self.parameters[member].next_step(self.grad_norm));
        let step = steps.max_by(|a, b| a[0].total_cmp(&b[0])).unwrap_or_default();
        if let How::Elementwise { expression, .. } = &self.groups[leader].how {
            shared.values = advanced(expression, &self.hyper[leader], step, &total, &shared.values);
        }
        Ok(each(&shared.values))
    }
}

/// The numbers that a rule keeps after a step of these sums.
fn advanced(expression: &[Node], hyper: &[f64], step: [f64; 3], sums: &[f64], numbers: &[f64]) -> Vec<f64> {
    let known: Vec<f64> = [&step, sums, numbers].concat();
    tape::advanced(expression, &tape::scalars(expression, hyper, &known))
}

/// Takes a saved number out of a list of tensors.
fn take_number(tensors: &mut Vec<(String, Tensor)>, key: &str) -> Result<f64, Fault> {
    let Some(place) = tensors.iter().position(|(known, _)| known == key) else {
        return Err(Fault::new("D040", Exit::Data, format!("optimizer state `{key}` is missing")));
    };
    let (_, tensor) = tensors.swap_remove(place);
    if tensor.kind() != Kind::Double || tensor.numel() != 1 {
        return Err(Fault::new(
            "D042",
            Exit::Data,
            format!("optimizer state `{key}` does not fit this run: not one f64"),
        ));
    }
    Ok(tensor.double_value(&[]))
}
