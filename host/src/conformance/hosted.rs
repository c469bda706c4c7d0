//! A loaded label as the checks see it: parameter groups, state, kernels and tables are those of a training step.
//! Checks nothing.

use std::sync::Arc;

use abi_stable::std_types::RResult;
use sdk::{
    Device, Dtype,
    abi::{Descriptor, SlotDescriptor},
    conformance::{Run, Snapshot, Start, Subject, Trouble, Way},
    tape::Node,
};
use tch::{Kind as Element, TchError, Tensor};

use super::{card, guarded};
use crate::{
    config::{
        knobs,
        settings::{GroupSettings, StateFormat},
    },
    fault::{Fault, Faults},
    model::{Parameter, Role},
    optim::{Optim, clip},
    registry::{self, Catalogue, Loaded, hyper},
    rules::{InstructionSet, Pass, threads},
};

/// A label that was loaded.
pub struct Hosted {
    loaded: Arc<Loaded>,
}

impl Hosted {
    /// Of a loaded optimizer.
    pub fn new(loaded: Arc<Loaded>) -> Hosted {
        Hosted { loaded }
    }
}

/// What a fault is to a check.
pub(super) fn trouble(fault: &Fault) -> Trouble {
    let notes = fault.notes.iter().filter(|(name, _)| *name != "library");
    let notes: String = notes.map(|(name, text)| format!("; {name}: {text}")).collect();
    Trouble { panicked: registry::of_panic(fault), text: format!("{} [{}]{notes}", fault.message, fault.code) }
}

fn troubles(faults: &Faults) -> Trouble {
    faults.0.first().map_or_else(|| Trouble::error("no fault is told"), trouble)
}

fn torch(error: TchError) -> Trouble {
    Trouble::error(error.to_string().lines().next().unwrap_or_default())
}

/// The element type of a parameter.
pub(super) fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F32 => Element::Float,
        Dtype::F64 => Element::Double,
        Dtype::Bf16 => Element::BFloat16,
    }
}

/// The pass that makes steps this way.
pub(super) fn pass(way: Way) -> Result<Pass, Trouble> {
    if !threads::set_count(way.threads) {
        return Err(Trouble::error(format!("libtorch refuses {} threads", way.threads)));
    }
    Ok(Pass::new(way.chunk, InstructionSet::from(way.isa)))
}

fn tensor(values: &[f64], shape: &[i64], kind: Element, device: tch::Device) -> Result<Tensor, Trouble> {
    let flat =
        Tensor::f_from_slice(values).and_then(|flat| flat.f_reshape(shape)?.f_to_kind(kind)?.f_to_device(device));
    flat.map_err(torch)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().to_device(tch::Device::Cpu).to_kind(Element::Double).reshape([-1]);
    Vec::try_from(flat).unwrap_or_default()
}

impl Subject for Hosted {
    fn descriptor(&self) -> &Descriptor {
        &self.loaded.descriptor
    }

    fn accepts(&self, shape: &[i64]) -> bool {
        self.loaded.optimizer().is_none_or(|table| matches!((table.accepts)(shape.into()), RResult::ROk(())))
    }

    fn slots(&self, hyper: &[f64], shape: &[i64]) -> Result<Vec<SlotDescriptor>, Trouble> {
        self.loaded.slots_of(hyper, shape).map_err(|fault| trouble(&fault))
    }

    fn narrow(&self, hyper: &[f64], shape: &[i64]) -> Result<u64, Trouble> {
        let slots = self.slots(hyper, shape)?;
        let narrow = self.loaded.narrow(hyper, shape, &slots).map_err(|fault| trouble(&fault))?;
        Ok(narrow.unwrap_or(0))
    }

    fn record(&self, hyper: &[f64]) -> Result<Option<Vec<Node>>, Trouble> {
        self.loaded.record(hyper).map_err(|fault| trouble(&fault))
    }

    fn memory(&self, hyper: &[f64]) -> Result<Vec<f64>, Trouble> {
        if !self.loaded.is_global() {
            return Ok(Vec::new());
        }
        let memory = self.loaded.memory(hyper).map_err(|fault| trouble(&fault))?;
        Ok(memory.into_iter().map(|(_, value)| value).collect())
    }

    fn sums_over_all(&self) -> Option<bool> {
        self.loaded.sums().map(|_| self.loaded.is_global())
    }

    fn skips_non_finite(&self) -> bool {
        true
    }

    fn begin<'a>(&'a self, hyper: &[f64], start: &[Start], way: Way) -> Result<Box<dyn Run + 'a>, Trouble> {
        let device = match way.device {
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda => card::open()?,
        };
        let mut params = Vec::new();
        for (index, start) in start.iter().enumerate() {
            let tensor = tensor(&start.values, &start.shape, element(way.dtype), device)?.set_requires_grad(true);
            // The first backward pass makes the gradient's memory, which steps then fill.
            let sum = tensor.f_sum(tensor.kind()).map_err(torch)?;
            sum.f_backward().map_err(torch)?;
            let name = format!("p{index}");
            params.push(Parameter { name, role: Role::Matrix, layer: None, tensor, frozen: false });
        }
        let optim = self.plan(hyper, &params, way.narrow)?.run_by(pass(way)?);
        Ok(Box::new(Steps { optim, params, form: (element(way.dtype), device), start: start.to_vec() }))
    }

    fn writes_outside(&self, hyper: &[f64], shape: &[i64], way: Way) -> Result<Option<String>, Trouble> {
        guarded::writes_outside(&self.loaded, hyper, shape, way)
    }
}

impl Hosted {
    fn plan(&self, hyper: &[f64], params: &[Parameter], narrow: bool) -> Result<Optim, Trouble> {
        let mut settings = knobs::builtin();
        settings.optimizer.label.clone_from(&self.loaded.label);
        let values = self.loaded.schema().iter().zip(hyper);
        settings.optimizer.hyper =
            values.map(|(schema, value)| (schema.name.to_string(), hyper::value(schema, *value))).collect();
        settings.state_format = if narrow { StateFormat::Bf16 } else { StateFormat::F32 };
        let all = Some("*".to_string());
        settings.group = vec![GroupSettings {
            pattern: all,
            roles: Vec::new(),
            optimizer: None,
            state_format: None,
            hyper: Default::default(),
        }];
        let catalogue: Catalogue = std::iter::once(self.loaded.clone()).collect();
        let source = |_: &str| "conformance".to_string();
        Optim::plan(&settings, &source, &catalogue, params).map_err(|faults| troubles(&faults))
    }
}

struct Steps {
    optim: Optim,
    params: Vec<Parameter>,
    form: (Element, tch::Device),
    start: Vec<Start>,
}

impl Run for Steps {
    fn step(&mut self, grads: &[Vec<f64>], norm: f64) -> Result<(), Trouble> {
        let (kind, device) = self.form;
        for (param, values) in self.params.iter().zip(grads) {
            let fresh = tensor(values, &param.tensor.size(), kind, device)?;
            let mut grad = param.tensor.grad();
            tch::no_grad(|| grad.f_copy_(&fresh).map(drop)).map_err(torch)?;
        }
        let found = clip::measure(&self.params).map_err(|fault| trouble(&fault))?;
        let norm = if norm.is_finite() { norm } else { found.norm };
        self.optim.step(&mut self.params, 1.0, norm, &found.non_finite).map_err(|fault| trouble(&fault))?;
        for (param, values) in self.params.iter().zip(grads) {
            let after = numbers(&param.tensor.grad());
            let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
            if !after.iter().zip(values).all(same) {
                return Err(Trouble::error("the gradient is not what it was before the step"));
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        let (mut slots, mut memory) = (vec![Vec::new(); self.params.len()], Vec::new());
        for (key, tensor) in self.optim.state() {
            let values = numbers(&tensor);
            let of = key.split_once('/').and_then(|(name, slot)| {
                let index = self.params.iter().position(|param| param.name == name)?;
                Some((index, slot.to_string()))
            });
            match of {
                Some((index, slot)) => slots[index].push((slot, values)),
                None => memory.extend(values),
            }
        }
        let counts = self.optim.counts();
        Snapshot {
            parameters: self.params.iter().map(|param| numbers(&param.tensor)).collect(),
            slots,
            memory,
            counts: self.params.iter().map(|param| counts.get(&param.name).copied().unwrap_or(0)).collect(),
        }
    }

    fn resume(&mut self, from: &Snapshot) -> Result<(), Trouble> {
        for (param, values) in self.params.iter().zip(&from.parameters) {
            let saved = tensor(values, &param.tensor.size(), param.tensor.kind(), param.tensor.device())?;
            tch::no_grad(|| param.tensor.shallow_clone().f_copy_(&saved).map(drop)).map_err(torch)?;
        }
        let mut saved = Vec::new();
        let (mut slots, mut memory) = (from.slots.iter().flatten(), from.memory.iter());
        for (key, planned) in self.optim.state() {
            let values = match key.starts_with("optimizer:") {
                true => memory.next().map(|value| vec![*value]),
                false => slots.next().map(|(_, values)| values.clone()),
            };
            let values = values.ok_or_else(|| Trouble::error(format!("`{key}` was not saved")))?;
            saved.push((key, tensor(&values, &planned.size(), planned.kind(), planned.device())?));
        }
        let names = self.params.iter().map(|param| param.name.clone());
        let counts = names.zip(from.counts.iter().copied()).collect();
        self.optim.load_state(saved, counts).map_err(|faults| troubles(&faults))
    }

    fn state_bytes(&self) -> u64 {
        self.optim.state_bytes()
    }

    fn changed_form(&self) -> Option<String> {
        self.params.iter().zip(&self.start).find_map(|(param, start)| {
            let (tensor, (kind, device)) = (&param.tensor, self.form);
            let same = tensor.kind() == kind && tensor.device() == device && tensor.size() == start.shape;
            let what = (tensor.kind(), tensor.device(), tensor.size());
            (!same).then(|| format!("`{}` became {what:?}", param.name))
        })
    }
}
