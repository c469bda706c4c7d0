//! The recorded expression of a rule as something that makes steps: slow, plain, without the plugin's kernels.
//! Asks the subject it was made of for nothing but declarations.

use super::numbers::{numel, rounded};
use super::subject::{Run, Snapshot, Start, Subject, Way};
use super::verdict::Trouble;
use crate::Dtype;
use crate::abi::{Descriptor, SlotDescriptor};
use crate::cpu::{from_bf16, rows_of, sum, to_bf16};
use crate::tape::{self, Node};

/// A subject's expression.
pub struct Interpreted<'s> {
    of: &'s dyn Subject,
}

impl<'s> Interpreted<'s> {
    /// The expression of a rule over elements.
    pub fn of(subject: &'s dyn Subject) -> Interpreted<'s> {
        Interpreted { of: subject }
    }
}

impl Subject for Interpreted<'_> {
    fn descriptor(&self) -> &Descriptor {
        self.of.descriptor()
    }
    fn accepts(&self, shape: &[i64]) -> bool {
        self.of.accepts(shape)
    }
    fn slots(&self, hyper: &[f64], shape: &[i64]) -> Result<Vec<SlotDescriptor>, Trouble> {
        self.of.slots(hyper, shape)
    }
    fn narrow(&self, hyper: &[f64], shape: &[i64]) -> Result<u64, Trouble> {
        self.of.narrow(hyper, shape)
    }
    fn record(&self, hyper: &[f64]) -> Result<Option<Vec<Node>>, Trouble> {
        self.of.record(hyper)
    }
    fn memory(&self, hyper: &[f64]) -> Result<Vec<f64>, Trouble> {
        self.of.memory(hyper)
    }
    fn sums_over_all(&self) -> Option<bool> {
        self.of.sums_over_all()
    }
    fn skips_non_finite(&self) -> bool {
        false
    }
    fn begin<'a>(&'a self, hyper: &[f64], start: &[Start], way: Way) -> Result<Box<dyn Run + 'a>, Trouble> {
        let nodes = self.of.record(hyper)?.ok_or_else(|| Trouble::error("there is no expression"))?;
        let mut parameters = Vec::new();
        for start in start {
            let (slots, memory) = parted(self.of.slots(hyper, &start.shape)?);
            let places = slots.iter().map(|slot| slot.index as usize + 1).max().unwrap_or(0);
            let narrow = if way.narrow { self.of.narrow(hyper, &start.shape)? } else { 0 };
            let mut state = vec![vec![0.0; numel(&start.shape)]; places];
            for slot in &slots {
                let fresh = fresh(slot, start).into_iter().map(|value| rounded(value, way.slot(narrow, slot)));
                state[slot.index as usize] = fresh.collect();
            }
            parameters.push(Parameter { x: start.values.clone(), state, slots, memory, narrow, count: 0 });
        }
        let memory = self.of.memory(hyper)?;
        let over_all = self.of.sums_over_all();
        Ok(Box::new(Interpretation { nodes, hyper: hyper.to_vec(), parameters, memory, over_all, dtype: way.dtype }))
    }
    fn writes_outside(&self, _: &[f64], _: &[i64], _: Way) -> Result<Option<String>, Trouble> {
        Ok(None)
    }
}

/// A slot before the first step.
pub(super) fn fresh(slot: &SlotDescriptor, start: &Start) -> Vec<f64> {
    match slot.start {
        2 => start.values.clone(),
        1 => vec![slot.fill; start.values.len()],
        _ => vec![0.0; start.values.len()],
    }
}

/// Numbers that are kept of one parameter, each with its name.
pub(super) type Memory = Vec<(String, f64)>;

/// The slots of a parameter, and its numbers before the first step.
pub(super) fn parted(slots: Vec<SlotDescriptor>) -> (Vec<SlotDescriptor>, Memory) {
    let (numbers, slots): (Vec<_>, Vec<_>) = slots.into_iter().partition(SlotDescriptor::is_number);
    (slots, numbers.iter().map(|number| (number.name.to_string(), number.start_number())).collect())
}

struct Parameter {
    x: Vec<f64>,
    state: Vec<Vec<f64>>,
    slots: Vec<SlotDescriptor>,
    memory: Memory,
    /// Slots in bf16, as bits.
    narrow: u64,
    count: u64,
}

struct Interpretation {
    nodes: Vec<Node>,
    hyper: Vec<f64>,
    parameters: Vec<Parameter>,
    memory: Vec<f64>,
    over_all: Option<bool>,
    dtype: Dtype,
}

impl Interpretation {
    /// The sums of one parameter.
    fn sums(&self, parameter: &Parameter, g: &[f64], step: &[f64]) -> Vec<f64> {
        let numbers = self.numbers(parameter, step, &[]);
        let scalars = tape::scalars(&self.nodes, &self.hyper, &numbers);
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for (i, g) in g.iter().enumerate() {
            let old: Vec<f64> = parameter.state.iter().map(|slot| slot[i]).collect();
            let shares: Vec<f64> = if self.dtype == Dtype::F64 {
                tape::terms_f64(&self.nodes, &scalars, parameter.x[i], *g, &old)
            } else {
                let old: Vec<f32> = old.iter().map(|value| *value as f32).collect();
                let shares = tape::terms_f32(&self.nodes, &scalars, parameter.x[i] as f32, *g as f32, &old);
                shares.into_iter().map(f64::from).collect()
            };
            columns.resize(shares.len(), Vec::new());
            columns.iter_mut().zip(shares).for_each(|(column, share)| column.push(share));
        }
        columns.iter().map(|column| sum(&rows_of(column))).collect()
    }

    /// t, numel, grad_norm, sums, memory.
    fn numbers(&self, parameter: &Parameter, step: &[f64], sums: &[f64]) -> Vec<f64> {
        let count = self.nodes.iter().filter(|node| node.operation() == Some(tape::Op::OutSum)).count();
        let mut numbers = step.to_vec();
        numbers.extend((0..count).map(|k| sums.get(k).copied().unwrap_or(0.0)));
        numbers.extend(&self.memory);
        numbers.extend(parameter.memory.iter().map(|(_, value)| value));
        numbers
    }
}

impl Run for Interpretation {
    fn step(&mut self, grads: &[Vec<f64>], norm: f64) -> Result<(), Trouble> {
        let step = |parameter: &Parameter| [(parameter.count + 1) as f64, parameter.x.len() as f64, norm];
        let mut sums = vec![Vec::new(); self.parameters.len()];
        if self.over_all.is_some() {
            let pairs = self.parameters.iter().zip(grads);
            sums = pairs.map(|(parameter, g)| self.sums(parameter, g, &step(parameter))).collect();
        }
        if self.over_all == Some(true) {
            let mut total = vec![0.0; sums.first().map_or(0, Vec::len)];
            for sums in &sums {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
            let numel = self.parameters[0].x.len() as f64;
            let known =
                self.numbers(&self.parameters[0], &[(self.parameters[0].count + 1) as f64, numel, norm], &total);
            self.memory = tape::advanced(&self.nodes, &tape::scalars(&self.nodes, &self.hyper, &known));
            sums.iter_mut().for_each(Vec::clear);
        }
        for index in 0..self.parameters.len() {
            let known = |all: &Self| {
                let parameter = &all.parameters[index];
                tape::scalars(&all.nodes, &all.hyper, &all.numbers(parameter, &step(parameter), &sums[index]))
            };
            if !self.parameters[index].memory.is_empty() {
                let advanced = tape::advanced(&self.nodes, &known(self));
                let memory = &mut self.parameters[index].memory;
                memory.iter_mut().zip(advanced).for_each(|((_, number), new)| *number = new);
            }
            let scalars = known(self);
            let (nodes, dtype, parameter) = (&self.nodes, self.dtype, &mut self.parameters[index]);
            for (i, g) in grads[index].iter().enumerate() {
                let old: Vec<f64> = parameter.state.iter().map(|slot| slot[i]).collect();
                let (x, new) = element(nodes, &scalars, dtype, parameter.x[i], *g, &old);
                parameter.x[i] = x;
                for slot in &parameter.slots {
                    let (place, new) = (slot.index as usize, new[slot.index as usize]);
                    let narrow = parameter.narrow >> place & 1 != 0;
                    parameter.state[place][i] = if narrow { rounded(new, Dtype::Bf16) } else { new };
                }
            }
            parameter.count += 1;
        }
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        let named = |parameter: &Parameter| -> Vec<(String, Vec<f64>)> {
            let slots = parameter.slots.iter();
            let slots = slots.map(|slot| (slot.name.to_string(), parameter.state[slot.index as usize].clone()));
            slots.chain(parameter.memory.iter().map(|(name, number)| (name.clone(), vec![*number]))).collect()
        };
        Snapshot {
            parameters: self.parameters.iter().map(|parameter| parameter.x.clone()).collect(),
            slots: self.parameters.iter().map(named).collect(),
            memory: self.memory.clone(),
            counts: self.parameters.iter().map(|parameter| parameter.count).collect(),
        }
    }

    fn resume(&mut self, _: &Snapshot) -> Result<(), Trouble> {
        Err(Trouble::error("an expression keeps no state to load"))
    }

    fn state_bytes(&self) -> u64 {
        0
    }

    fn changed_form(&self) -> Option<String> {
        None
    }
}

/// One element in an element type: bf16 is computed in f32 and rounded once.
fn element(nodes: &[Node], scalars: &[f64], dtype: Dtype, x: f64, g: f64, state: &[f64]) -> (f64, Vec<f64>) {
    if dtype == Dtype::F64 {
        return tape::element_f64(nodes, scalars, x, g, state);
    }
    let state: Vec<f32> = state.iter().map(|value| *value as f32).collect();
    let (x, state) = tape::element_f32(nodes, scalars, x as f32, g as f32, &state);
    let x = if dtype == Dtype::Bf16 { from_bf16(to_bf16(x)) } else { x };
    (f64::from(x), state.into_iter().map(f64::from).collect())
}
