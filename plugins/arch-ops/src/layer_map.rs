//! Blocks of the new network from blocks of the old one, by a list: old block per new block.
//! The first block from an old one is that block; later ones are copies.

use sdk::*;

/// The plan in which new block i comes from old block `map[i]`. With `is_exact` the projections back into the residual
/// stream are zeroed in copies, and so are their adapters' B: a copied block then changes nothing at first. Their
/// gradients say nothing of what they will learn, so they are zeroed too.
///
/// # Errors
/// An old block that is not there, or that no new one comes from.
pub fn plan(network: &Network, map: &[i64], is_exact: bool) -> Result<NetworkPlan> {
    let layers = network.fact("n_layer")? as i64;
    if let Some(layer) = map.iter().find(|layer| !(0..layers).contains(*layer)) {
        return Err(format!("the network has no block {layer}; it has {layers}, counted from 0").into());
    }
    let mut is_used = vec![false; layers as usize];
    let mut plan = network.keep_all();
    plan.parameters.retain(|parameter| network.layer(-1).any(|outside| outside.name == parameter.name));
    for (new, &old) in map.iter().enumerate() {
        let is_first = !std::mem::replace(&mut is_used[old as usize], true);
        for parameter in network.layer(old) {
            let name = parameter.name.replacen(&format!("h.{old}."), &format!("h.{new}."), 1);
            let mut one = ParameterPlan::copied(&name, parameter);
            if is_first {
                one = ParameterPlan { name: one.name, ..ParameterPlan::kept(parameter) };
            } else if is_exact && is_way_out(&name) {
                one.maps[0] = one.maps[0].clone().scaled(0.0, 0.0);
            }
            plan.parameters.push(one);
        }
    }
    if let Some(layer) = is_used.iter().position(|is_used| !is_used) {
        return Err(format!("no new block comes from block {layer}, so what it learned would be lost").into());
    }
    plan.set_fact("n_layer", map.len() as f64);
    Ok(plan)
}

/// Whether a block writes to the residual stream through this parameter alone.
fn is_way_out(name: &str) -> bool {
    ["c_proj.weight", "c_proj.bias", "c_proj.lora_B"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
pub(crate) mod tests {
    use sdk::abi::ParameterInfo;

    use super::*;

    /// Two blocks; the second is frozen.
    pub(crate) fn network() -> Network {
        let parameter = |name: &str, layer, shape: &[i64]| ParameterInfo {
            name: name.into(),
            role: "matrix".into(),
            layer,
            shape: shape.to_vec().into(),
            frozen: layer == 1,
        };
        let block = |layer: i64| {
            let name = |end: &str| format!("transformer.h.{layer}.{end}");
            [
                parameter(&name("ln_1.weight"), layer, &[2]),
                parameter(&name("mlp.c_fc.weight"), layer, &[3, 2]),
                parameter(&name("mlp.c_fc.bias"), layer, &[3]),
                parameter(&name("mlp.c_proj.weight"), layer, &[2, 3]),
                parameter(&name("mlp.c_proj.bias"), layer, &[2]),
            ]
        };
        let mut parameters = vec![parameter("wte", -1, &[5, 2])];
        parameters.extend(block(0));
        parameters.extend(block(1));
        let facts = [("n_layer", 2.0), ("mlp_width", 3.0)].map(|(name, value)| (name.to_string(), value));
        Network {
            facts: facts.into_iter().map(|(name, value)| (name.as_str().into(), value).into()).collect(),
            parameters: parameters.into(),
        }
    }

    #[test]
    fn new_block_1_of_0_0_1_carries_old_block_0() {
        let plan = plan(&network(), &[0, 0, 1], true).unwrap();
        assert_eq!(plan.parameters.len(), 16);
        let row = |name: &str| {
            let one = plan.parameters.iter().find(|one| one.name == name).unwrap();
            let scale = one.maps.first().map(|map| (map.value_scale[0], map.grad_scale[0]));
            (one.lineage, one.source.to_string(), scale, one.frozen)
        };
        let of = |layer: i64, end: &str| format!("transformer.h.{layer}.{end}");
        assert_eq!(row("wte"), (1, "wte".into(), None, false));
        assert_eq!(row(&of(0, "ln_1.weight")), (1, of(0, "ln_1.weight"), None, false));
        assert_eq!(row(&of(1, "ln_1.weight")), (2, of(0, "ln_1.weight"), Some((1.0, 1.0)), false));
        assert_eq!(row(&of(2, "ln_1.weight")), (1, of(1, "ln_1.weight"), None, true));
        for end in ["mlp.c_proj.weight", "mlp.c_proj.bias"] {
            assert_eq!(row(&of(1, end)), (2, of(0, end), Some((0.0, 0.0)), false));
        }
        assert_eq!(plan.facts[0].1, 3.0);
    }

    #[test]
    fn copies_are_whole_where_they_need_not_be_exact() {
        let plan = plan(&network(), &[1, 0, 1], false).unwrap();
        let scales = plan.parameters.iter().flat_map(|one| &one.maps).flat_map(|map| &map.value_scale);
        assert!(scales.copied().all(|scale| scale == 1.0));
    }

    #[test]
    fn blocks_that_are_not_there_and_blocks_that_are_lost() {
        for (map, text) in [(&[0, 2][..], "no block 2; it has 2"), (&[1, 1], "from block 0")] {
            let error = plan(&network(), map, true).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
