//! The one table of knobs. Flags, variables, files, help, the reference page, the trace and the tests are made from it.
//! Holds no values; hyper-parameters other than `lr` are the plugins' and stand in no table of the host.

use super::{
    choice::{self, Choice},
    kind::{Kind, Range},
    settings::{
        DataSettings, GrowthSettings, HyperValue, LrScheduleSettings, ModelSettings, RunSettings, Settings,
        TrainSettings,
    },
    value::Value,
};

/// One knob of a run.
#[derive(Debug)]
pub struct Knob {
    /// Path in a configuration file, for `--set`, and in `config.origin.json`.
    pub key: &'static str,
    /// Name in the trace line.
    pub name: &'static str,
    /// Flag of `host train`, without its dashes.
    pub flag: Option<&'static str>,
    /// Names of variables: each is read bare, as `TRIOS_<NAME>` and as `HOST_<NAME>`.
    pub variables: &'static [&'static str],
    /// Names of variables that are read with a prefix alone.
    pub prefixed: &'static [&'static str],
    /// What it may be.
    pub kind: Kind,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// Where it lies in [`Settings`]; none for the knobs that choose other sources (`config`, `preset`, `schedule_file`).
    pub field: Option<Field>,
}

/// Where a knob lies in [`Settings`].
#[derive(Debug)]
pub struct Field {
    /// Reads it; none is "not set".
    pub get: fn(&Settings) -> Option<Value>,
    /// Writes it. The value is of the knob's kind.
    pub set: fn(&mut Settings, &Value),
}

impl Knob {
    const fn new(
        key: &'static str,
        kind: Kind,
        meaning: &'static str,
        get: fn(&Settings) -> Option<Value>,
        set: fn(&mut Settings, &Value),
    ) -> Knob {
        let field = Some(Field { get, set });
        Knob { key, name: key, flag: None, variables: &[], prefixed: &[], kind, meaning, field }
    }

    const fn source(key: &'static str, kind: Kind, meaning: &'static str) -> Knob {
        Knob { key, name: key, flag: Some(key), variables: &[], prefixed: &[], kind, meaning, field: None }
    }

    const fn flag(mut self, flag: &'static str) -> Knob {
        self.flag = Some(flag);
        self
    }

    const fn traced(mut self, name: &'static str) -> Knob {
        self.name = name;
        self
    }

    const fn variables(mut self, names: &'static [&'static str]) -> Knob {
        self.variables = names;
        self
    }

    const fn prefixed(mut self, names: &'static [&'static str]) -> Knob {
        self.prefixed = names;
        self
    }

    /// Names that take a prefix, the bare ones first.
    pub fn stems(&self) -> impl Iterator<Item = &'static str> {
        self.variables.iter().chain(self.prefixed).copied()
    }

    /// All variables, by rank: `HOST_*`, `TRIOS_*`, bare.
    pub fn ranked_variables(&self) -> [Vec<String>; 3] {
        [
            self.stems().map(|stem| format!("HOST_{stem}")).collect(),
            self.stems().map(|stem| format!("TRIOS_{stem}")).collect(),
            self.variables.iter().map(|name| name.to_string()).collect(),
        ]
    }

    /// The built-in default; none for knobs without one.
    pub fn default_value(&self) -> Option<Value> {
        self.field.as_ref().and_then(|field| (field.get)(&builtin()))
    }

    /// The knob of a key.
    pub fn of(key: &str) -> Option<&'static Knob> {
        KNOBS.iter().find(|knob| knob.key == key)
    }
}

/// The settings of a run that was told nothing. The optimizer has no label yet.
pub fn builtin() -> Settings {
    Settings {
        seed: 1337,
        device: super::settings::Device::Auto,
        format: super::settings::Format::F32,
        state_format: super::settings::StateFormat::F32,
        data: DataSettings { train: None, val: None, tokens: super::settings::Tokens::Bytes, val_fraction: 0.1 },
        model: ModelSettings {
            n_layer: 4,
            n_head: 4,
            n_embd: 128,
            mlp_width: None,
            block_size: 64,
            bias: false,
            dropout: 0.0,
            tie_head: true,
            lora_rank: 0,
            attn_lora_divisor: None,
            vocab_lora_divisor: None,
            lora_alpha: 16.0,
        },
        train: TrainSettings {
            steps: 1000,
            batch_size: 12,
            grad_accum: 1,
            grad_clip: 1.0,
            eval_every: 250,
            eval_steps: 20,
            non_finite: super::settings::NonFinite::Skip,
        },
        lr_schedule: LrScheduleSettings {
            kind: super::settings::LrScheduleKind::Cosine,
            warmup_steps: 100,
            decay_steps: None,
            min_ratio: 0.1,
            decay_fraction: 0.2,
        },
        optimizer: super::settings::OptimizerSettings { label: String::new(), hyper: Default::default() },
        group: Vec::new(),
        projection: Vec::new(),
        schedule: Vec::new(),
        growth: GrowthSettings { state: super::settings::GrownState::Carry },
        run: RunSettings { dir: None, checkpoint_every: 250, keep_last: 3, sample_tokens: 200 },
        tags: Default::default(),
    }
}

fn integer(value: u64) -> Option<Value> {
    Some(Value::Integer(value))
}

fn size(value: usize) -> Option<Value> {
    Some(Value::Integer(value as u64))
}

fn number(value: f64) -> Option<Value> {
    Some(Value::Number(value))
}

fn word(value: impl Choice) -> Option<Value> {
    Some(Value::Text(value.name().to_owned()))
}

fn path(value: &Option<std::path::PathBuf>) -> Option<Value> {
    value.clone().map(Value::Path)
}

const fn up_to(max: u64) -> Kind {
    Kind::Integer { min: 1, max }
}

/// Every knob, in the order of the trace and of written files.
pub static KNOBS: &[Knob] = &[
    Knob::source("config", Kind::Path, "configuration file").variables(&["CONFIG"]),
    Knob::source("preset", Kind::Text, "embedded preset"),
    Knob::source("schedule_file", Kind::Path, "file of [[schedule]] entries, which replace those of lower sources")
        .flag("schedule"),
    Knob::new(
        "seed",
        Kind::ANY,
        "decides initial weights, batches and dropout",
        |s| integer(s.seed),
        |s, v| s.seed = v.integer(),
    )
    .flag("seed")
    .variables(&["SEED"]),
    Knob::new(
        "device",
        Kind::Word(choice::DEVICES),
        "where tensors live; auto is CUDA where it can be used",
        |s| word(s.device),
        |s, v| s.device = Choice::named(v.text()),
    )
    .flag("device"),
    Knob::new(
        "format",
        Kind::Word(choice::FORMATS),
        "element type of parameters, gradients and activations",
        |s| word(s.format),
        |s, v| s.format = Choice::named(v.text()),
    )
    .flag("format")
    .variables(&["FORMAT", "DTYPE"]),
    Knob::new(
        "state_format",
        Kind::Word(choice::STATE_FORMATS),
        "element type of optimizer state; bf16 takes the slots that forget fast enough for it",
        |s| word(s.state_format),
        |s, v| s.state_format = Choice::named(v.text()),
    )
    .flag("state-format")
    .variables(&["STATE_FORMAT"]),
    Knob::new(
        "data.train",
        Kind::Path,
        "file or directory of text; without it the embedded synthetic corpus",
        |s| path(&s.data.train),
        |s, v| s.data.train = Some(v.path()),
    )
    .flag("data")
    .traced("train_data")
    .variables(&["TRAIN_DATA"])
    .prefixed(&["TRAIN_PATH"]),
    Knob::new(
        "data.val",
        Kind::Path,
        "validation text; without it the training text is split",
        |s| path(&s.data.val),
        |s, v| s.data.val = Some(v.path()),
    )
    .flag("val-data")
    .traced("val_data")
    .variables(&["VAL_DATA"])
    .prefixed(&["VAL_PATH"]),
    Knob::new(
        "data.tokens",
        Kind::Word(choice::TOKENS),
        "what a token is",
        |s| word(s.data.tokens),
        |s, v| s.data.tokens = Choice::named(v.text()),
    ),
    Knob::new(
        "data.val_fraction",
        Kind::Number(Range::INSIDE),
        "share of the text, from its end, that validates where `data.val` is not given",
        |s| number(s.data.val_fraction),
        |s, v| s.data.val_fraction = v.number(),
    ),
    Knob::new(
        "model.n_layer",
        up_to(1000),
        "transformer blocks",
        |s| size(s.model.n_layer),
        |s, v| s.model.n_layer = v.integer() as usize,
    )
    .flag("attn-layers")
    .traced("attn_layers")
    .variables(&["ATTN_LAYERS", "NUM_ATTN_LAYERS"]),
    Knob::new(
        "model.n_head",
        up_to(1000),
        "attention heads per block; divides the width",
        |s| size(s.model.n_head),
        |s, v| s.model.n_head = v.integer() as usize,
    ),
    Knob::new(
        "model.n_embd",
        up_to(65536),
        "width of the network",
        |s| size(s.model.n_embd),
        |s, v| s.model.n_embd = v.integer() as usize,
    )
    .flag("hidden")
    .traced("hidden")
    .variables(&["HIDDEN", "HIDDEN_DIM"]),
    Knob::new(
        "model.mlp_width",
        up_to(1 << 20),
        "hidden units of each block's feed-forward half; without it four times the width",
        |s| s.model.mlp_width.and_then(size),
        |s, v| s.model.mlp_width = Some(v.integer() as usize),
    ),
    Knob::new(
        "model.block_size",
        up_to(1 << 20),
        "context length in tokens",
        |s| size(s.model.block_size),
        |s, v| s.model.block_size = v.integer() as usize,
    ),
    Knob::new(
        "model.bias",
        Kind::Flag,
        "whether linear layers and LayerNorms have a bias",
        |s| Some(Value::Flag(s.model.bias)),
        |s, v| s.model.bias = v.flag(),
    ),
    Knob::new(
        "model.dropout",
        Kind::Number(Range::BELOW_ONE),
        "share of activations dropped in training",
        |s| number(s.model.dropout),
        |s, v| s.model.dropout = v.number(),
    ),
    Knob::new(
        "model.tie_head",
        Kind::Flag,
        "whether the head shares the token embedding",
        |s| Some(Value::Flag(s.model.tie_head)),
        |s, v| s.model.tie_head = v.flag(),
    ),
    Knob::new(
        "model.lora_rank",
        Kind::Integer { min: 0, max: 65536 },
        "rank of the LoRA adapter of every linear layer in the blocks; 0 is none",
        |s| size(s.model.lora_rank),
        |s, v| s.model.lora_rank = v.integer() as usize,
    ),
    Knob::new(
        "model.attn_lora_divisor",
        Kind::Number(Range::POSITIVE),
        "attention's LoRA rank is n_embd divided by this, rounded down, in place of lora_rank",
        |s| s.model.attn_lora_divisor.map(Value::Number),
        |s, v| s.model.attn_lora_divisor = Some(v.number()),
    ),
    Knob::new(
        "model.vocab_lora_divisor",
        Kind::Number(Range::POSITIVE),
        "the token embedding's LoRA rank is n_embd divided by this, rounded down; not set is no adapter",
        |s| s.model.vocab_lora_divisor.map(Value::Number),
        |s, v| s.model.vocab_lora_divisor = Some(v.number()),
    ),
    Knob::new(
        "model.lora_alpha",
        Kind::Number(Range::POSITIVE),
        "LoRA's α: the adapter is scaled by α/rank",
        |s| number(s.model.lora_alpha),
        |s, v| s.model.lora_alpha = v.number(),
    ),
    Knob::new(
        "train.steps",
        Kind::COUNT,
        "optimizer steps",
        |s| integer(s.train.steps),
        |s, v| s.train.steps = v.integer(),
    )
    .flag("steps")
    .traced("steps")
    .variables(&["STEPS"]),
    Knob::new(
        "train.batch_size",
        Kind::COUNT,
        "sequences per backward pass",
        |s| size(s.train.batch_size),
        |s, v| s.train.batch_size = v.integer() as usize,
    ),
    Knob::new(
        "train.grad_accum",
        Kind::COUNT,
        "backward passes per step",
        |s| size(s.train.grad_accum),
        |s, v| s.train.grad_accum = v.integer() as usize,
    ),
    Knob::new(
        "train.grad_clip",
        Kind::Number(Range::NOT_NEGATIVE),
        "largest global norm of the raw gradient; 0 is no clipping",
        |s| number(s.train.grad_clip),
        |s, v| s.train.grad_clip = v.number(),
    ),
    Knob::new(
        "train.eval_every",
        Kind::COUNT_OR_ZERO,
        "steps between evaluations; 0 evaluates at the end alone",
        |s| integer(s.train.eval_every),
        |s, v| s.train.eval_every = v.integer(),
    )
    .flag("eval-every")
    .traced("eval_every")
    .variables(&["EVAL_EVERY"]),
    Knob::new(
        "train.eval_steps",
        Kind::COUNT,
        "evenly strided validation windows per evaluation; the last evaluation takes all",
        |s| size(s.train.eval_steps),
        |s, v| s.train.eval_steps = v.integer() as usize,
    ),
    Knob::new(
        "train.non_finite",
        Kind::Word(choice::NON_FINITE),
        "a tensor whose gradient is not finite: leave it untouched and name it, or stop",
        |s| word(s.train.non_finite),
        |s, v| s.train.non_finite = Choice::named(v.text()),
    ),
    Knob::new(
        "lr_schedule.kind",
        Kind::Word(choice::LR_SCHEDULES),
        "shape of the learning rate after the warm-up",
        |s| word(s.lr_schedule.kind),
        |s, v| s.lr_schedule.kind = Choice::named(v.text()),
    ),
    Knob::new(
        "lr_schedule.warmup_steps",
        Kind::COUNT_OR_ZERO,
        "steps of linear warm-up",
        |s| integer(s.lr_schedule.warmup_steps),
        |s, v| s.lr_schedule.warmup_steps = v.integer(),
    ),
    Knob::new(
        "lr_schedule.decay_steps",
        Kind::COUNT,
        "step at which the decay ends; without it the last step",
        |s| s.lr_schedule.decay_steps.map(Value::Integer),
        |s, v| s.lr_schedule.decay_steps = Some(v.integer()),
    ),
    Knob::new(
        "lr_schedule.min_ratio",
        Kind::Number(Range::UNIT),
        "factor on the learning rate where the decay ends",
        |s| number(s.lr_schedule.min_ratio),
        |s, v| s.lr_schedule.min_ratio = v.number(),
    ),
    Knob::new(
        "lr_schedule.decay_fraction",
        Kind::Number(Range::INSIDE),
        "wsd alone: share of the steps that decay",
        |s| number(s.lr_schedule.decay_fraction),
        |s, v| s.lr_schedule.decay_fraction = v.number(),
    ),
    Knob::new(
        "optimizer.label",
        Kind::Text,
        "optimizer, by its label in the registry; without it the registry's default-optimizer",
        |s| Some(Value::Text(s.optimizer.label.clone())).filter(|_| !s.optimizer.label.is_empty()),
        |s, v| s.optimizer.label = v.text().to_owned(),
    )
    .flag("optimizer")
    .traced("opt")
    .variables(&["OPTIMIZER"]),
    Knob::new(
        "optimizer.lr",
        Kind::Number(Range::NOT_NEGATIVE),
        "learning rate of the main optimizer; without it the registry's or the plugin's",
        |s| s.optimizer.hyper.get("lr").map(Value::from),
        |s, v| {
            s.optimizer.hyper.insert("lr".into(), HyperValue::Number(v.number()));
        },
    )
    .flag("lr")
    .traced("lr")
    .variables(&["LR"]),
    Knob::new(
        "growth.state",
        Kind::Word(choice::GROWN_STATES),
        "optimizer state where an operation changes the architecture: it follows its parameter, or all restarts",
        |s| word(s.growth.state),
        |s, v| s.growth.state = Choice::named(v.text()),
    ),
    Knob::new(
        "run.dir",
        Kind::Path,
        "run directory; without it a new one under `runs/`",
        |s| path(&s.run.dir),
        |s, v| s.run.dir = Some(v.path()),
    )
    .flag("run-dir"),
    Knob::new(
        "run.checkpoint_every",
        Kind::COUNT_OR_ZERO,
        "steps between checkpoints; 0 keeps the end alone",
        |s| integer(s.run.checkpoint_every),
        |s, v| s.run.checkpoint_every = v.integer(),
    ),
    Knob::new(
        "run.keep_last",
        Kind::COUNT,
        "checkpoints kept besides the best",
        |s| size(s.run.keep_last),
        |s, v| s.run.keep_last = v.integer() as usize,
    ),
    Knob::new(
        "run.sample_tokens",
        Kind::COUNT_OR_ZERO,
        "length in tokens of the sample printed at the end",
        |s| size(s.run.sample_tokens),
        |s, v| s.run.sample_tokens = v.integer() as usize,
    ),
];

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Another valid value than the default, for every kind.
    pub(in crate::config) fn other_value(knob: &Knob) -> Value {
        match knob.kind {
            Kind::Integer { min, .. } => Value::Integer(min + 1),
            Kind::Number(range) => Value::Number(range.low.max(0.0) + 0.0625),
            Kind::Flag => Value::Flag(knob.default_value() != Some(Value::Flag(true))),
            Kind::Word(words) => Value::Text(words[words.len() - 1].into()),
            Kind::Text => Value::Text("other".into()),
            Kind::Path => Value::Path("/other".into()),
        }
    }

    #[test]
    fn every_name_is_given_once() {
        let mut seen = BTreeSet::new();
        for knob in KNOBS {
            assert!(seen.insert(format!("key {}", knob.key)), "{}", knob.key);
            assert!(seen.insert(format!("name {}", knob.name)), "{}", knob.name);
            if let Some(flag) = knob.flag {
                assert!(seen.insert(format!("flag {flag}")), "{flag}");
            }
            for variable in knob.ranked_variables().concat() {
                assert!(seen.insert(format!("variable {variable}")), "{variable}");
            }
        }
    }

    #[test]
    fn every_field_reads_back_what_was_set_and_touches_nothing_else() {
        for knob in KNOBS {
            let Some(field) = &knob.field else { continue };
            let value = other_value(knob);
            assert_eq!(knob.kind.admit(value.clone()), Ok(value.clone()), "{}", knob.key);
            let mut settings = builtin();
            (field.set)(&mut settings, &value);
            assert_eq!((field.get)(&settings), Some(value), "{}", knob.key);
            for other in KNOBS.iter().filter(|other| other.key != knob.key) {
                let read = other.field.as_ref().and_then(|field| (field.get)(&settings));
                assert_eq!(read, other.default_value(), "{} changed {}", knob.key, other.key);
            }
        }
    }

    #[test]
    fn defaults_are_of_their_kind() {
        for knob in KNOBS {
            if let Some(value) = knob.default_value() {
                assert_eq!(knob.kind.admit(value.clone()), Ok(value), "{}", knob.key);
            }
        }
    }

    /// A field of `Settings` without a knob could not be set by anyone.
    #[test]
    fn every_scalar_of_the_settings_is_a_knob() {
        let json = serde_json::to_value(builtin()).unwrap();
        for (section, value) in json.as_object().unwrap() {
            match value {
                serde_json::Value::Object(fields) if section != "tags" => {
                    for field in fields.keys() {
                        let key = format!("{section}.{field}");
                        assert!(Knob::of(&key).is_some(), "{key}");
                    }
                }
                serde_json::Value::Object(_) | serde_json::Value::Array(_) => {}
                _ => assert!(Knob::of(section).is_some(), "{section}"),
            }
        }
    }
}
