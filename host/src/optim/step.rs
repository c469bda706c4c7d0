//! One step of all parameter groups.
//! Does not decide who takes what (`param_groups.rs`) or how a rule computes (`rules`, `tensor::whole`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sdk::tape::Node;
use tch::{Device, TchError, Tensor};

use super::{
    clip,
    memory::{self, SharedMemory},
    narrow,
    param_groups::{self, Group, GroupRow, Source},
    state::{self, State},
};
use crate::{
    config::Settings,
    fault::{Exit, Fault, Faults},
    model::Parameter,
    registry::{self, Catalogue, Loaded},
    rules::{Memory, Pass, Rule, Target, Touched},
    tensor::{
        Batch, Scope,
        whole::{self, Arguments, WholeRule},
    },
};

/// Parameter groups, and the state and step count of every parameter.
pub struct Optim {
    pub(super) groups: Vec<Planned>,
    /// Per parameter, in the order of the model.
    pub(super) parameters: Vec<PerParameter>,
    pub(super) memories: Vec<SharedMemory>,
    pass: Pass,
}

pub(super) struct Planned {
    pub(super) group: Group,
    pub(super) how: How,
    pub(super) lr: Option<usize>,
}

/// How a group's optimizer is run.
pub(super) enum How {
    Elementwise { rule: Rule, expression: Vec<Node>, touched: Touched, evaluation: Option<Vec<Node>> },
    Whole,
}

pub(super) struct PerParameter {
    pub(super) name: String,
    numel: u64,
    pub(super) group: usize,
    pub(super) state: State,
    /// Steps taken by this parameter.
    pub(super) count: u64,
}

/// What one step did, in tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Changed by their optimizer.
    pub updated: usize,
    /// Frozen.
    pub frozen: usize,
    /// Not reached by the backward pass.
    pub without_grad: usize,
    /// Names of those left out because their gradient is not finite.
    pub skipped: Vec<String>,
}

impl Optim {
    /// Groups the parameters and makes their state. `source` says where the value of a key such as `optimizer.lr` or
    /// `group.0.lr` came from.
    ///
    /// # Errors
    /// Everything that is wrong with groups and hyper-parameters, and what plugins object to.
    pub fn plan(
        settings: &Settings,
        source: Source<'_>,
        catalogue: &Catalogue,
        params: &[Parameter],
    ) -> Result<Optim, Faults> {
        let groups = param_groups::plan(settings, source, catalogue, params)?;
        let mut faults = Faults::none();
        let mut of_parameter: Vec<Option<PerParameter>> = params.iter().map(|_| None).collect();
        let mut planned = Vec::new();
        for (index, group) in groups.into_iter().enumerate() {
            let Some(how) = faults.take(how(&group)) else { continue };
            for &member in &group.members {
                let param = &params[member];
                let of_shape = group.loaded.slots_of(&group.hyper.values, &param.tensor.size());
                let Some(slots) = faults.take(of_shape) else { continue };
                let Some(narrow) = faults.take(narrow::slots(&group, &param.tensor, &slots)) else { continue };
                let state = State::new(&group.loaded.label, &param.name, &slots, narrow, &param.tensor);
                if let Some(state) = faults.take(state) {
                    of_parameter[member] = Some(PerParameter {
                        name: param.name.clone(),
                        numel: param.tensor.numel() as u64,
                        group: index,
                        state,
                        count: 0,
                    });
                }
            }
            let lr = group.loaded.hyper_index("lr");
            planned.push(Planned { group, how, lr });
        }
        let formats = |index: usize| of_parameter.iter().flatten().filter(move |one| one.group == index);
        let narrows = |index: usize| formats(index).any(|one| !one.state.by_format().0.is_empty());
        let groups: Vec<(&Group, bool)> =
            planned.iter().enumerate().map(|(index, planned)| (&planned.group, narrows(index))).collect();
        if faults.0.is_empty() {
            faults.take(narrow::has_effect(&groups));
        }
        let memories = faults.take(memory::of_all(&planned)).unwrap_or_default();
        faults.0.extend(alone_in_memory(params).err());
        faults.check()?;
        let parameters = of_parameter.into_iter().flatten().collect();
        Ok(Optim { groups: planned, parameters, memories, pass: Pass::default() })
    }

    /// Steps by this pass: another chunk size or instruction set, which change no bit.
    pub fn run_by(self, pass: Pass) -> Optim {
        Optim { pass, ..self }
    }

    /// The table of groups, in the order of the plan.
    pub fn table(&self) -> Vec<GroupRow> {
        let row = |(index, planned): (usize, &Planned)| {
            let Group { takes, loaded, hyper, members, .. } = &planned.group;
            let tensors: Vec<&PerParameter> = self.parameters.iter().filter(|one| one.group == index).collect();
            let shown = loaded.descriptor.hyper.iter().zip(&hyper.values).zip(&hyper.sources).map(
                |((schema, value), source)| {
                    (schema.name.to_string(), registry::hyper::text(schema, *value), source.clone())
                },
            );
            GroupRow {
                takes: takes.clone(),
                optimizer: loaded.label.clone(),
                tensors: members.len(),
                parameters: tensors.iter().map(|one| one.numel).sum(),
                hyper: shown.collect(),
                state_bytes: tensors.iter().map(|one| one.state.bytes()).sum(),
                narrow: named_formats(&tensors),
            }
        };
        self.groups.iter().enumerate().map(row).collect()
    }

    /// One step. A parameter that is frozen, has no gradient, or is to be skipped keeps its values, state and step
    /// count.
    ///
    /// * `lr_factor`: the schedule's factor on every group's `lr`.
    /// * `grad_norm`: L2 norm of all gradients before clipping.
    /// * `skip`: per parameter, as [`clip::GradNorm::non_finite`].
    ///
    /// # Errors
    /// A failure of a plugin, after which parameters are in an undefined state; the last checkpoint is whole.
    pub fn step(
        &mut self,
        params: &mut [Parameter],
        lr_factor: f64,
        grad_norm: f64,
        skip: &[bool],
    ) -> Result<StepReport, Fault> {
        let same = params.len() == self.parameters.len() && skip.len() == params.len();
        if !same || params.iter().zip(&self.parameters).any(|(param, planned)| param.name != planned.name) {
            return Err(Fault::new(
                "P014",
                Exit::Bug,
                "the model's parameters are not those the optimizer was planned for",
            ));
        }
        let mut report = StepReport::default();
        let mut grads: Vec<Option<Tensor>> = Vec::with_capacity(params.len());
        for (param, skip) in params.iter().zip(skip) {
            let grad = if *skip { None } else { clip::grad(param) };
            match (&grad, param.frozen, skip) {
                (Some(_), ..) => report.updated += 1,
                (_, true, _) => report.frozen += 1,
                (_, _, true) => report.skipped.push(param.name.clone()),
                _ => report.without_grad += 1,
            }
            grads.push(grad);
        }
        let hyper: Vec<Vec<f64>> = self.groups.iter().map(|planned| planned.scaled(lr_factor)).collect();
        self.step_elementwise(params, &grads, &hyper, grad_norm)?;
        self.step_whole(params, &grads, &hyper, grad_norm)?;
        for (planned, grad) in self.parameters.iter_mut().zip(&grads) {
            planned.count += u64::from(grad.is_some());
        }
        Ok(report)
    }

    /// One pass per rule, over the tensors of all groups that it runs.
    fn step_elementwise(
        &mut self,
        params: &[Parameter],
        grads: &[Option<Tensor>],
        hyper: &[Vec<f64>],
        grad_norm: f64,
    ) -> Result<(), Fault> {
        let mut done = vec![false; self.groups.len()];
        for first in 0..self.groups.len() {
            let planned = &self.groups[first];
            let How::Elementwise { rule, .. } = &planned.how else { continue };
            if done[first] {
                continue;
            }
            let mut members = Vec::new();
            for (index, other) in self.groups.iter().enumerate().skip(first) {
                if Arc::ptr_eq(&other.group.loaded, &planned.group.loaded) {
                    done[index] = true;
                    let with_grad = other.group.members.iter().filter(|&&member| grads[member].is_some());
                    members.extend(with_grad.map(|&member| (index, member)));
                }
            }
            if members.is_empty() {
                continue;
            }
            let members = Members {
                groups: &self.groups,
                parameters: &self.parameters,
                params,
                grads,
                hyper,
                grad_norm,
                members,
            };
            let shared = self.memories.iter_mut().find(|memory| memory.is_of(&planned.group.loaded));
            let numbers = match (rule.memory(), shared) {
                (Memory::OfEach, _) => members.numbers_of_each(rule, &mut self.pass)?,
                (Memory::OfAll, Some(shared)) => members.numbers_of_all(rule, &mut self.pass, shared)?,
                _ => vec![Vec::new(); members.members.len()],
            };
            self.pass.run(rule, &members.targets(&numbers))?;
            if rule.memory() == Memory::OfEach {
                for ((_, member), numbers) in members.members.into_iter().zip(&numbers) {
                    self.parameters[member].state.set_numbers(numbers);
                }
            }
        }
        Ok(())
    }

    /// The weights to evaluate at, by index of the parameter, where they are others than those that are trained.
    /// Parameters and state stay as they are.
    ///
    /// # Errors
    /// A failure of a plugin.
    pub fn eval_weights(&mut self, params: &[Parameter]) -> Result<Vec<(usize, Tensor)>, Fault> {
        let mut weights = Vec::new();
        for planned in &self.groups {
            let How::Elementwise { rule, evaluation: Some(expression), .. } = &planned.how else { continue };
            let hyper = planned.scaled(1.0);
            let copies: Vec<(usize, Tensor)> = tch::no_grad(|| {
                planned.group.members.iter().map(|&member| (member, params[member].tensor.detach().copy())).collect()
            });
            let targets: Vec<Target<'_>> = copies
                .iter()
                .filter(|(member, _)| self.parameters[*member].count > 0)
                .map(|(member, x)| {
                    let one = &self.parameters[*member];
                    let step = [one.count as f64, one.numel as f64, 0.0];
                    let state = one.state.elementwise();
                    Target {
                        name: &one.name,
                        x,
                        g: x.shallow_clone(),
                        state,
                        hyper: &hyper,
                        step,
                        memory: &[],
                        expression,
                        touched: Touched::ALL,
                    }
                })
                .collect();
            self.pass.prepare_for_eval(rule, &targets)?;
            drop(targets);
            weights.extend(copies);
        }
        Ok(weights)
    }

    /// Names of the parameters that are evaluated at other weights than are trained.
    pub fn evaluated_elsewhere(&self) -> Vec<&str> {
        let elsewhere =
            |one: &&PerParameter| matches!(&self.groups[one.group].how, How::Elementwise { evaluation: Some(_), .. });
        self.parameters.iter().filter(elsewhere).map(|one| one.name.as_str()).collect()
    }

    /// Parameters of one group, shape, element type and step count are one batch, which grows to so many elements as [`room`]
    /// says.
    fn step_whole(
        &mut self,
        params: &[Parameter],
        grads: &[Option<Tensor>],
        hyper: &[Vec<f64>],
        grad_norm: f64,
    ) -> Result<(), Fault> {
        for (index, hyper) in hyper.iter().enumerate() {
            let planned = &self.groups[index];
            let How::Whole = planned.how else { continue };
            let loaded = planned.group.loaded.clone();
            let mut batches: Vec<(BatchKey, Vec<usize>)> = Vec::new();
            for &member in &planned.group.members {
                if grads[member].is_none() {
                    continue;
                }
                let x = &params[member].tensor;
                let key = (x.size(), x.kind(), x.device(), self.parameters[member].count);
                let most = room(&loaded, x.device());
                let has_room = |members: &[usize]| {
                    members.len() < MEMBERS && x.numel() as u64 * (members.len() as u64 + 1) <= most
                };
                match batches.iter_mut().find(|(known, members)| *known == key && has_room(members)) {
                    Some((_, members)) => members.push(member),
                    None => batches.push((key, vec![member])),
                }
            }
            for (_, members) in batches {
                self.step_batch(&loaded, params, grads, hyper, grad_norm, &members)?;
            }
        }
        Ok(())
    }

    fn step_batch(
        &mut self,
        loaded: &Loaded,
        params: &[Parameter],
        grads: &[Option<Tensor>],
        hyper: &[f64],
        grad_norm: f64,
        members: &[usize],
    ) -> Result<(), Fault> {
        let Some(table) = loaded.optimizer() else { return Ok(()) };
        loaded.ready()?;
        let named = |fault: Fault| {
            let names: Vec<&str> = members.iter().map(|&member| params[member].name.as_str()).collect();
            fault.note("optimizer", format!("`{}`", loaded.label)).note("parameters", names.join(", "))
        };
        let torch = |error: TchError| {
            let text = error.to_string();
            let fault = Fault::new("E040", Exit::Environment, format!("a step of `{}` cannot be done", loaded.label));
            named(fault.note("libtorch", text.lines().next().unwrap_or_default()))
        };
        let rule = WholeRule {
            label: &loaded.label,
            table,
            slots: loaded.slots_by_shape(),
            fault: &|status, stage| loaded.fault(status, stage),
        };
        tch::no_grad(|| {
            let parameters = || members.iter().map(|&member| &self.parameters[member]);
            let x: Vec<&Tensor> = members.iter().map(|&member| &params[member].tensor).collect();
            let g: Vec<&Tensor> = members.iter().filter_map(|&member| grads[member].as_ref()).collect();
            let (x, g) = (Batch::of(&x).map_err(torch)?, Batch::of(&g).map_err(torch)?);
            let places = self.parameters[members[0]].state.tensors.len();
            let state = (0..places).map(|place| {
                let slots: Vec<&Tensor> = parameters().filter_map(|one| one.state.tensors[place].as_ref()).collect();
                if slots.is_empty() { Ok(None) } else { Batch::of(&slots).map(Some) }
            });
            let state = state.collect::<Result<Vec<_>, TchError>>().map_err(torch)?;
            let step = self.parameters[members[0]].next_step(grad_norm);
            let (new_x, new_state) =
                whole::step_whole(&Scope::enter(), Arguments::Replaced, &rule, hyper, step, &x, &g, &state)
                    .map_err(named)?;
            for (index, &member) in members.iter().enumerate() {
                let taken = |new: &Batch, old: &Tensor| taken_over(new, index, old).map_err(torch);
                if let Some(new) = taken(&new_x, &params[member].tensor)? {
                    // Other handles to the parameter see it.
                    params[member].tensor.shallow_clone().f_set_data(&new).map_err(torch)?;
                }
                for (slot, new) in self.parameters[member].state.tensors.iter_mut().zip(&new_state) {
                    if let (Some(slot), Some(new)) = (slot, new)
                        && let Some(new) = taken(new, slot)?
                    {
                        *slot = new;
                    }
                }
            }
            Ok(())
        })
    }

    /// Every state tensor under `<parameter>/<slot>`, in the order of the model.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named = self.parameters.iter().flat_map(|one| one.state.named(&one.name));
        let memory =
            self.memories.iter().flat_map(|memory| memory.named().map(|(key, value)| (key, Tensor::from(value))));
        named.map(|(key, tensor)| (key, tensor.shallow_clone())).chain(memory).collect()
    }

    /// Steps taken by each parameter.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.parameters.iter().map(|one| (one.name.clone(), one.count)).collect()
    }

    /// Goes on from a saved state: all of it, or nothing is changed.
    ///
    /// # Errors
    /// Every missing, unknown or ill-fitting tensor and step count.
    pub fn load_state(
        &mut self,
        mut tensors: Vec<(String, Tensor)>,
        counts: BTreeMap<String, u64>,
    ) -> Result<(), Faults> {
        let mut faults = Faults::none();
        let mut values = Vec::new();
        for memory in &self.memories {
            values.extend(faults.take(memory.taken_out_of(&mut tensors)));
        }
        faults.check()?;
        let planned: Vec<(&str, &State)> = self.parameters.iter().map(|one| (one.name.as_str(), &one.state)).collect();
        let checked = state::check(&planned, tensors, counts)?;
        let mut states: Vec<&mut State> = self.parameters.iter_mut().map(|one| &mut one.state).collect();
        let counts = checked.apply(&mut states);
        for (one, count) in self.parameters.iter_mut().zip(counts) {
            one.count = count;
        }
        for (memory, values) in self.memories.iter_mut().zip(values) {
            memory.set(values);
        }
        Ok(())
    }

    /// Bytes of optimizer state.
    pub fn state_bytes(&self) -> u64 {
        self.parameters.iter().map(|one| one.state.bytes()).sum()
    }
}

/// Most parameters in a batch: what is done for each of them is nothing beside the step then.
const MEMBERS: usize = 64;

/// Elements of a batch. Of a rule that goes by passes, what it says. Others have their batches copied into stacks: that pays where
/// a product of matrices is short, and on a card, which has many of them at once.
fn room(loaded: &Loaded, device: Device) -> u64 {
    const SHORT: u64 = 1 << 18;
    loaded.alone_from().unwrap_or(if device == Device::Cpu { SHORT } else { u64::MAX })
}

/// One tensor of a batch that a step gave, where it has memory of its own and is to be held instead of `old`; else `old` holds
/// its values by now.
fn taken_over(new: &Batch, index: usize, old: &Tensor) -> Result<Option<Tensor>, TchError> {
    let has_own = matches!(new, Batch::Apart(..)) || new.size()[0] == 1;
    let new = new.member(index)?;
    if new.data_ptr() == old.data_ptr() && new.stride() == old.stride() {
        return Ok(None);
    }
    if has_own {
        return Ok(Some(new));
    }
    old.shallow_clone().f_copy_(&new).map(|_| None)
}

/// What parameters of one batch have in common.
type BatchKey = (Vec<i64>, tch::Kind, tch::Device, u64);

impl Planned {
    /// The hyper-parameters of this step.
    fn scaled(&self, lr_factor: f64) -> Vec<f64> {
        let mut values = self.group.hyper.values.clone();
        if let Some(lr) = self.lr {
            values[lr] *= lr_factor;
        }
        values
    }
}

impl PerParameter {
    /// The numbers of the coming step, as `KernelCall::step`.
    pub(super) fn next_step(&self, grad_norm: f64) -> [f64; 3] {
        [(self.count + 1) as f64, self.numel as f64, grad_norm]
    }
}

/// Parameters that one rule steps, with all that a pass is told of them.
pub(super) struct Members<'a> {
    pub(super) groups: &'a [Planned],
    pub(super) parameters: &'a [PerParameter],
    params: &'a [Parameter],
    grads: &'a [Option<Tensor>],
    /// By group.
    pub(super) hyper: &'a [Vec<f64>],
    pub(super) grad_norm: f64,
    /// Each as its group and its own index. All have gradients.
    pub(super) members: Vec<(usize, usize)>,
}

impl Members<'_> {
    /// With the numbers that the rule keeps, a list per member.
    pub(super) fn targets<'t>(&'t self, numbers: &'t [Vec<f64>]) -> Vec<Target<'t>> {
        let target = |(&(group, member), memory): (&(usize, usize), &'t Vec<f64>)| {
            let How::Elementwise { expression, touched, .. } = &self.groups[group].how else { return None };
            let (g, one) = (self.grads[member].as_ref()?, &self.parameters[member]);
            Some(Target {
                name: &one.name,
                x: &self.params[member].tensor,
                g: g.shallow_clone(),
                state: one.state.elementwise(),
                hyper: &self.hyper[group],
                step: one.next_step(self.grad_norm),
                memory,
                expression,
                touched: *touched,
            })
        };
        self.members.iter().zip(numbers).filter_map(target).collect()
    }
}

/// Names of the slots in bf16, and of the others, of all these parameters.
fn named_formats(tensors: &[&PerParameter]) -> (Vec<String>, Vec<String>) {
    let (mut narrow, mut wide): (Vec<String>, Vec<String>) = Default::default();
    let add = |all: &mut Vec<String>, names: Vec<String>| {
        for name in names {
            if !all.contains(&name) {
                all.push(name);
            }
        }
    };
    for tensor in tensors {
        let (of_narrow, of_wide) = tensor.state.by_format();
        add(&mut narrow, of_narrow);
        add(&mut wide, of_wide);
    }
    (narrow, wide)
}

/// How a group is run.
fn how(group: &Group) -> Result<How, Fault> {
    let (loaded, hyper) = (&group.loaded, &group.hyper.values);
    let (Some(rule), Some(expression)) = (Rule::of(loaded), loaded.record(hyper)?) else {
        return Ok(How::Whole);
    };
    let evaluation = loaded.record_evaluation(hyper)?;
    let touched = Touched::of(&expression);
    Ok(How::Elementwise { rule, expression, touched, evaluation })
}

/// Two parameters in one memory would be stepped twice, from two threads.
fn alone_in_memory(params: &[Parameter]) -> Result<(), Fault> {
    let mut seen: HashMap<usize, &str> = HashMap::new();
    for param in params.iter().filter(|param| param.tensor.numel() > 0) {
        if let Some(other) = seen.insert(param.tensor.data_ptr() as usize, &param.name) {
            let text = format!("parameters `{other}` and `{}` share their memory", param.name);
            return Err(Fault::new("P014", Exit::Bug, text).hint("a tied tensor is one parameter under one name"));
        }
    }
    Ok(())
}
