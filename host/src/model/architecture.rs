//! The numbers of an architecture by name, as operations and checkpoints know them.
//! Holds no tensors.

use super::{Gpt, Parameter, Ranks};
use crate::{config::settings::ModelSettings, fault::Fault};

/// What decides which parameters a network has, and their shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Its sizes.
    pub settings: ModelSettings,
    /// Tokens it knows.
    pub vocab_size: usize,
}

/// One number: its name, how it is read, how it is set.
struct Fact {
    name: &'static str,
    get: fn(&Architecture) -> f64,
    set: Set,
}

enum Set {
    Count(fn(&mut Architecture, usize)),
    Flag(fn(&mut Architecture, bool)),
    Number(fn(&mut Architecture, f64)),
    Positive(fn(&mut Architecture, f64)),
}

const FACTS: &[Fact] = &[
    Fact { name: "n_layer", get: |a| a.settings.n_layer as f64, set: Set::Count(|a, n| a.settings.n_layer = n) },
    Fact { name: "n_head", get: |a| a.settings.n_head as f64, set: Set::Count(|a, n| a.settings.n_head = n) },
    Fact { name: "n_embd", get: |a| a.settings.n_embd as f64, set: Set::Count(|a, n| a.settings.n_embd = n) },
    Fact {
        name: "mlp_width",
        get: |a| a.settings.hidden_units() as f64,
        set: Set::Count(|a, n| a.settings.mlp_width = Some(n)),
    },
    Fact {
        name: "block_size",
        get: |a| a.settings.block_size as f64,
        set: Set::Count(|a, n| a.settings.block_size = n),
    },
    Fact { name: "vocab_size", get: |a| a.vocab_size as f64, set: Set::Count(|a, n| a.vocab_size = n) },
    Fact { name: "lora_rank", get: |a| a.settings.lora_rank as f64, set: Set::Count(|a, n| a.settings.lora_rank = n) },
    Fact {
        name: "attn_lora_divisor",
        get: |a| divisor(a, Ranks::of(&a.settings).attn, a.settings.attn_lora_divisor),
        set: Set::Positive(|a, x| a.settings.attn_lora_divisor = has_rank(a, x, a.settings.lora_rank == 0)),
    },
    Fact {
        name: "vocab_lora_divisor",
        get: |a| divisor(a, 0, a.settings.vocab_lora_divisor),
        set: Set::Positive(|a, x| a.settings.vocab_lora_divisor = has_rank(a, x, true)),
    },
    Fact { name: "lora_alpha", get: |a| a.settings.lora_alpha, set: Set::Number(|a, x| a.settings.lora_alpha = x) },
    Fact { name: "bias", get: |a| flag(a.settings.bias), set: Set::Flag(|a, on| a.settings.bias = on) },
    Fact { name: "tie_head", get: |a| flag(a.settings.tie_head), set: Set::Flag(|a, on| a.settings.tie_head = on) },
];

/// The divisor as it was set, else that of `rank`; above the width where there is no adapter.
fn divisor(architecture: &Architecture, rank: usize, set: Option<f64>) -> f64 {
    let width = architecture.settings.n_embd as f64;
    set.unwrap_or(if rank == 0 { 2.0 * width } else { width / rank as f64 })
}

/// A divisor that leaves no rank says no more than none, where there is no adapter without it; and none stays none where
/// the width changes.
fn has_rank(architecture: &Architecture, divisor: f64, is_none_without: bool) -> Option<f64> {
    Some(divisor).filter(|divisor| !is_none_without || *divisor <= architecture.settings.n_embd as f64)
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

impl Architecture {
    /// All its numbers.
    pub fn facts(&self) -> Vec<(String, f64)> {
        FACTS.iter().map(|fact| (fact.name.to_string(), (fact.get)(self))).collect()
    }

    /// This one with some numbers changed; what they do not say, such as dropout, stays.
    ///
    /// # Errors
    /// Why a number cannot be taken, in a few words.
    pub fn with<'a>(&self, facts: impl IntoIterator<Item = (&'a str, f64)>) -> Result<Architecture, String> {
        let mut changed = self.clone();
        for (name, value) in facts {
            let fact = FACTS.iter().find(|fact| fact.name == name);
            let fact = fact.ok_or_else(|| format!("`{name}` = {value}, which is no number of an architecture"))?;
            match fact.set {
                Set::Count(set) if value.fract() == 0.0 && (0.0..4e9).contains(&value) => {
                    set(&mut changed, value as usize);
                }
                Set::Flag(set) if value == 0.0 || value == 1.0 => set(&mut changed, value == 1.0),
                Set::Number(set) if value.is_finite() => set(&mut changed, value),
                Set::Positive(set) if value.is_finite() && value > 0.0 => set(&mut changed, value),
                _ => return Err(format!("`{name}` = {value}")),
            }
        }
        Ok(changed)
    }

    /// The parameters of such a network without memory of their own: names, roles, blocks and shapes.
    ///
    /// # Errors
    /// `C101` if the sizes do not fit together.
    pub fn outline(&self) -> Result<Vec<Parameter>, Fault> {
        Gpt::outline(&self.settings, self.vocab_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Architecture {
        let settings = ModelSettings { n_layer: 2, n_head: 2, n_embd: 8, ..crate::config::knobs::builtin().model };
        Architecture { settings, vocab_size: 5 }
    }

    #[test]
    fn numbers_that_are_read_can_be_set() {
        let small = small();
        let facts = small.facts();
        let pairs = || facts.iter().map(|(name, value)| (name.as_str(), *value));
        assert_eq!(small.with(pairs()).unwrap().facts(), facts);
        for (name, value) in pairs() {
            let other = match name {
                "bias" | "tie_head" => 1.0 - value,
                // of a network without adapters, which has divisors above its width
                "attn_lora_divisor" | "vocab_lora_divisor" => 2.0,
                _ => value + 1.0,
            };
            let changed = small.with([(name, other)]).unwrap().facts();
            for ((other_name, before), (_, after)) in facts.iter().zip(&changed) {
                // those that nobody set follow the width, and attention the rank of all linear layers
                let follows = match name {
                    "n_embd" => other_name == "mlp_width" || other_name.ends_with("_divisor"),
                    "lora_rank" => other_name == "attn_lora_divisor",
                    _ => false,
                };
                assert_eq!(before != after, other_name == name || follows, "{name} changed {other_name}");
            }
        }
        assert_eq!(small.with([("mlp_width", 12.0)]).unwrap().settings.hidden_units(), 12);
    }

    #[test]
    fn what_is_no_number_of_an_architecture_is_refused() {
        for (name, value) in [
            ("n_layer", 1.5),
            ("n_layer", -1.0),
            ("n_layer", f64::NAN),
            ("bias", 0.5),
            ("lora_alpha", f64::INFINITY),
            ("attn_lora_divisor", 0.0),
            ("vocab_lora_divisor", -1.0),
        ] {
            assert!(small().with([(name, value)]).unwrap_err().contains(name), "{name} {value}");
        }
        assert!(small().with([("depth", 1.0)]).unwrap_err().contains("`depth`"));
    }

    /// As large as it may be, it takes no memory.
    #[test]
    fn an_outline_says_names_and_shapes() {
        let small = small();
        let model = Gpt::new(&small.settings, 5, 1, crate::config::settings::Format::F32, tch::Device::Cpu).unwrap();
        let outline = small.outline().unwrap();
        let row = |p: &Parameter| (p.name.clone(), p.role, p.layer, p.tensor.size(), p.frozen);
        assert_eq!(outline.iter().map(row).collect::<Vec<_>>(), model.parameters().iter().map(row).collect::<Vec<_>>());
        let huge = small.with([("n_layer", 100.0), ("n_embd", 65536.0)]).unwrap();
        assert_eq!(huge.outline().unwrap().last().unwrap().tensor.size(), [65536]);
        assert_eq!(small.with([("n_head", 3.0)]).unwrap().outline().unwrap_err().code, "C101");
    }
}
