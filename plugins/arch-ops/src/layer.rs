//! Choosing a block of the network by its number.
//! Changes nothing itself.

use sdk::*;

/// Hyper-parameters of an operation on one block.
#[derive(Record)]
pub struct Hyper<T> {
    /// The block, from 0.
    pub layer: T,
}

impl Hyper<Knob> {
    /// The schema.
    pub fn schema() -> Hyper<Knob> {
        Hyper { layer: knob(0.0, 0.0..=1e6, "the block, counted from 0") }
    }
}

/// The plan that keeps everything, but with the parameters of the chosen block frozen or not.
///
/// # Errors
/// The number is not whole, or the network has no such block.
pub fn with_frozen(h: &Hyper<f64>, network: &Network, frozen: bool) -> Result<NetworkPlan> {
    if h.layer.fract() != 0.0 {
        return Err(format!("layer must be a whole number, not {}", h.layer).into());
    }
    let layer = h.layer as i64;
    let mut plan = network.keep_all();
    let mut found = false;
    for parameter in network.layer(layer) {
        plan.parameter(&parameter.name)?.frozen = frozen;
        found = true;
    }
    if !found {
        let layers = network.parameters.iter().map(|parameter| parameter.layer + 1).max().unwrap_or(0).max(0);
        return Err(format!("the network has no block {layer}; it has {layers}, counted from 0").into());
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let parameter = |name: &str, layer, frozen| ParameterInfo {
            name: name.into(),
            role: "matrix".into(),
            layer,
            shape: vec![2, 3].into(),
            frozen,
        };
        Network {
            facts: Vec::new().into(),
            parameters: vec![
                parameter("wte", -1, false),
                parameter("h.0.a", 0, false),
                parameter("h.1.a", 1, false),
                parameter("h.1.b", 1, true),
            ]
            .into(),
        }
    }

    #[test]
    fn only_the_chosen_block_changes() {
        for (layer, frozen, want) in [
            (0.0, true, [false, true, false, true]),
            (1.0, true, [false, false, true, true]),
            (1.0, false, [false, false, false, false]),
        ] {
            let plan = with_frozen(&Hyper { layer }, &network(), frozen).unwrap();
            let got: Vec<bool> = plan.parameters.iter().map(|parameter| parameter.frozen).collect();
            assert_eq!(got, want, "layer {layer}, frozen {frozen}");
            assert!(
                plan.parameters.iter().all(|parameter| parameter.lineage == 1 && parameter.name == parameter.source)
            );
        }
    }

    #[test]
    fn a_block_that_is_not_there_is_an_error() {
        for (layer, text) in [(2.0, "no block 2; it has 2"), (0.5, "whole number")] {
            let error = with_frozen(&Hyper { layer }, &network(), true).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
