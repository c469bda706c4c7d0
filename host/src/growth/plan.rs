//! A plan, checked whole against the network before and the one that its numbers lead to.
//! Makes no tensor.

use std::collections::{BTreeMap, BTreeSet};

use sdk::abi::{DimensionMap, Network, NetworkPlan, ParameterInfo, ParameterPlan};

use super::network;
use crate::{
    config::knobs,
    fault::{Exit, Fault},
    model::{Architecture, lora},
};

/// `ParameterPlan::lineage` of a new parameter.
const FRESH: u32 = 0;
/// Of one whose values stay.
const KEPT: u32 = 1;
/// Of one whose values follow from an old one by index maps.
const MAPPED: u32 = 2;

/// Of one that takes the change of its adapter over.
const MERGED: u32 = 3;

/// Numbers that follow from the text and its batches; no operation changes them.
const OF_THE_DATA: [&str; 1] = ["block_size"];

/// Where a parameter comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lineage<'a> {
    /// From nowhere.
    Fresh,
    /// It is the old parameter of this name.
    Kept(&'a str),
    /// Its values follow from the old parameter of this name.
    Mapped(&'a str),
    /// It is the old parameter of this name with its adapter's change.
    Merged(&'a str),
}

impl<'a> Lineage<'a> {
    /// That of a parameter of a checked plan.
    pub fn of(plan: &'a ParameterPlan) -> Lineage<'a> {
        match plan.lineage {
            KEPT => Lineage::Kept(&plan.source),
            MAPPED => Lineage::Mapped(&plan.source),
            MERGED => Lineage::Merged(&plan.source),
            _ => Lineage::Fresh,
        }
    }
}

/// Whether some of a mapped parameter's indices have no old one.
pub fn begins_fresh(maps: &[DimensionMap]) -> bool {
    maps.iter().any(|map| map.index.iter().any(|index| *index < 0))
}

/// The architecture that a plan's numbers lead to, from that of `network`; `from` says what is no number of it, such as
/// dropout.
///
/// # Errors
/// P030 and P031.
pub fn architecture(from: Architecture, network: &Network, plan: &NetworkPlan) -> Result<Architecture, Fault> {
    let pairs = |network: &Network| -> Vec<(String, f64)> {
        network.facts.iter().map(|fact| (fact.0.to_string(), fact.1)).collect()
    };
    if let Some(fact) = plan.facts.iter().find(|fact| OF_THE_DATA.contains(&fact.0.as_str())) {
        return Err(not_carried(&format!("`{}` = {}, which follows from the data", fact.0, fact.1)));
    }
    let before = from.with(pairs(network).iter().map(|(name, value)| (name.as_str(), *value)));
    let after = before.and_then(|before| before.with(plan.facts.iter().map(|fact| (fact.0.as_str(), fact.1))));
    let after = after.map_err(|what| misfit(&what))?;
    // Each layer has parameters of its own; what nobody named need not be outlined.
    if after.settings.n_layer > plan.parameters.len() {
        return Err(misfit(&format!(
            "`n_layer` = {} and {} parameters",
            after.settings.n_layer,
            plan.parameters.len()
        )));
    }
    // The text may hold any of them.
    let tokens = network.fact("vocab_size").unwrap_or_default();
    if (after.vocab_size as f64) < tokens {
        return Err(misfit(&format!("`vocab_size` = {}, fewer than the {tokens} tokens there are", after.vocab_size)));
    }
    Ok(after)
}

/// Most elements of a network's parameters. No machine has room for them.
const MOST: i64 = 1 << 44;

/// The network that a plan leads to, if this host can carry it out.
///
/// # Errors
/// P030 and P031.
pub fn planned_network(before: &Network, plan: &NetworkPlan) -> Result<Network, Fault> {
    let blank = Architecture { settings: knobs::builtin().model, vocab_size: 1 };
    let architecture = architecture(blank, before, plan)?;
    let outline = architecture.outline().map_err(|fault| misfit(&fault.message))?;
    let mut after = network(&outline, &architecture.facts());
    let elements = |one: &ParameterInfo| one.shape.iter().try_fold(1_i64, |all, size| all.checked_mul(*size));
    let add = |all: i64, one: &ParameterInfo| all.checked_add(elements(one)?).filter(|all| *all <= MOST);
    if after.parameters.iter().try_fold(0, add).is_none() {
        return Err(misfit(&format!("more than {MOST} elements")));
    }
    let by_name = check(before, &after, plan)?;
    for parameter in after.parameters.iter_mut() {
        parameter.frozen = by_name.get(parameter.name.as_str()).is_some_and(|plan| plan.frozen);
    }
    Ok(after)
}

/// Whether a plan makes every parameter of the network `after`, and no other, from those of `before`; the plan by name.
fn check<'a>(
    before: &Network,
    after: &Network,
    plan: &'a NetworkPlan,
) -> Result<BTreeMap<&'a str, &'a ParameterPlan>, Fault> {
    let (old, new) = (by_name(before), by_name(after));
    let (mut planned, mut kept) = (BTreeMap::new(), BTreeSet::new());
    for one in &plan.parameters {
        let name = one.name.as_str();
        if planned.insert(name, one).is_some() {
            return Err(misfit(&format!("parameter `{name}` twice")));
        }
        let Some(wanted) = new.get(name) else {
            return Err(misfit(&format!("parameter `{name}`, which the network it leads to has not")));
        };
        if one.shape != wanted.shape {
            let text = format!("parameter `{name}` of shape {:?}; the network needs {:?}", one.shape, wanted.shape);
            return Err(misfit(&text));
        }
        if one.lineage == FRESH {
            continue;
        }
        let Some(source) = old.get(one.source.as_str()) else {
            return Err(misfit(&format!("parameter `{name}` from `{}`, which the network has not", one.source)));
        };
        match one.lineage {
            KEPT | MERGED if one.shape != source.shape || !one.maps.is_empty() => {
                let text = format!("parameter `{name}` of shape {:?}, kept as {:?}", source.shape, one.shape);
                return Err(misfit(&text));
            }
            KEPT | MERGED if !kept.insert(one.source.as_str()) => {
                return Err(misfit(&format!("parameter `{}`, kept under two names", one.source)));
            }
            KEPT => {}
            MERGED if !has_adapter(&old, &one.source) => {
                return Err(misfit(&format!("parameter `{name}` merged with an adapter, which it has not")));
            }
            MERGED => {}
            MAPPED => maps(one, source)?,
            _ => return Err(not_carried(&format!("parameter `{name}` of a lineage that is not known"))),
        }
    }
    if let Some(missing) = after.parameters.iter().find(|one| !planned.contains_key(one.name.as_str())) {
        return Err(misfit(&format!("no parameter `{}`, which the network it leads to needs", missing.name)));
    }
    if !planned.is_empty() && planned.values().all(|one| one.frozen) {
        return Err(misfit("no parameter that is trained"));
    }
    Ok(planned)
}

/// Whether this is a weight with an adapter beside it.
fn has_adapter(network: &BTreeMap<&str, &ParameterInfo>, weight: &str) -> bool {
    let beside = |end: &str| weight.strip_suffix("weight").map(|layer| format!("{layer}{end}"));
    [lora::A, lora::B].into_iter().filter_map(beside).filter(|name| network.contains_key(name.as_str())).count() == 2
}

fn by_name(network: &Network) -> BTreeMap<&str, &ParameterInfo> {
    network.parameters.iter().map(|one| (one.name.as_str(), one)).collect()
}

/// Whether the maps of a parameter lead from its source to its shape.
fn maps(one: &ParameterPlan, source: &ParameterInfo) -> Result<(), Fault> {
    let (name, old) = (&one.name, &source.shape);
    if one.maps.len() != old.len() || one.shape.len() != old.len() {
        let text = format!("parameter `{name}` with {} maps from `{}` of shape {old:?}", one.maps.len(), source.name);
        return Err(misfit(&text));
    }
    for (dim, ((map, old), new)) in one.maps.iter().zip(old).zip(&one.shape).enumerate() {
        let lengths = [map.index.len(), map.value_scale.len(), map.grad_scale.len()];
        if lengths.iter().any(|length| *length as i64 != *new) {
            let text = format!("parameter `{name}` with maps of {lengths:?} numbers for dimension {dim} of {new}");
            return Err(misfit(&text));
        }
        if let Some(index) = map.index.iter().find(|index| !(-1..*old).contains(*index)) {
            let text = format!("parameter `{name}` from index {index} of dimension {dim} of `{}`", source.name);
            return Err(misfit(&format!("{text}, which has {old}")));
        }
        if map.value_scale.iter().chain(&map.grad_scale).any(|scale| !scale.is_finite()) {
            return Err(misfit(&format!("parameter `{name}` with a scale in dimension {dim} that is not finite")));
        }
    }
    Ok(())
}

fn misfit(what: &str) -> Fault {
    Fault::new("P030", Exit::Plugin, format!("the plan does not fit the network: it has {what}"))
}

fn not_carried(what: &str) -> Fault {
    Fault::new("P031", Exit::Plugin, format!("the plan asks for {what}"))
        .note("host", "it carries parameters that are fresh, kept, mapped or merged, and no numbers of the data")
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{config::settings::Format, model::Gpt};

    fn before() -> Network {
        let settings = crate::config::settings::ModelSettings {
            n_layer: 2,
            n_head: 1,
            n_embd: 2,
            block_size: 4,
            ..knobs::builtin().model
        };
        let model = Gpt::new(&settings, 3, 1, Format::F32, Device::Cpu).unwrap();
        network(model.parameters(), &model.facts())
    }

    const C_FC: &str = "transformer.h.0.mlp.c_fc.weight";

    #[test]
    fn the_network_that_numbers_lead_to() {
        let before = before();
        let mut plan = before.keep_all();
        assert_eq!(planned_network(&before, &plan).unwrap().parameters.len(), before.parameters.len());
        plan.set_fact("n_layer", 3.0);
        for one in before.layer(1) {
            let name = one.name.replace("h.1.", "h.2.");
            let sizes = one.shape.iter().map(|size| DimensionMap::identity(*size)).collect();
            plan.parameters.push(ParameterPlan::mapped(&name, one, sizes));
        }
        plan.parameter("transformer.wpe.weight").unwrap().frozen = true;
        let after = planned_network(&before, &plan).unwrap();
        assert_eq!(after.fact("n_layer"), Ok(3.0));
        assert_eq!(after.layer(2).count(), before.layer(1).count());
        let frozen = |one: &&ParameterInfo| one.frozen;
        assert_eq!(
            after.parameters.iter().filter(frozen).map(|one| one.name.as_str()).collect::<Vec<_>>(),
            ["transformer.wpe.weight"]
        );
    }

    #[test]
    fn what_cannot_be_carried_is_refused() {
        type Edit = fn(&mut NetworkPlan);
        let table: [(&str, &str, Edit); 22] = [
            ("P030", "`depth` = 3", |plan| plan.set_fact("depth", 3.0)),
            ("P030", "`n_layer` = 2.5", |plan| plan.set_fact("n_layer", 2.5)),
            ("P030", "is no multiple of n_head", |plan| plan.set_fact("n_head", 3.0)),
            ("P031", "`block_size` = 8", |plan| plan.set_fact("block_size", 8.0)),
            ("P030", "the network needs [8, 2]", |plan| plan.set_fact("vocab_size", 8.0)),
            ("P030", "`n_layer` = 3000000000 and ", |plan| plan.set_fact("n_layer", 3e9)),
            ("P030", "", |plan| plan.set_fact("n_embd", 3e9)),
            ("P030", "more than 17592186044416 elements", |plan| plan.set_fact("n_embd", 4e6)),
            ("P030", "no parameter `transformer.h.2.ln_1.weight`", |plan| plan.set_fact("n_layer", 3.0)),
            ("P030", "the network needs [9, 2]", |plan| plan.set_fact("mlp_width", 9.0)),
            ("P031", "a lineage that is not known", |plan| plan.parameters[0].lineage = 9),
            ("P030", "it leads to has not", |plan| plan.parameters[0].name = "h.2.w".into()),
            ("P030", "which the network has not", |plan| plan.parameters[0].source = "h.2.w".into()),
            ("P030", "kept under two names", |plan| {
                plan.parameter("transformer.h.0.ln_2.weight").unwrap().source = "transformer.h.0.ln_1.weight".into();
            }),
            ("P030", "kept as [8, 2]", |plan| plan.parameter(C_FC).unwrap().source = plan.parameters[0].name.clone()),
            ("P030", "kept as", |plan| plan.parameters[0].maps = vec![DimensionMap::identity(3)].into()),
            ("P030", "no parameter `transformer.ln_f.weight`", |plan| drop(plan.parameters.pop())),
            ("P030", "twice", |plan| plan.parameters.push(plan.parameters[0].clone())),
            ("P030", "with 1 maps", |plan| mapped(plan, vec![DimensionMap::identity(8)])),
            ("P030", "from index 8 of dimension 0", |plan| {
                mapped(plan, vec![DimensionMap::select((1..9).collect()), DimensionMap::identity(2)]);
            }),
            ("P030", "not finite", |plan| {
                mapped(plan, vec![DimensionMap::identity(8).scaled(1.0, f64::NAN), DimensionMap::identity(2)]);
            }),
            ("P030", "no parameter that is trained", |plan| plan.parameters.iter_mut().for_each(|p| p.frozen = true)),
        ];
        fn mapped(plan: &mut NetworkPlan, maps: Vec<DimensionMap>) {
            let one = plan.parameter(C_FC).unwrap();
            (one.lineage, one.maps) = (MAPPED, maps.into());
        }
        let before = before();
        for (code, part, edit) in table {
            let mut plan = before.keep_all();
            edit(&mut plan);
            let fault = planned_network(&before, &plan).unwrap_err();
            assert_eq!((fault.code, fault.message.contains(part)), (code, true), "{part}: {fault}");
        }
    }
}
