//! Low-rank adapters: merged into their weights, and replaced by new ones that change nothing at first.
//! Chooses no rank.

use sdk::*;

/// How much larger adapters become.
pub mod scaling {
    use sdk::*;

    /// Hyper-parameters of an operation that divides the divisor.
    #[derive(Record)]
    pub struct Hyper<T> {
        /// What the divisor is divided by.
        pub factor: T,
    }

    impl Hyper<Knob> {
        /// The schema.
        pub fn schema() -> Hyper<Knob> {
            Hyper {
                factor: knob(2.0, 1.0..=1e6, "what the divisor is divided by; the rank is about as many times larger"),
            }
        }
    }
}

/// How large adapters become.
pub mod rank {
    use sdk::*;

    /// Hyper-parameters of an operation that sets the rank.
    #[derive(Record)]
    pub struct Hyper<T> {
        /// The rank.
        pub rank: T,
    }

    impl Hyper<Knob> {
        /// The schema.
        pub fn schema() -> Hyper<Knob> {
            Hyper { rank: knob(8.0, 0.0..=65536.0, "rank of the new adapters; 0 is none") }
        }
    }
}

/// Name of the token embedding, without its end.
const EMBEDDING: &str = "transformer.wte";

/// Where adapters are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The two linear layers of attention.
    Attention,
    /// The token embedding.
    Vocabulary,
}

impl Place {
    /// Whether the layer of this name is there.
    fn holds(self, layer: &str) -> bool {
        match self {
            Place::Attention => layer.ends_with(".attn.c_attn") || layer.ends_with(".attn.c_proj"),
            Place::Vocabulary => layer == EMBEDDING,
        }
    }

    /// The number of the architecture that gives the rank: ⌊n_embd / divisor⌋.
    fn divisor(self) -> &'static str {
        match self {
            Place::Attention => "attn_lora_divisor",
            Place::Vocabulary => "vocab_lora_divisor",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Place::Attention => "attention",
            Place::Vocabulary => "the token embedding",
        }
    }
}

/// Divides the divisor by `factor`: adapters are merged, and their successors have about as many times the rank.
///
/// # Errors
/// There are no adapters, `factor` is not above 1, or the rank would be larger than the width.
pub fn decrease_scaling(network: &Network, place: Place, factor: f64) -> Result<NetworkPlan> {
    if factor <= 1.0 {
        return Err(format!("factor must be above 1, so that the rank grows; it is {factor}").into());
    }
    if !network.parameters.iter().any(|one| layer_of(&one.name, "lora_A").is_some_and(|layer| place.holds(layer))) {
        let set = match place {
            Place::Attention => "set-attn-lora-rank",
            Place::Vocabulary => "set-vocab-lora-rank",
        };
        return Err(format!("{} has no adapter; `{set}` gives it one", place.name()).into());
    }
    let divisor = network.fact(place.divisor())? / factor;
    with_divisor(network, place, divisor)
}

/// Gives adapters this rank: those there are, are merged. Rank 0 leaves none, and trains the weights again.
///
/// # Errors
/// `rank` is not a whole number, or larger than the width.
pub fn set_rank(network: &Network, place: Place, rank: f64) -> Result<NetworkPlan> {
    if rank.fract() != 0.0 || rank < 0.0 {
        return Err(format!("rank must be a whole number from 0 on, not {rank}").into());
    }
    let width = network.fact("n_embd")?;
    // any divisor above the width leaves no rank
    with_divisor(network, place, if rank == 0.0 { 2.0 * width } else { width / rank })
}

fn with_divisor(network: &Network, place: Place, divisor: f64) -> Result<NetworkPlan> {
    let width = network.fact("n_embd")?;
    let rank = lora_rank(width, divisor);
    if rank as f64 > width {
        return Err(format!("a rank of {rank} is larger than the width of {width}").into());
    }
    let mut plan = renewed(network, |layer, _| place.holds(layer).then_some(rank as i64))?;
    plan.set_fact(place.divisor(), divisor);
    Ok(plan)
}

/// Merges every adapter into its weight; each begins anew with the rank it had.
///
/// # Errors
/// There are no adapters.
pub fn merge_all(network: &Network) -> Result<NetworkPlan> {
    if !network.parameters.iter().any(|one| layer_of(&one.name, "lora_A").is_some()) {
        return Err("the network has no adapter to merge".into());
    }
    renewed(network, |_, rank| (rank > 0).then_some(rank))
}

/// The plan that gives layers new adapters. `rank` is asked for every layer with its name and the rank it has, and says
/// the new one, or none where the layer stays as it is. An adapter there was is merged.
fn renewed(network: &Network, rank: impl Fn(&str, i64) -> Option<i64>) -> Result<NetworkPlan> {
    let find = |name: &str| network.parameters.iter().find(|one| one.name == name);
    let mut plan = NetworkPlan { facts: Vec::new().into(), parameters: Vec::new().into() };
    let renewed = |layer: &str| rank(layer, old_rank(network, layer));
    for parameter in &network.parameters {
        let name = parameter.name.as_str();
        let Some((layer, end)) = name.rsplit_once('.') else {
            plan.parameters.push(ParameterPlan::kept(parameter));
            continue;
        };
        let Some(rank) = renewed(layer) else {
            plan.parameters.push(ParameterPlan::kept(parameter));
            continue;
        };
        let old = find(&format!("{layer}.lora_A"));
        // A layer whose adapter is left out of training was frozen on purpose, and stays so.
        let is_frozen = old.map_or(parameter.frozen, |old| old.frozen);
        match end {
            "lora_A" | "lora_B" => {}
            "weight" => {
                let mut weight =
                    if old.is_some() { ParameterPlan::merged(parameter) } else { ParameterPlan::kept(parameter) };
                weight.frozen = rank > 0 || is_frozen;
                plan.parameters.push(weight);
                if rank > 0 {
                    plan.parameters.extend(fresh(layer, parameter, rank, is_frozen)?);
                }
                if layer == EMBEDDING && old.is_some() && network.fact("tie_head")? == 1.0 {
                    untie(&mut plan, parameter, rank > 0 || is_frozen);
                }
            }
            _ => {
                let mut bias = ParameterPlan::kept(parameter);
                bias.frozen = rank > 0 || is_frozen;
                plan.parameters.push(bias);
            }
        }
    }
    Ok(plan)
}

/// A and B of a layer with this weight: `[r, inputs]` and `[outputs, r]`, or of a table `[rows, r]` and `[width, r]`.
fn fresh(layer: &str, weight: &ParameterInfo, rank: i64, is_frozen: bool) -> Result<[ParameterPlan; 2]> {
    let &[outputs, inputs] = &weight.shape[..] else {
        return Err(format!("`{}` is not a matrix", weight.name).into());
    };
    let (a, b) = match layer {
        EMBEDDING => ([outputs, rank], [inputs, rank]),
        _ => ([rank, inputs], [outputs, rank]),
    };
    Ok([("lora_A", a), ("lora_B", b)].map(|(end, shape)| {
        let mut plan = ParameterPlan::fresh(&format!("{layer}.{end}"), &shape);
        plan.frozen = is_frozen;
        plan
    }))
}

/// Gives the head the embedding's weight as it was: it reads that without the adapter. As the embedding's own, it is
/// trained where no adapter is left.
fn untie(plan: &mut NetworkPlan, embedding: &ParameterInfo, frozen: bool) {
    plan.parameters.push(ParameterPlan { frozen, ..ParameterPlan::copied("lm_head.weight", embedding) });
    plan.set_fact("tie_head", 0.0);
}

/// The layer's name, where this is a parameter of that end.
fn layer_of<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    name.strip_suffix(end)?.strip_suffix('.')
}

/// Rank of the adapter of a layer; 0 is none.
fn old_rank(network: &Network, layer: &str) -> i64 {
    let b = network.parameters.iter().find(|one| layer_of(&one.name, "lora_B") == Some(layer));
    b.and_then(|b| b.shape.get(1).copied()).unwrap_or(0)
}

#[cfg(test)]
#[path = "adapter_tests.rs"]
mod tests;
