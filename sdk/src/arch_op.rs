//! Architecture operations: a change of the network, said as what becomes of each parameter.
//! An operation plans; the host makes the new tensors and carries the optimizer's state over.

use crate::abi::{DimensionMap, Network, NetworkPlan, ParameterInfo, ParameterPlan};
use crate::{Error, Knob, Record, Result};
use abi_stable::std_types::Tuple2;

/// A change of the network.
///
/// Most operations keep nearly everything, so a plan begins with [`Network::keep_all`]:
///
/// ```
/// use sdk::*;
///
/// /// Leaves everything but the head out of training.
/// pub struct HeadOnly;
///
/// impl ArchOp for HeadOnly {
///     type Hyper<T: Copy> = Nothing<T>;
///
///     fn hyper() -> Nothing<Knob> {
///         Nothing::default()
///     }
///
///     fn plan(_: &Nothing<f64>, network: &Network) -> Result<NetworkPlan> {
///         let mut plan = network.keep_all();
///         for parameter in network.parameters.iter().filter(|parameter| parameter.role != "head") {
///             plan.parameter(&parameter.name)?.frozen = true;
///         }
///         Ok(plan)
///     }
/// }
/// ```
pub trait ArchOp: 'static {
    /// Hyper-parameters.
    type Hyper<T: Copy>: Record<T>;

    /// Schema of the hyper-parameters.
    fn hyper() -> Self::Hyper<Knob>;

    /// What becomes of each parameter. Pure: the same network gives the same plan.
    ///
    /// # Errors
    /// Why it cannot be done to this network.
    fn plan(h: &Self::Hyper<f64>, network: &Network) -> Result<NetworkPlan>;
}

/// [`ParameterPlan::lineage`] of a new parameter.
const FRESH: u32 = 0;
/// Of one whose values stay.
const KEPT: u32 = 1;
/// Of one whose values follow from an old one by index maps.
const MAPPED: u32 = 2;
/// Of one that takes the change of its adapter over.
const MERGED: u32 = 3;

/// Rank of a low-rank adapter whose width is divided by `divisor`: ⌊width / divisor⌋, where a divisor of width / r gives
/// r in spite of rounding. Hosts and operations compute it here.
pub fn lora_rank(width: f64, divisor: f64) -> usize {
    (width / divisor * (1.0 + 4.0 * f64::EPSILON)) as usize
}

impl Network {
    /// A number of the architecture, such as `n_layer`.
    ///
    /// # Errors
    /// This network has no such number.
    pub fn fact(&self, name: &str) -> Result<f64> {
        let found = self.facts.iter().find(|fact| fact.0 == name);
        found.map(|fact| fact.1).ok_or_else(|| Error::new(format!("this network has no number `{name}`")))
    }

    /// The parameters of a block, counted from 0.
    pub fn layer(&self, layer: i64) -> impl Iterator<Item = &ParameterInfo> {
        self.parameters.iter().filter(move |parameter| parameter.layer == layer)
    }

    /// The plan that changes nothing.
    pub fn keep_all(&self) -> NetworkPlan {
        let parameters = self.parameters.iter().map(ParameterPlan::kept).collect();
        NetworkPlan { facts: Vec::new().into(), parameters }
    }
}

impl NetworkPlan {
    /// What becomes of the parameter of this name in the new network.
    ///
    /// # Errors
    /// The plan has no such parameter.
    pub fn parameter(&mut self, name: &str) -> Result<&mut ParameterPlan> {
        let found = self.parameters.iter_mut().find(|parameter| parameter.name == name);
        found.ok_or_else(|| Error::new(format!("the network has no parameter `{name}`")))
    }

    /// Changes a number of the architecture.
    pub fn set_fact(&mut self, name: &str, value: f64) {
        match self.facts.iter_mut().find(|fact| fact.0 == name) {
            Some(fact) => fact.1 = value,
            None => self.facts.push(Tuple2(name.into(), value)),
        }
    }
}

impl ParameterPlan {
    /// A parameter that stays as it is.
    pub fn kept(parameter: &ParameterInfo) -> ParameterPlan {
        ParameterPlan {
            name: parameter.name.clone(),
            lineage: KEPT,
            source: parameter.name.clone(),
            shape: parameter.shape.clone(),
            maps: Vec::new().into(),
            frozen: parameter.frozen,
        }
    }

    /// A weight that stays, with what its low-rank adapter adds to it: W + (α/r)·B·A of a linear layer, E + (α/r)·A·Bᵀ of
    /// an embedding. The adapter is the old network's `lora_A` and `lora_B` beside it. Optimizer state is kept, except
    /// where it holds values of the parameter; that begins anew.
    pub fn merged(parameter: &ParameterInfo) -> ParameterPlan {
        ParameterPlan { lineage: MERGED, ..ParameterPlan::kept(parameter) }
    }

    /// A parameter that is new, initialized by the host as its role asks.
    pub fn fresh(name: &str, shape: &[i64]) -> ParameterPlan {
        ParameterPlan {
            name: name.into(),
            lineage: FRESH,
            source: "".into(),
            shape: shape.to_vec().into(),
            maps: Vec::new().into(),
            frozen: false,
        }
    }

    /// A copy of `source` under another name, with its values and whether it is trained.
    pub fn copied(name: &str, source: &ParameterInfo) -> ParameterPlan {
        ParameterPlan::mapped(name, source, source.shape.iter().map(|size| DimensionMap::identity(*size)).collect())
    }

    /// A parameter whose values are copied from `source`, one map per dimension.
    pub fn mapped(name: &str, source: &ParameterInfo, maps: Vec<DimensionMap>) -> ParameterPlan {
        ParameterPlan {
            name: name.into(),
            lineage: MAPPED,
            source: source.name.clone(),
            shape: maps.iter().map(|map| map.index.len() as i64).collect(),
            maps: maps.into(),
            frozen: source.frozen,
        }
    }
}

impl DimensionMap {
    /// The map of a dimension that stays as it is.
    pub fn identity(size: i64) -> DimensionMap {
        DimensionMap::select((0..size).collect())
    }

    /// The map that copies these old indices, unscaled; −1 begins fresh.
    pub fn select(index: Vec<i64>) -> DimensionMap {
        let ones = vec![1.0; index.len()];
        DimensionMap { index: index.into(), value_scale: ones.clone().into(), grad_scale: ones.into() }
    }

    /// The same map with all values times `value`, and all gradients times `grad`.
    pub fn scaled(mut self, value: f64, grad: f64) -> DimensionMap {
        self.value_scale.iter_mut().for_each(|scale| *scale *= value);
        self.grad_scale.iter_mut().for_each(|scale| *scale *= grad);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let parameter = |name: &str, layer| ParameterInfo {
            name: name.into(),
            role: "matrix".into(),
            layer,
            shape: vec![2, 3].into(),
            frozen: layer == 1,
        };
        Network {
            facts: vec![Tuple2("n_layer".into(), 2.0)].into(),
            parameters: vec![parameter("h.0.w", 0), parameter("h.1.w", 1), parameter("wte", -1)].into(),
        }
    }

    #[test]
    fn keeping_all_keeps_names_shapes_and_what_is_frozen() {
        let (network, plan) = (network(), network().keep_all());
        assert!(plan.facts.is_empty());
        for (old, new) in network.parameters.iter().zip(&plan.parameters) {
            assert_eq!(
                (&old.name, &old.name, &old.shape, old.frozen),
                (&new.name, &new.source, &new.shape, new.frozen)
            );
            assert_eq!((new.lineage, new.maps.len()), (KEPT, 0));
        }
    }

    #[test]
    fn a_plan_is_changed_by_name() {
        let mut plan = network().keep_all();
        plan.parameter("h.0.w").unwrap().frozen = true;
        assert_eq!(plan.parameters.iter().map(|p| p.frozen).collect::<Vec<_>>(), [true, true, false]);
        assert!(plan.parameter("h.2.w").unwrap_err().to_string().contains("`h.2.w`"));
        plan.set_fact("n_layer", 3.0);
        plan.set_fact("n_layer", 4.0);
        assert_eq!(plan.facts.to_vec(), [Tuple2("n_layer".into(), 4.0)]);
    }

    #[test]
    fn a_network_is_asked_by_name_and_layer() {
        let network = network();
        assert_eq!(network.fact("n_layer"), Ok(2.0));
        assert!(network.fact("n_head").is_err());
        assert_eq!(network.layer(1).map(|p| p.name.as_str()).collect::<Vec<_>>(), ["h.1.w"]);
        assert_eq!(network.layer(2).count(), 0);
    }

    /// 49 / (49 / 3) is a little below 3.
    #[test]
    fn a_divisor_of_width_over_rank_gives_the_rank_back() {
        for width in 1..400 {
            for rank in 1..=width {
                assert_eq!(lora_rank(width as f64, width as f64 / rank as f64), rank, "{width} {rank}");
            }
        }
        let ranks = [(128.0, 8.0), (128.0, 3.0), (128.0, 200.0), (7.0, 2.0)].map(|(w, d)| lora_rank(w, d));
        assert_eq!(ranks, [16, 42, 0, 3]);
    }

    #[test]
    fn maps_say_the_new_shape() {
        let network = network();
        let rows = DimensionMap::select(vec![0, 1, 1]).scaled(0.5, 2.0);
        let plan = ParameterPlan::mapped("w", &network.parameters[0], vec![rows, DimensionMap::identity(3)]);
        assert_eq!((plan.lineage, plan.shape.to_vec(), plan.source.as_str()), (MAPPED, vec![3, 3], "h.0.w"));
        assert_eq!(plan.maps[0].value_scale.to_vec(), [0.5; 3]);
        assert_eq!(plan.maps[0].grad_scale.to_vec(), [2.0; 3]);
        let copy = ParameterPlan::copied("v", &network.parameters[1]);
        assert_eq!((copy.name.as_str(), copy.source.as_str(), copy.lineage), ("v", "h.1.w", MAPPED));
        assert_eq!((copy.shape.to_vec(), copy.frozen), (vec![2, 3], true));
        assert_eq!(copy.maps[1].index.to_vec(), [0, 1, 2]);
    }
}
