//! Values from a checkpoint into a network: all of them fit, or none is changed.
//! Reads no files.

use std::collections::BTreeMap;

use tch::Tensor;

use super::{Gpt, refused};
use crate::fault::{Exit, Fault, Faults};

impl Gpt {
    /// Whether these are exactly the parameters of this network: names, shapes and element types.
    ///
    /// # Errors
    /// `D501` with everything that does not fit.
    pub fn check(&self, tensors: &[(String, Tensor)]) -> Result<(), Faults> {
        let mut given: BTreeMap<&str, &Tensor> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut wrong = Vec::new();
        for parameter in self.parameters() {
            let name = parameter.name.as_str();
            let Some(tensor) = given.remove(name) else {
                wrong.push(format!("`{name}` is missing"));
                continue;
            };
            let (has, wants) = ((tensor.size(), tensor.kind()), (parameter.tensor.size(), parameter.tensor.kind()));
            if has != wants {
                wrong.push(format!(
                    "`{name}` is {:?} of {:?}, the network has {:?} of {:?}",
                    has.0, has.1, wants.0, wants.1
                ));
            }
        }
        wrong.extend(given.keys().map(|name| format!("`{name}` is not in the network")));
        if wrong.is_empty() {
            return Ok(());
        }
        let mut fault = Fault::new("D501", Exit::Data, "the checkpoint does not fit the network");
        for text in wrong {
            fault = fault.note("parameter", text);
        }
        Err(fault.hint("resume with the settings and the data the run began with").into())
    }

    /// Takes the values over.
    ///
    /// # Errors
    /// Those of [`Gpt::check`], before anything is changed; `E101` if libtorch fails.
    pub fn load(&mut self, tensors: &[(String, Tensor)]) -> Result<(), Faults> {
        self.check(tensors)?;
        let given: BTreeMap<&str, &Tensor> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let _guard = tch::no_grad_guard();
        for parameter in self.parameters_mut() {
            parameter.tensor.f_copy_(given[parameter.name.as_str()]).map_err(refused)?;
        }
        Ok(())
    }

    /// Numbers of the architecture by name, for architecture operations and checkpoints.
    pub fn facts(&self) -> Vec<(String, f64)> {
        self.architecture().facts()
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::config::settings::{Format, ModelSettings};

    fn network(seed: u64) -> Gpt {
        let settings = ModelSettings {
            n_layer: 1,
            n_head: 1,
            n_embd: 4,
            mlp_width: None,
            block_size: 4,
            bias: false,
            dropout: 0.0,
            tie_head: true,
            lora_rank: 0,
            attn_lora_divisor: None,
            vocab_lora_divisor: None,
            lora_alpha: 1.0,
        };
        Gpt::new(&settings, 5, seed, Format::F32, Device::Cpu).unwrap()
    }

    fn values(network: &Gpt) -> Vec<(String, Tensor)> {
        network.parameters().iter().map(|one| (one.name.clone(), one.tensor.copy())).collect()
    }

    #[test]
    fn values_are_taken_over_whole() {
        let (from, mut to) = (network(1), network(2));
        to.load(&values(&from)).unwrap();
        for (a, b) in from.parameters().iter().zip(to.parameters()) {
            assert!(a.tensor.equal(&b.tensor), "{}", a.name);
            assert!(b.tensor.requires_grad());
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let from = values(&network(1));
        let missing = from[1..].iter().map(|(n, t)| (n.clone(), t.copy())).collect::<Vec<_>>();
        let mut shaped: Vec<_> = from.iter().map(|(n, t)| (n.clone(), t.copy())).collect();
        shaped.last_mut().unwrap().1 = Tensor::zeros([3], (Kind::Float, Device::Cpu));
        let mut more: Vec<_> = from.iter().map(|(n, t)| (n.clone(), t.copy())).collect();
        more.push(("extra".into(), Tensor::zeros([3], (Kind::Float, Device::Cpu))));
        for (tensors, says) in
            [(missing, "is missing"), (shaped, "of Float, the network has"), (more, "`extra` is not")]
        {
            let mut to = network(2);
            let before = values(&to);
            assert!(to.load(&tensors).unwrap_err().to_string().contains(says), "{says}");
            for (parameter, (name, value)) in to.parameters().iter().zip(before) {
                assert!(parameter.tensor.equal(&value), "{name}");
            }
        }
    }
}
