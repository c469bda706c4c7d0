//! Plans for a network of one block, checked parameter by parameter.

use sdk::abi_stable::std_types::Tuple2;

use super::*;

const ATTN: &str = "transformer.h.0.attn.c_attn";
const FC: &str = "transformer.h.0.mlp.c_fc";

/// Width 6; attention of rank `attn`, the embedding of rank `vocab`, the MLP of rank 1; 0 is none.
fn network(attn: i64, vocab: i64, tied: bool) -> Network {
    let one = |name: String, shape: &[i64], frozen| ParameterInfo {
        name: name.as_str().into(),
        role: "matrix".into(),
        layer: 0,
        shape: shape.to_vec().into(),
        frozen,
    };
    let layer = |name: &str, [outputs, inputs]: [i64; 2], rank: i64| {
        let mut all = vec![
            one(format!("{name}.weight"), &[outputs, inputs], rank > 0),
            one(format!("{name}.bias"), &[outputs], rank > 0),
        ];
        if rank > 0 {
            all.push(one(format!("{name}.lora_A"), &[rank, inputs], false));
            all.push(one(format!("{name}.lora_B"), &[outputs, rank], false));
        }
        all
    };
    let mut parameters = vec![one("transformer.wte.weight".into(), &[10, 6], vocab > 0)];
    if vocab > 0 {
        parameters.push(one("transformer.wte.lora_A".into(), &[10, vocab], false));
        parameters.push(one("transformer.wte.lora_B".into(), &[6, vocab], false));
    }
    parameters.extend(layer(ATTN, [18, 6], attn));
    parameters.extend(layer(FC, [24, 6], 1));
    let divisor = |rank: i64| if rank == 0 { 12.0 } else { 6.0 / rank as f64 };
    let facts = [
        ("n_embd", 6.0),
        ("attn_lora_divisor", divisor(attn)),
        ("vocab_lora_divisor", divisor(vocab)),
        ("tie_head", f64::from(u8::from(tied))),
    ];
    Network {
        facts: facts.iter().map(|(name, value)| Tuple2((*name).into(), *value)).collect(),
        parameters: parameters.into(),
    }
}

/// Lineage, shape and whether frozen.
fn row(plan: &mut NetworkPlan, name: &str) -> (u32, Vec<i64>, bool) {
    let one = plan.parameter(name).unwrap();
    (one.lineage, one.shape.to_vec(), one.frozen)
}

fn facts(plan: &NetworkPlan) -> Vec<(String, f64)> {
    plan.facts.iter().map(|fact| (fact.0.to_string(), fact.1)).collect()
}

#[test]
fn decreasing_the_divisor_merges_and_gives_a_larger_adapter() {
    let mut plan = decrease_scaling(&network(2, 0, true), Place::Attention, 1.5).unwrap();
    assert_eq!(facts(&plan), [("attn_lora_divisor".to_string(), 2.0)]);
    assert_eq!(row(&mut plan, &format!("{ATTN}.weight")), (3, vec![18, 6], true));
    assert_eq!(row(&mut plan, &format!("{ATTN}.bias")), (1, vec![18], true));
    assert_eq!(row(&mut plan, &format!("{ATTN}.lora_A")), (0, vec![3, 6], false));
    assert_eq!(row(&mut plan, &format!("{ATTN}.lora_B")), (0, vec![18, 3], false));
    for name in [&format!("{FC}.weight"), &format!("{FC}.lora_A"), "transformer.wte.weight"] {
        assert_eq!(row(&mut plan, name).0, 1, "{name}");
    }
    assert_eq!(plan.parameters.len(), 9);
}

#[test]
fn merging_a_tied_embedding_leaves_the_head_what_it_read() {
    for tied in [true, false] {
        let mut plan = set_rank(&network(0, 2, tied), Place::Vocabulary, 3.0).unwrap();
        assert_eq!(row(&mut plan, "transformer.wte.weight"), (3, vec![10, 6], true));
        assert_eq!(row(&mut plan, "transformer.wte.lora_A"), (0, vec![10, 3], false));
        assert_eq!(row(&mut plan, "transformer.wte.lora_B"), (0, vec![6, 3], false));
        let mut expected = vec![("vocab_lora_divisor".to_string(), 2.0)];
        if tied {
            expected.insert(0, ("tie_head".to_string(), 0.0));
            assert_eq!(row(&mut plan, "lm_head.weight"), (2, vec![10, 6], true));
            assert_eq!(plan.parameter("lm_head.weight").unwrap().source, "transformer.wte.weight");
        }
        assert_eq!(facts(&plan), expected);
        assert_eq!(plan.parameter("lm_head.weight").is_ok(), tied);
    }
    // without an adapter there is nothing to merge
    assert!(set_rank(&network(0, 0, true), Place::Vocabulary, 3.0).unwrap().parameter("lm_head.weight").is_err());
}

#[test]
fn rank_zero_trains_the_weights_again() {
    let mut plan = set_rank(&network(2, 0, true), Place::Attention, 0.0).unwrap();
    assert_eq!(row(&mut plan, &format!("{ATTN}.weight")), (3, vec![18, 6], false));
    assert_eq!(row(&mut plan, &format!("{ATTN}.bias")), (1, vec![18], false));
    assert!(plan.parameter(&format!("{ATTN}.lora_A")).is_err());
    assert_eq!(lora_rank(6.0, plan.facts[0].1), 0);
}

#[test]
fn a_layer_that_was_frozen_stays_frozen() {
    let mut network = network(2, 0, true);
    network.parameters.iter_mut().for_each(|one| one.frozen = true);
    for rank in [0.0, 1.0] {
        let plan = set_rank(&network, Place::Attention, rank).unwrap();
        assert!(plan.parameters.iter().all(|one| one.frozen), "rank {rank}");
    }
}

#[test]
fn merging_all_begins_each_anew_with_the_rank_it_had() {
    let mut plan = merge_all(&network(2, 1, true)).unwrap();
    for (layer, a) in [(ATTN, vec![2, 6]), (FC, vec![1, 6]), ("transformer.wte", vec![10, 1])] {
        assert_eq!(row(&mut plan, &format!("{layer}.weight")).0, 3, "{layer}");
        assert_eq!(row(&mut plan, &format!("{layer}.lora_A")), (0, a, false), "{layer}");
    }
    assert_eq!(facts(&plan), [("tie_head".to_string(), 0.0)]);
}

#[test]
fn what_cannot_be_done_says_why() {
    let adapted = network(2, 0, true);
    let cases = [
        (decrease_scaling(&adapted, Place::Attention, 1.0), "above 1"),
        (decrease_scaling(&adapted, Place::Attention, 4.0), "a rank of 8 is larger than the width of 6"),
        (decrease_scaling(&adapted, Place::Vocabulary, 2.0), "has no adapter; `set-vocab-lora-rank`"),
        (set_rank(&adapted, Place::Attention, 7.0), "a rank of 7 is larger"),
        (set_rank(&adapted, Place::Attention, 1.5), "whole number"),
    ];
    for (plan, part) in cases {
        let error = plan.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let mut plain = network(0, 0, true);
    plain.parameters = plain.parameters.iter().filter(|one| !one.name.contains("lora")).cloned().collect();
    assert!(merge_all(&plain).unwrap_err().to_string().contains("no adapter"));
}
