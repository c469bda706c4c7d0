//! More hidden units for every feed-forward half, by copies that share what their unit did.
//! Copies differ from the start, or they would learn the same for ever.

use sdk::{abi::DimensionMap, *};

/// The plan with `width` hidden units: unit j copies unit g(j) = j mod h of h.
///
/// A copy takes over the unit's incoming row and bias, and its share of the unit's outgoing column; the shares of the c
/// copies of one unit are (c + i)/Σ, i = 0 … c − 1, so they differ, and they sum to 1. The output stays. The gradient of
/// an incoming row is the share of the old one; that of an outgoing column is the old one.
///
/// # Errors
/// A width that is not more than there is, or that is no whole number.
pub fn plan(network: &Network, width: f64) -> Result<NetworkPlan> {
    let old = network.fact("mlp_width")?;
    if width.fract() != 0.0 || width.is_nan() || width <= old {
        return Err(format!("{width} hidden units are no whole number above {old}, which the network has").into());
    }
    let (old, width) = (old as i64, width as i64);
    let index: Vec<i64> = (0..width).map(|unit| unit % old).collect();
    let shares: Vec<f64> = (0..width).map(|unit| share(unit / old, copies(unit % old, old, width))).collect();
    let all = |scale: &[f64], is_value: bool| {
        let mut map = DimensionMap::select(index.clone());
        let scales = if is_value { &mut map.value_scale } else { &mut map.grad_scale };
        *scales = scale.to_vec().into();
        map
    };
    let mut plan = network.keep_all();
    plan.set_fact("mlp_width", width as f64);
    for parameter in &network.parameters {
        let Some((_, name)) = parameter.name.split_once(".mlp.") else { continue };
        let other = |dim: usize| DimensionMap::identity(parameter.shape[dim]);
        let maps = match name {
            "c_fc.bias" => vec![all(&shares, false)],
            "c_fc.weight" | "c_fc.lora_B" => vec![all(&shares, false), other(1)],
            "c_proj.weight" | "c_proj.lora_A" => vec![other(0), all(&shares, true)],
            _ => continue,
        };
        *plan.parameter(&parameter.name)? = ParameterPlan::mapped(&parameter.name, parameter, maps);
    }
    Ok(plan)
}

/// How many of `width` units copy unit `unit` of `old`.
fn copies(unit: i64, old: i64, width: i64) -> i64 {
    (width - unit + old - 1) / old
}

/// Share of copy `i` of `c`.
fn share(i: i64, c: i64) -> f64 {
    (c + i) as f64 / (c * (3 * c - 1) / 2) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer_map::tests::network;

    #[test]
    fn shares_differ_and_sum_to_one() {
        assert_eq!(share(0, 1), 1.0);
        for c in 2..20 {
            let shares: Vec<f64> = (0..c).map(|i| share(i, c)).collect();
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-15);
            assert!(shares.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn rows_are_copied_and_columns_shared_out() {
        let plan = plan(&network(), 5.0).unwrap();
        let maps = |end: &str| {
            let name = format!("transformer.h.1.mlp.{end}");
            plan.parameters.iter().find(|one| one.name == name.as_str()).unwrap().maps.to_vec()
        };
        let shares = [0.4, 0.4, 1.0, 0.6, 0.6];
        for (map, value, grad) in [
            (&maps("c_fc.weight")[0], [1.0; 5], shares),
            (&maps("c_fc.bias")[0], [1.0; 5], shares),
            (&maps("c_proj.weight")[1], shares, [1.0; 5]),
        ] {
            assert_eq!(map.index.to_vec(), [0, 1, 2, 0, 1]);
            assert_eq!((map.value_scale.to_vec(), map.grad_scale.to_vec()), (value.to_vec(), grad.to_vec()));
        }
        assert!(maps("c_proj.bias").is_empty(), "the output bias is kept");
        assert_eq!(plan.parameters.iter().filter(|one| one.frozen).count(), 5, "what was frozen stays frozen");
        assert_eq!(plan.facts[0].1, 5.0);
    }

    #[test]
    fn it_grows_or_refuses() {
        for width in [3.0, 2.0, 4.5, f64::NAN] {
            assert!(plan(&network(), width).unwrap_err().to_string().contains("above 3"), "{width}");
        }
    }
}
