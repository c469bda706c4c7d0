//! The network as an architecture operation sees it.
//! Holds no tensors.

use abi_stable::std_types::Tuple2;
use sdk::abi::{Network, ParameterInfo};

use crate::model::Parameter;

/// Describes parameters, in their order, and the numbers of the architecture, such as `n_layer`.
pub fn network(params: &[Parameter], facts: &[(String, f64)]) -> Network {
    let facts = facts.iter().map(|(name, value)| Tuple2(name.as_str().into(), *value)).collect();
    let parameters = params.iter().map(|parameter| ParameterInfo {
        name: parameter.name.as_str().into(),
        role: parameter.role.name().into(),
        layer: parameter.layer.map_or(-1, |layer| layer as i64),
        shape: parameter.tensor.size().into(),
        frozen: parameter.frozen,
    });
    Network { facts, parameters: parameters.collect() }
}
