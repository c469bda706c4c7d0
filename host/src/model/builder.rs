//! Collects parameters while the rooms of the network are built.
//! Does not decide which parameters there are.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use super::{
    init::Init,
    lora::Ranks,
    parameter::{Parameter, Role},
};

/// Place of a parameter in the model's list. Rooms keep places and no tensors, so that a replaced tensor is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) usize);

/// Where the values of a parameter come from.
pub(super) enum Values {
    /// Drawn, except those that are given by name, which are taken as they are.
    Drawn { given: BTreeMap<String, Tensor> },
    /// From nowhere: shapes alone, which take no memory.
    None,
}

/// The list under construction.
pub(super) struct Builder {
    /// Decides initial values.
    pub(super) seed: u64,
    /// Element type.
    pub(super) kind: Kind,
    /// Where tensors go.
    pub(super) device: Device,
    /// Standard deviation of projections back into the residual stream.
    pub(super) residual_std: f64,
    /// Ranks of adapters.
    pub(super) ranks: Ranks,
    /// LoRA's α.
    pub(super) lora_alpha: f64,
    /// Whether linear layers and LayerNorms have a bias.
    pub(super) bias: bool,
    /// Where values come from.
    pub(super) values: Values,
    /// What was added, in order.
    pub(super) parameters: Vec<Parameter>,
}

impl Builder {
    /// Adds a trained parameter.
    pub(super) fn add(&mut self, name: String, role: Role, shape: &[i64], init: Init) -> Result<Slot, TchError> {
        self.insert(name, role, shape, init, false)
    }

    /// Adds a parameter that is left out of training.
    pub(super) fn add_frozen(&mut self, name: String, role: Role, shape: &[i64], init: Init) -> Result<Slot, TchError> {
        self.insert(name, role, shape, init, true)
    }

    fn insert(&mut self, name: String, role: Role, shape: &[i64], init: Init, frozen: bool) -> Result<Slot, TchError> {
        let given = match &mut self.values {
            Values::Drawn { given } => given.remove(&name),
            Values::None => Some(Tensor::f_zeros([1], (self.kind, self.device))?.f_expand(shape, false)?),
        };
        let tensor = match given {
            Some(tensor) => tensor,
            None => self.drawn(&name, shape, init)?.f_set_requires_grad(!frozen)?,
        };
        let layer = name.strip_prefix("transformer.h.").and_then(|rest| rest.split('.').next()?.parse().ok());
        self.parameters.push(Parameter { name, role, layer, tensor, frozen });
        Ok(Slot(self.parameters.len() - 1))
    }

    fn drawn(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor, TchError> {
        let values = init.values(self.seed, name, shape.iter().product::<i64>() as usize);
        // Rounded on the CPU, so that a device's own conversion cannot make a difference.
        Tensor::f_from_slice(&values)?.f_reshape(shape)?.f_to_kind(self.kind)?.f_to_device(self.device)
    }
}
