//! More rows in the vocabulary: those there are, are copied, and new ones begin fresh.
//!
//! ```text
//! E′[v] ← E[v]  for v < old,  fresh beyond        of the embedding, its adapter's A, and a head of its own
//! ```
//! Rows beyond the tokens of the data are never targets. nanoGPT pads its vocabulary to a multiple of 64 with such rows,
//! for speed (Karpathy 2022, github.com/karpathy/nanoGPT).

use sdk::*;

/// The operation.
pub struct ResizeVocabulary;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    size: T,
}

/// Parameters with a row per token.
const ROWS_ARE_TOKENS: [&str; 3] = ["transformer.wte.weight", "transformer.wte.lora_A", "lm_head.weight"];

impl ArchOp for ResizeVocabulary {
    type Hyper<T: Copy> = Hyper<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { size: knob(256.0, 1.0..=65536.0, "rows of the vocabulary; more than there are") }
    }

    fn plan(h: &Hyper<f64>, network: &Network) -> Result<NetworkPlan> {
        if h.size.fract() != 0.0 {
            return Err(format!("size must be a whole number, not {}", h.size).into());
        }
        let (old, new) = (network.fact("vocab_size")? as i64, h.size as i64);
        if new <= old {
            return Err(format!("{new} rows are not more than the {old} tokens there are").into());
        }
        let mut plan = network.keep_all();
        for parameter in network.parameters.iter().filter(|one| ROWS_ARE_TOKENS.contains(&one.name.as_str())) {
            let rows = DimensionMap::select((0..new).map(|row| if row < old { row } else { -1 }).collect());
            let rest = parameter.shape.iter().skip(1).map(|&size| DimensionMap::identity(size));
            let maps = std::iter::once(rows).chain(rest).collect();
            *plan.parameter(&parameter.name)? = ParameterPlan::mapped(&parameter.name, parameter, maps);
        }
        plan.set_fact("vocab_size", h.size);
        Ok(plan)
    }
}

register!(
    ArchOp ResizeVocabulary, "resize-vocabulary",
    summary = "gives the vocabulary more rows; those there are, are copied",
    paper = "nanoGPT"
);
