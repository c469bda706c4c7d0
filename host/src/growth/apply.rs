//! A plan carried out on the network: its parameters made, kept or mapped, and which of them are trained.
//! Does not touch the optimizer's state; that is `optim::carry`, by the same plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use abi_stable::std_types::RVec;
use sdk::abi::{DimensionMap, NetworkPlan, ParameterPlan};
use serde_json::{Value, json};
use tch::{TchError, Tensor};

use super::{
    network,
    plan::{self, Lineage, begins_fresh},
};
use crate::{
    fault::Fault,
    model::{self, Gpt, Parameter},
    random::Stream,
    tensor::index_map::{Axis, mapped, mapped_or},
};

/// What became of state that was not carried as it is. Names of parameters in the new network, each with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// State that restarts.
    pub reset: Vec<String>,
    /// State that was carried, but is not what training the new network would have made of it.
    pub approximated: Vec<String>,
    /// Parameters whose new name puts them into another parameter group.
    pub regrouped: Vec<String>,
}

/// What an operation changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Parameters whose values and optimizer state stay.
    pub kept: usize,
    /// Parameters whose values follow from old ones.
    pub mapped: usize,
    /// Weights that took the change of their adapter over.
    pub merged: usize,
    /// Parameters that are new.
    pub fresh: usize,
    /// What became of the optimizer's state where it could not be carried as it is.
    pub state: Carried,
    /// Those left out of training from now on, in the order of the model.
    pub frozen: Vec<String>,
    /// Those trained again from now on.
    pub unfrozen: Vec<String>,
}

impl Applied {
    /// For machines: how many parameters came from where, and which lost their state or part of it.
    pub fn json(&self) -> Value {
        json!({
            "kept": self.kept, "mapped": self.mapped, "merged": self.merged, "fresh": self.fresh,
            "reset": self.state.reset, "approximated": self.state.approximated,
            "regrouped": self.state.regrouped,
            "frozen": self.frozen, "unfrozen": self.unfrozen,
        })
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parameters kept", self.kept)?;
        for (what, count) in [("mapped", self.mapped), ("merged", self.merged), ("fresh", self.fresh)] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        for (what, names) in [
            ("frozen", &self.frozen),
            ("unfrozen", &self.unfrozen),
            ("with state reset", &self.state.reset),
            ("with state approximated", &self.state.approximated),
            ("in another parameter group", &self.state.regrouped),
        ] {
            if !names.is_empty() {
                write!(f, ", {} {what} ({})", names.len(), names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// The network of a plan, and what it changed. Kept parameters are the same tensors in both networks; the old network
/// is as it was. Values of fresh parameters follow from `seed`, their names and `step`, the steps done.
///
/// # Errors
/// P030 and P031, before any tensor is made; `E101` if libtorch has no room.
pub fn grow(model: &Gpt, plan: &NetworkPlan, seed: u64, step: u64) -> Result<(Gpt, Applied), Fault> {
    let before = network(model.parameters(), &model.facts());
    plan::planned_network(&before, plan)?;
    let architecture = plan::architecture(model.architecture(), &before, plan)?;
    let old: BTreeMap<&str, &Parameter> = model.parameters().iter().map(|one| (one.name.as_str(), one)).collect();
    let mut applied = Applied::default();
    let mut given = BTreeMap::new();
    let mut merged = merged_weights(model, plan)?;
    for one in &plan.parameters {
        let tensor = match Lineage::of(one) {
            Lineage::Fresh => {
                applied.fresh += 1;
                continue;
            }
            Lineage::Kept(source) => {
                applied.kept += 1;
                old[source].handle()
            }
            Lineage::Merged(source) => {
                applied.merged += 1;
                let values = merged.remove(source).ok_or_else(|| model::refused(TchError::Torch(source.into())))?;
                let values = values.f_to_kind(old[source].tensor.kind());
                values.and_then(|values| values.f_set_requires_grad(!one.frozen)).map_err(model::refused)?
            }
            Lineage::Mapped(_) if begins_fresh(&one.maps) => {
                applied.mapped += 1;
                continue;
            }
            Lineage::Mapped(source) => {
                applied.mapped += 1;
                let values = mapped(&old[source].tensor, &values(&one.maps), 1.0);
                values.and_then(|values| values.f_set_requires_grad(!one.frozen)).map_err(model::refused)?
            }
        };
        given.insert(one.name.to_string(), tensor);
    }
    let seed = Stream::new(seed, "growth").words(0, step)[0];
    let mut grown = model.grown(&architecture, seed, given)?;
    let by_name: BTreeMap<&str, &ParameterPlan> = plan.parameters.iter().map(|one| (one.name.as_str(), one)).collect();
    for parameter in grown.parameters_mut() {
        let planned = by_name[parameter.name.as_str()];
        if let (Lineage::Mapped(source), true) = (Lineage::of(planned), begins_fresh(&planned.maps)) {
            let drawn = parameter.tensor.detach().copy();
            let values = mapped_or(&old[source].tensor, &values(&planned.maps), 1.0, Some(&drawn));
            let _guard = tch::no_grad_guard();
            values.and_then(|values| parameter.tensor.f_copy_(&values)).map_err(model::refused)?;
        }
        let was_frozen = old.get(planned.source.as_str()).is_some_and(|source| source.frozen);
        parameter.frozen = was_frozen;
        if planned.frozen != was_frozen {
            let changed = if planned.frozen { &mut applied.frozen } else { &mut applied.unfrozen };
            changed.push(parameter.name.clone());
        }
    }
    Ok((grown, applied))
}

/// The weights that a plan merges, with their adapters' changes, by name.
fn merged_weights<'a>(model: &'a Gpt, plan: &NetworkPlan) -> Result<BTreeMap<&'a str, Tensor>, Fault> {
    let merges = |one: &ParameterPlan| matches!(Lineage::of(one), Lineage::Merged(_));
    let wanted: BTreeSet<&str> = plan.parameters.iter().filter(|one| merges(one)).map(|one| &*one.source).collect();
    let name = |place: usize| model.parameters()[place].name.as_str();
    let merged = model.merged_weights(&|place| wanted.contains(name(place)))?;
    Ok(merged.into_iter().map(|(place, weight)| (name(place), weight)).collect())
}

fn values(maps: &RVec<DimensionMap>) -> Vec<Axis> {
    maps.iter().map(|map| Axis { index: map.index.to_vec(), factor: map.value_scale.to_vec() }).collect()
}

/// Leaves exactly the named parameters out of training, as a checkpoint or an operation says.
pub fn freeze(params: &mut [Parameter], names: &[String]) {
    for parameter in params {
        let frozen = names.contains(&parameter.name);
        set_frozen(parameter, frozen);
    }
}

/// Leaves those parameters out of training that a plan says, and takes the others back in.
pub fn freeze_as_planned(params: &mut [Parameter], plan: &NetworkPlan) {
    let frozen = plan.parameters.iter().filter(|one| one.frozen).map(|one| one.name.to_string());
    freeze(params, &frozen.collect::<Vec<_>>());
}

/// Leaves a parameter out of training, or takes it back in. Its gradient begins at zero either way.
fn set_frozen(parameter: &mut Parameter, frozen: bool) {
    parameter.frozen = frozen;
    parameter.tensor.zero_grad();
    // The same tensor: what is returned is another handle to it.
    let _ = parameter.tensor.set_requires_grad(!frozen);
}

#[cfg(test)]
mod tests {
    use sdk::abi::DimensionMap;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::{
        config::{
            knobs,
            settings::{Format, ModelSettings},
        },
        model::Role,
    };

    fn params() -> Vec<Parameter> {
        let parameter = |name: &str, layer| Parameter {
            name: name.into(),
            role: Role::Matrix,
            layer,
            tensor: Tensor::ones([2, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true),
            frozen: false,
        };
        vec![parameter("h.0.w", Some(0)), parameter("h.1.w", Some(1)), parameter("wte", None)]
    }

    fn backward(params: &[Parameter]) {
        let losses: Vec<Tensor> = params.iter().map(|one| one.tensor.square().sum(Kind::Float)).collect();
        Tensor::stack(&losses, 0).sum(Kind::Float).backward();
    }

    #[test]
    fn a_network_says_what_the_parameters_are() {
        let network = network(&params(), &[("n_layer".to_owned(), 2.0)]);
        assert_eq!(network.fact("n_layer").unwrap(), 2.0);
        let rows: Vec<_> = network.parameters.iter().map(|p| (p.name.as_str(), p.layer, p.shape.to_vec())).collect();
        assert_eq!(rows, [("h.0.w", 0, vec![2, 3]), ("h.1.w", 1, vec![2, 3]), ("wte", -1, vec![2, 3])]);
        assert!(network.parameters.iter().all(|p| p.role == "matrix" && !p.frozen));
    }

    /// A frozen parameter takes no gradient; thawed, its gradient is that of a parameter that never was frozen.
    #[test]
    fn freezing_and_thawing() {
        let mut params = params();
        backward(&params);
        let mut plan = network(&params, &[]).keep_all();
        plan.parameter("h.0.w").unwrap().frozen = true;
        freeze_as_planned(&mut params, &plan);
        assert!(params[0].frozen && !params[0].tensor.requires_grad() && params[1].tensor.requires_grad());
        assert_eq!(params[0].tensor.grad().abs().max().double_value(&[]), 0.0);
        for parameter in &mut params {
            parameter.tensor.zero_grad();
        }
        backward(&params);
        assert_eq!(params[0].tensor.grad().abs().max().double_value(&[]), 0.0);
        assert_eq!(params[1].tensor.grad(), Tensor::full([2, 3], 2.0, (Kind::Float, Device::Cpu)));

        plan.parameter("h.0.w").unwrap().frozen = false;
        freeze_as_planned(&mut params, &plan);
        for parameter in &mut params {
            parameter.tensor.zero_grad();
        }
        backward(&params);
        assert_eq!(params[0].tensor.grad(), params[1].tensor.grad());
    }

    #[test]
    fn a_checkpoint_says_exactly_who_is_frozen() {
        let mut params = params();
        for names in [vec!["h.1.w".to_owned(), "wte".to_owned()], vec!["h.0.w".to_owned()], vec![]] {
            freeze(&mut params, &names);
            for parameter in &params {
                let frozen = names.contains(&parameter.name);
                assert_eq!((parameter.frozen, parameter.tensor.requires_grad()), (frozen, !frozen));
            }
        }
    }

    fn model(format: Format) -> Gpt {
        let settings =
            ModelSettings { n_layer: 2, n_head: 1, n_embd: 4, block_size: 4, dropout: 0.25, ..knobs::builtin().model };
        Gpt::new(&settings, 5, 1, format, Device::Cpu).unwrap()
    }

    /// A third block whose matrices are new and whose vectors are those of the second, halved; the second is frozen.
    fn plan(model: &Gpt) -> NetworkPlan {
        let before = network(model.parameters(), &model.facts());
        let mut plan = before.keep_all();
        plan.set_fact("n_layer", 3.0);
        for one in before.layer(1) {
            let name = one.name.replace("h.1.", "h.2.");
            plan.parameter(&one.name).unwrap().frozen = true;
            plan.parameters.push(match one.role.as_str() {
                "vector" => {
                    let half = DimensionMap::identity(one.shape[0]).scaled(0.5, 1.0);
                    ParameterPlan::mapped(&name, one, vec![half])
                }
                _ => ParameterPlan::fresh(&name, &one.shape),
            });
        }
        plan
    }

    #[test]
    fn parameters_are_kept_mapped_or_fresh_in_every_format() {
        for format in [Format::F32, Format::Bf16, Format::F64] {
            let model = model(format);
            let (mut grown, applied) = grow(&model, &plan(&model), 7, 100).unwrap();
            assert_eq!((applied.kept, applied.mapped, applied.fresh), (15, 2, 4));
            let changed = model.facts().into_iter().zip(grown.facts()).filter(|(old, new)| old != new);
            let expected = [(("n_layer".to_owned(), 2.0), ("n_layer".to_owned(), 3.0))];
            assert_eq!(changed.collect::<Vec<_>>(), expected);
            assert_eq!(applied.frozen.len(), 6);
            assert!(
                applied.to_string().starts_with("15 parameters kept, 2 mapped, 4 fresh, 6 frozen (transformer.h.1.")
            );
            assert_eq!((grown.settings().n_layer, grown.settings().dropout, grown.format()), (3, 0.25, format));
            let old: BTreeMap<&str, &Tensor> =
                model.parameters().iter().map(|one| (one.name.as_str(), &one.tensor)).collect();
            for one in grown.parameters() {
                let source = old[one.name.replace("h.2.", "h.1.").as_str()];
                assert_eq!(one.tensor.kind(), source.kind());
                let (is_new, is_vector) = (one.layer == Some(2), one.role == Role::Vector);
                match (is_new, is_vector) {
                    (false, _) => assert_eq!(one.tensor.data_ptr(), source.data_ptr(), "{}", one.name),
                    (true, true) => assert!(one.tensor.equal(&(source * 0.5)), "{}", one.name),
                    (true, false) => assert!(!one.tensor.equal(source), "{}", one.name),
                }
                assert!(one.tensor.requires_grad() && one.tensor.is_leaf(), "{}", one.name);
            }
            freeze_as_planned(grown.parameters_mut(), &plan(&model));
            let frozen: Vec<&str> =
                grown.parameters().iter().filter(|one| one.frozen).map(|one| one.name.as_str()).collect();
            assert_eq!(frozen, applied.frozen);
        }
    }

    /// The same for the same seed and step, others for others.
    #[test]
    fn fresh_values_follow_from_seed_name_and_step() {
        let model = model(Format::F32);
        let values = |seed, step| {
            let grown = grow(&model, &plan(&model), seed, step).unwrap().0;
            let one = grown.parameters().iter().find(|one| one.name == "transformer.h.2.mlp.c_fc.weight").unwrap();
            Vec::<f32>::try_from(one.tensor.detach().reshape([-1])).unwrap()
        };
        assert_eq!(values(7, 100), values(7, 100));
        assert_ne!(values(7, 100), values(7, 101));
        assert_ne!(values(7, 100), values(8, 100));
    }

    #[test]
    fn a_plan_that_does_not_fit_changes_nothing() {
        let model = model(Format::F32);
        let mut wrong = plan(&model);
        wrong.parameters.pop();
        assert_eq!(grow(&model, &wrong, 7, 1).err().unwrap().code, "P030");
        assert!(model.parameters().iter().all(|one| !one.frozen && one.tensor.requires_grad()));
    }
}
