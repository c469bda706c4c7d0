//! Puts a copy of one block behind it.
//!
//! ```text
//! new blocks ← 0 … layer, layer, layer + 1 … L − 1           (for layer = 0 of two: 0 0 1)
//! mode = "exact":   c_proj of the copy ← 0, so that the network computes what it did
//! mode = "plain":   the copy as it is; the network computes something else
//! ```
//! One step of the block expansion of Wu et al. 2024, "LLaMA Pro: Progressive LLaMA with Block Expansion", arXiv
//! 2401.02415. Every list of blocks whose copies stand behind their block is made of such steps.

use sdk::*;

use crate::{
    layer_map,
    stack_layers::{EXACT, MODES},
};

/// The operation.
pub struct DuplicateLayer;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    layer: T,
    mode: T,
}

impl ArchOp for DuplicateLayer {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            layer: knob(0.0, 0.0..=1e6, "the block, counted from 0"),
            mode: choice(MODES, "whether the copy changes nothing at first, or is a copy in full"),
        }
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        if h.layer.fract() != 0.0 {
            return Err(format!("layer must be a whole number, not {}", h.layer).into());
        }
        let (layer, layers) = (h.layer as i64, network.fact("n_layer")? as i64);
        let map: Vec<i64> = (0..=layer).chain(layer..layers.max(layer + 1)).collect();
        layer_map::plan(network, &map, h.mode.is(EXACT))
    }
}

register!(
    ArchOp DuplicateLayer, "duplicate-layer",
    summary = "puts a copy of a block behind it",
    paper = "arXiv 2401.02415"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer_map::tests::network;

    #[test]
    fn the_copy_stands_behind_its_block() {
        for (layer, expected) in [(0.0, [0, 0, 1]), (1.0, [0, 1, 1])] {
            let plan = DuplicateLayer::plan(&Hyper { layer, mode: 0.0 }, &network()).unwrap();
            for (new, old) in expected.into_iter().enumerate() {
                let name = format!("transformer.h.{new}.ln_1.weight");
                let one = plan.parameters.iter().find(|one| one.name == name.as_str()).unwrap();
                assert_eq!(one.source, format!("transformer.h.{old}.ln_1.weight"));
            }
        }
        for (layer, text) in [(2.0, "no block 2"), (0.5, "whole number")] {
            let error = DuplicateLayer::plan(&Hyper { layer, mode: 0.0 }, &network()).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
