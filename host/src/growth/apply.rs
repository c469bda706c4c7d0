//! A plan, checked against the network and carried out: which parameters are trained from now on.
//! Carries kept parameters alone: no tensor is made, moved or resized here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sdk::abi::{Network, NetworkPlan, ParameterInfo, ParameterPlan};

use super::network;
use crate::{
    fault::{Exit, Fault},
    model::Parameter,
};

/// `ParameterPlan::lineage` of a parameter whose values stay.
const KEPT: u32 = 1;

/// What an operation changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Parameters whose values and optimizer state stay, which are all.
    pub kept: usize,
    /// Those left out of training from now on, in the order of the model.
    pub frozen: Vec<String>,
    /// Those trained again from now on.
    pub unfrozen: Vec<String>,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parameters kept", self.kept)?;
        for (what, names) in [("frozen", &self.frozen), ("unfrozen", &self.unfrozen)] {
            if !names.is_empty() {
                write!(f, ", {} {what} ({})", names.len(), names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Carries out a plan: sets which parameters are frozen. A frozen parameter takes no gradient, and the one it had is
/// zeroed; its values and its optimizer state stay.
///
/// # Errors
/// P030 and P031, before anything has changed.
pub fn apply(params: &mut [Parameter], plan: &NetworkPlan) -> Result<Applied, Fault> {
    let after = checked(&network(params, &[]), plan)?;
    let mut applied = Applied { kept: params.len(), ..Applied::default() };
    for parameter in params {
        let frozen = after.get(parameter.name.as_str()).is_some_and(|plan| plan.frozen);
        if frozen != parameter.frozen {
            set_frozen(parameter, frozen);
            let changed = if frozen { &mut applied.frozen } else { &mut applied.unfrozen };
            changed.push(parameter.name.clone());
        }
    }
    Ok(applied)
}

/// Leaves exactly the named parameters out of training, as a checkpoint says.
pub fn freeze(params: &mut [Parameter], names: &[String]) {
    for parameter in params {
        let frozen = names.contains(&parameter.name);
        set_frozen(parameter, frozen);
    }
}

/// Leaves a parameter out of training, or takes it back in. Its gradient begins at zero either way.
fn set_frozen(parameter: &mut Parameter, frozen: bool) {
    parameter.frozen = frozen;
    parameter.tensor.zero_grad();
    // The same tensor: what is returned is another handle to it.
    let _ = parameter.tensor.set_requires_grad(!frozen);
}

/// The network that a plan leads to, if this host can carry it out.
///
/// # Errors
/// P030 and P031.
pub fn planned_network(network: &Network, plan: &NetworkPlan) -> Result<Network, Fault> {
    let after = checked(network, plan)?;
    let mut network = network.clone();
    for parameter in network.parameters.iter_mut() {
        parameter.frozen = after.get(parameter.name.as_str()).is_some_and(|plan| plan.frozen);
    }
    Ok(network)
}

/// Every parameter of the plan by name, each of them a kept one, and all there.
fn checked<'a>(network: &Network, plan: &'a NetworkPlan) -> Result<BTreeMap<&'a str, &'a ParameterPlan>, Fault> {
    if let Some(fact) = plan.facts.first() {
        return Err(not_carried(&format!("`{}` = {}", fact.0, fact.1)));
    }
    let old: BTreeMap<&str, &ParameterInfo> = network.parameters.iter().map(|one| (one.name.as_str(), one)).collect();
    let mut after = BTreeMap::new();
    for parameter in &plan.parameters {
        let name = parameter.name.as_str();
        let Some(before) = old.get(name).filter(|_| parameter.lineage == KEPT) else {
            return Err(not_carried(&format!("parameter `{name}`, {}", lineage(parameter.lineage))));
        };
        if parameter.source != parameter.name {
            return Err(not_carried(&format!("parameter `{name}` from `{}`", parameter.source)));
        }
        if parameter.shape != before.shape || !parameter.maps.is_empty() {
            let text = format!("parameter `{name}` of shape {:?}, kept as {:?}", before.shape, parameter.shape);
            return Err(misfit(&text));
        }
        if after.insert(name, parameter).is_some() {
            return Err(misfit(&format!("parameter `{name}` twice")));
        }
    }
    let named: BTreeSet<&str> = after.keys().copied().collect();
    if let Some(missing) = old.keys().find(|name| !named.contains(*name)) {
        return Err(not_carried(&format!("the network without `{missing}`")));
    }
    if !after.is_empty() && after.values().all(|parameter| parameter.frozen) {
        return Err(misfit("no parameter that is trained"));
    }
    Ok(after)
}

fn lineage(code: u32) -> &'static str {
    match code {
        0 => "fresh",
        1 => "kept, which the network has not",
        2 => "mapped",
        _ => "of a lineage that is not known",
    }
}

fn misfit(what: &str) -> Fault {
    Fault::new("P030", Exit::Plugin, format!("the plan does not fit the network: it has {what}"))
}

fn not_carried(what: &str) -> Fault {
    Fault::new("P031", Exit::Plugin, format!("the plan asks for {what}"))
        .note("host", "it carries kept parameters only")
}

#[cfg(test)]
mod tests {
    use sdk::abi::DimensionMap;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::model::Role;

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
        let applied = apply(&mut params, &plan).unwrap();
        assert_eq!(applied, Applied { kept: 3, frozen: vec!["h.0.w".into()], unfrozen: vec![] });
        assert_eq!(applied.to_string(), "3 parameters kept, 1 frozen (h.0.w)");
        assert!(params[0].frozen && !params[0].tensor.requires_grad() && params[1].tensor.requires_grad());
        assert_eq!(params[0].tensor.grad().abs().max().double_value(&[]), 0.0);
        for parameter in &mut params {
            parameter.tensor.zero_grad();
        }
        backward(&params);
        assert_eq!(params[0].tensor.grad().abs().max().double_value(&[]), 0.0);
        assert_eq!(params[1].tensor.grad(), Tensor::full([2, 3], 2.0, (Kind::Float, Device::Cpu)));
        assert_eq!(apply(&mut params, &plan).unwrap(), Applied { kept: 3, ..Applied::default() });

        plan.parameter("h.0.w").unwrap().frozen = false;
        assert_eq!(apply(&mut params, &plan).unwrap().unfrozen, ["h.0.w"]);
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

    #[test]
    fn what_cannot_be_carried_is_refused_before_anything_changes() {
        let base = || network(&params(), &[("n_layer".to_owned(), 2.0)]).keep_all();
        type Edit = fn(&mut NetworkPlan);
        let table: [(&str, &str, Edit); 10] = [
            ("P031", "`n_layer` = 3", |plan| plan.set_fact("n_layer", 3.0)),
            ("P031", "parameter `h.0.w`, fresh", |plan| plan.parameters[0] = ParameterPlan::fresh("h.0.w", &[2, 3])),
            ("P031", "parameter `h.0.w`, mapped", |plan| plan.parameters[0].lineage = 2),
            ("P031", "a lineage that is not known", |plan| plan.parameters[0].lineage = 9),
            ("P031", "which the network has not", |plan| plan.parameters[0].name = "h.2.w".into()),
            ("P031", "`h.0.w` from `h.1.w`", |plan| plan.parameters[0].source = "h.1.w".into()),
            ("P031", "without `wte`", |plan| drop(plan.parameters.pop())),
            ("P030", "kept as [3, 2]", |plan| plan.parameters[0].shape = vec![3, 2].into()),
            ("P030", "kept as", |plan| plan.parameters[0].maps = vec![DimensionMap::identity(2)].into()),
            ("P030", "no parameter that is trained", |plan| plan.parameters.iter_mut().for_each(|p| p.frozen = true)),
        ];
        for (code, part, edit) in table {
            let mut params = params();
            let mut plan = base();
            plan.parameters[1].frozen = true;
            edit(&mut plan);
            let fault = apply(&mut params, &plan).unwrap_err();
            assert_eq!((fault.code, fault.message.contains(part)), (code, true), "{fault}");
            assert!(params.iter().all(|one| !one.frozen && one.tensor.requires_grad()), "{fault}");
            let fault = planned_network(&network(&params, &[("n_layer".to_owned(), 2.0)]), &plan).unwrap_err();
            assert_eq!((fault.code, fault.message.contains(part)), (code, true), "{fault}");
        }
        let mut twice = base();
        twice.parameters.push(twice.parameters[0].clone());
        assert_eq!(apply(&mut params(), &twice).unwrap_err().code, "P030");
    }
}
