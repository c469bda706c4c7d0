//! What is checked, as checks see it: something with a schema that makes steps.
//! Runs nothing; the host and [`Kernels`](super::Kernels) do.

use super::protocol::shape_of;
use super::verdict::Trouble;
use crate::abi::{Descriptor, HyperDescriptor, SlotDescriptor};
use crate::cpu::Isa;
use crate::tape::Node;
use crate::{Device, Dtype};

/// A parameter before the first step. Numbers travel as f64, which holds those of every element type.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Sizes.
    pub shape: Vec<i64>,
    /// Elements in row-major order.
    pub values: Vec<f64>,
}

/// How steps are made. None of it may change a bit but the element types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// Element type of the parameters.
    pub dtype: Dtype,
    /// Whether the slots that may be are kept in bf16.
    pub narrow: bool,
    /// Elements that one call of a kernel gets.
    pub chunk: usize,
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// Threads.
    pub threads: usize,
    /// Where the tensors lie.
    pub device: Device,
}

impl Default for Way {
    fn default() -> Way {
        let isa = Isa::of_this_machine();
        Way { dtype: Dtype::F32, narrow: false, chunk: 65_536, isa, threads: 1, device: Device::Cpu }
    }
}

impl Way {
    /// The usual way with another element type.
    pub fn of(dtype: Dtype) -> Way {
        Way { dtype, ..Way::default() }
    }

    /// The element type of a slot; `narrow` as [`Subject::narrow`].
    pub(super) fn slot(self, narrow: u64, index: u32) -> Dtype {
        match self.dtype {
            Dtype::F64 => Dtype::F64,
            _ if self.narrow && narrow >> index & 1 != 0 => Dtype::Bf16,
            _ => Dtype::F32,
        }
    }

    /// Its element types, for people.
    pub(super) fn format(self) -> String {
        format!("{:?}{}", self.dtype, if self.narrow { " with state in bf16" } else { "" })
    }
}

/// The usual way in every storage format: all element types, and state in bf16 where there are slots for it.
///
/// # Errors
/// The plugin's.
pub fn formats(subject: &dyn Subject, hyper: &[f64]) -> Result<Vec<Way>, Trouble> {
    let mut ways: Vec<Way> = [Dtype::F32, Dtype::F64, Dtype::Bf16].map(Way::of).into();
    if subject.narrow(hyper, shape_of(subject))? != 0 {
        ways.extend([Dtype::F32, Dtype::Bf16].map(|dtype| Way { narrow: true, ..Way::of(dtype) }));
    }
    Ok(ways)
}

/// All that steps have made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Every parameter's elements.
    pub parameters: Vec<Vec<f64>>,
    /// Every parameter's slots: name and elements.
    pub slots: Vec<Vec<(String, Vec<f64>)>>,
    /// The memory of a rule that sums over all tensors.
    pub memory: Vec<f64>,
    /// Steps taken by every parameter.
    pub counts: Vec<u64>,
}

/// A label that can be checked.
pub trait Subject {
    /// What it says about itself.
    fn descriptor(&self) -> &Descriptor;

    /// Whether it takes parameters of this shape.
    fn accepts(&self, shape: &[i64]) -> bool;

    /// State slots of a parameter of this shape.
    ///
    /// # Errors
    /// The plugin's.
    fn slots(&self, hyper: &[f64], shape: &[i64]) -> Result<Vec<SlotDescriptor>, Trouble>;

    /// The slots of such a parameter that may be kept in bf16, as bits by index; none of them where the plugin does not know
    /// of it.
    ///
    /// # Errors
    /// The plugin's.
    fn narrow(&self, hyper: &[f64], shape: &[i64]) -> Result<u64, Trouble>;

    /// The rule as an expression; none where it is a rule over whole tensors.
    ///
    /// # Errors
    /// The plugin's.
    fn record(&self, hyper: &[f64]) -> Result<Option<Vec<Node>>, Trouble>;

    /// The memory before the first step, by index; empty where it has none.
    ///
    /// # Errors
    /// The plugin's.
    fn memory(&self, hyper: &[f64]) -> Result<Vec<f64>, Trouble>;

    /// Whether its sums are those over all tensors; none where it does not sum.
    fn sums_over_all(&self) -> Option<bool>;

    /// Whether what runs it leaves out tensors whose gradient is not finite.
    fn skips_non_finite(&self) -> bool;

    /// Parameters with fresh state.
    ///
    /// # Errors
    /// The plugin's; a device that is not there.
    fn begin<'a>(&'a self, hyper: &[f64], start: &[Start], way: Way) -> Result<Box<dyn Run + 'a>, Trouble>;

    /// One step on `numel` elements that lie between guards: what was written outside of them, or none.
    ///
    /// # Errors
    /// The plugin's.
    fn writes_outside(&self, hyper: &[f64], shape: &[i64], way: Way) -> Result<Option<String>, Trouble>;

    /// Its hyper-parameters.
    fn schema(&self) -> &[HyperDescriptor] {
        &self.descriptor().hyper
    }

    /// Its hyper-parameters' defaults.
    fn defaults(&self) -> Vec<f64> {
        self.schema().iter().map(|hyper| hyper.default).collect()
    }

    /// Where a hyper-parameter stands in the schema.
    fn index_of(&self, name: &str) -> Option<usize> {
        self.schema().iter().position(|hyper| hyper.name == name)
    }

    /// Whether it is a rule over elements.
    fn is_over_elements(&self) -> bool {
        !matches!(self.descriptor().table.as_str(), "plugin.optimizer/1" | "plugin.passes/1")
    }
}

/// Parameters that are being stepped.
pub trait Run {
    /// One step with a gradient per parameter, and the L2 norm of all of them.
    ///
    /// # Errors
    /// The plugin's.
    fn step(&mut self, grads: &[Vec<f64>], norm: f64) -> Result<(), Trouble>;

    /// All that the steps have made.
    fn snapshot(&self) -> Snapshot;

    /// Goes on from a snapshot of another run.
    ///
    /// # Errors
    /// One that does not fit.
    fn resume(&mut self, from: &Snapshot) -> Result<(), Trouble>;

    /// Bytes of all slots.
    fn state_bytes(&self) -> u64;

    /// What is no longer as it was at the beginning: element type, shape, device.
    fn changed_form(&self) -> Option<String>;
}
