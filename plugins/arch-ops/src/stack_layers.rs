//! Stacks copies of all blocks.
//!
//! ```text
//! order = "whole":  new block i ← old block i mod L          (0 1 0 1)
//! order = "each":   new block i ← old block ⌊i/times⌋        (0 0 1 1)         i = 0 … times·L − 1
//! mode = "exact":   c_proj of copies ← 0, so that the network computes what it did
//! mode = "plain":   copies as they are; the network computes something else
//! ```
//! Gong et al. 2019, "Efficient Training of BERT by Progressively Stacking", ICML 2019 (PMLR 97), for plain copies; copies
//! with zeroed projections are the block expansion of Wu et al. 2024, "LLaMA Pro: Progressive LLaMA with Block
//! Expansion", arXiv 2401.02415. One block alone is copied by `duplicate-layer`.

use sdk::*;

use crate::layer_map;

/// The operation.
pub struct StackLayers;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    times: T,
    mode: T,
    order: T,
}

/// Index of `exact` among the choices of `mode`.
pub(crate) const EXACT: usize = 0;
/// The choices of `mode`.
pub(crate) const MODES: &[&str] = &["exact", "plain"];
/// Index of `each` among the choices of `order`.
const EACH: usize = 1;

impl ArchOp for StackLayers {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper {
            times: knob(2.0, 2.0..=1000.0, "how many times as many blocks"),
            mode: choice(MODES, "whether copies change nothing at first, or are copies in full"),
            order: choice(&["whole", "each"], "copies of the whole stack on top, or of each block behind it"),
        }
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        if h.times.fract() != 0.0 {
            return Err(format!("times must be a whole number, not {}", h.times).into());
        }
        let (times, layers) = (h.times as i64, network.fact("n_layer")? as i64);
        let of = |new: i64| if h.order.is(EACH) { new / times } else { new % layers };
        let map: Vec<i64> = (0..times * layers).map(of).collect();
        layer_map::plan(network, &map, h.mode.is(EXACT))
    }
}

register!(
    ArchOp StackLayers, "stack-layers",
    summary = "stacks copies of all blocks",
    paper = "arXiv 2401.02415"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer_map::tests::network;

    #[test]
    fn orders() {
        for (order, expected) in [(0.0, [0, 1, 0, 1, 0, 1]), (1.0, [0, 0, 0, 1, 1, 1])] {
            let plan = StackLayers::plan(&Hyper { times: 3.0, mode: 1.0, order }, &network()).unwrap();
            for (new, old) in expected.into_iter().enumerate() {
                let name = format!("transformer.h.{new}.ln_1.weight");
                let one = plan.parameters.iter().find(|one| one.name == name.as_str()).unwrap();
                assert_eq!(one.source, format!("transformer.h.{old}.ln_1.weight"));
            }
        }
        let half = StackLayers::plan(&Hyper { times: 2.5, mode: 0.0, order: 0.0 }, &network()).unwrap_err();
        assert!(half.to_string().contains("whole number"));
    }
}
