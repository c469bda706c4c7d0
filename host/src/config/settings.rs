//! The resolved settings of a run: plain values, every one honoured by somebody.
//! Does not know where a value came from; that is `origin.rs`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

/// Everything a run is told. Training from the same settings reproduces the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Decides initial weights, batches and dropout.
    pub seed: u64,
    /// Where tensors live.
    pub device: Device,
    /// Element type of parameters, gradients and activations.
    pub format: Format,
    /// Element type of optimizer state, where a group says nothing else.
    pub state_format: StateFormat,
    /// What is read.
    pub data: DataSettings,
    /// What is trained.
    pub model: ModelSettings,
    /// How long and how it is trained.
    pub train: TrainSettings,
    /// How the learning rate moves.
    pub lr_schedule: LrScheduleSettings,
    /// The main optimizer.
    pub optimizer: OptimizerSettings,
    /// Parameter groups in order; the first that takes a parameter has it. Empty: the default groups.
    pub group: Vec<GroupSettings>,
    /// Gradient projections, in order.
    pub projection: Vec<ProjectionSettings>,
    /// Scheduled operations, first in first out.
    pub schedule: Vec<OperationSettings>,
    /// What becomes of training state where the network grows.
    pub growth: GrowthSettings,
    /// What is kept.
    pub run: RunSettings,
    /// Recorded with the run, not interpreted.
    pub tags: BTreeMap<String, String>,
}

/// Where tensors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// CUDA where it can be used, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA device, or an error.
    Cuda,
}

/// Element type of parameters, gradients and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// bfloat16 with arithmetic of rules in f32.
    Bf16,
    /// 64-bit floats, on the CPU, for checking numbers.
    F64,
}

/// Element type of optimizer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateFormat {
    /// 32-bit floats; 64-bit ones where parameters are.
    F32,
    /// bfloat16 for the slots that a rule declares fit for it, 32-bit floats for the others.
    Bf16,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataSettings {
    /// File or directory of text; none is the embedded synthetic corpus.
    pub train: Option<PathBuf>,
    /// Validation text; none splits the training text.
    pub val: Option<PathBuf>,
    /// What a token is.
    pub tokens: Tokens,
    /// Share of the text, from its end, that validates where `val` is none.
    pub val_fraction: f64,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    /// One Unicode character; the vocabulary is that of the training text.
    Chars,
    /// One byte; the vocabulary has 256.
    Bytes,
}

/// A GPT (Radford et al. 2019), with nanoGPT's choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSettings {
    /// Transformer blocks.
    pub n_layer: usize,
    /// Attention heads per block.
    pub n_head: usize,
    /// Width.
    pub n_embd: usize,
    /// Hidden units of the feed-forward half of a block; none is four times the width.
    pub mlp_width: Option<usize>,
    /// Context length in tokens.
    pub block_size: usize,
    /// Whether linear layers and LayerNorms have a bias.
    pub bias: bool,
    /// Share of activations dropped in training.
    pub dropout: f64,
    /// Whether the head shares the token embedding.
    pub tie_head: bool,
    /// Rank of the LoRA adapter of every linear layer in the blocks; 0 is none.
    pub lora_rank: usize,
    /// Attention's adapters have the rank ⌊n_embd / divisor⌋ instead.
    pub attn_lora_divisor: Option<f64>,
    /// The token embedding has an adapter of the rank ⌊n_embd / divisor⌋; none is no adapter.
    pub vocab_lora_divisor: Option<f64>,
    /// LoRA's α: the adapter is scaled by α/rank.
    pub lora_alpha: f64,
}

impl ModelSettings {
    /// Hidden units of the feed-forward half of a block.
    pub fn hidden_units(&self) -> usize {
        self.mlp_width.unwrap_or(4 * self.n_embd)
    }
}

/// How long and how it is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSettings {
    /// Optimizer steps.
    pub steps: u64,
    /// Sequences per backward pass.
    pub batch_size: usize,
    /// Backward passes per step.
    pub grad_accum: usize,
    /// Largest global norm of the raw gradient; 0 is no clipping.
    pub grad_clip: f64,
    /// Steps between evaluations; 0 evaluates at the end only.
    pub eval_every: u64,
    /// Evenly strided validation windows per evaluation; the last evaluation takes all.
    pub eval_steps: usize,
    /// What becomes of a tensor whose gradient is not finite.
    pub non_finite: NonFinite,
}

/// What becomes of a tensor whose gradient is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NonFinite {
    /// It and its state are left untouched and named; ten skips in a row end the run.
    Skip,
    /// The run ends.
    Stop,
}

/// How the learning rate moves. The result is a factor on each group's `lr`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LrScheduleSettings {
    /// Its shape after the warm-up.
    pub kind: LrScheduleKind,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Step at which the decay ends; none is the last step.
    pub decay_steps: Option<u64>,
    /// Factor where the decay ends.
    pub min_ratio: f64,
    /// WSD alone: share of the steps that decay.
    pub decay_fraction: f64,
}

/// Shape of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LrScheduleKind {
    /// Half a cosine.
    Cosine,
    /// A straight line.
    Linear,
    /// No decay.
    Constant,
    /// Warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395), the decay linear.
    Wsd,
}

/// An optimizer by label, with hyper-parameters as the user wrote them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptimizerSettings {
    /// As in the registry.
    pub label: String,
    /// Values by name; checked against the plugin's schema.
    #[serde(flatten)]
    pub hyper: BTreeMap<String, HyperValue>,
}

/// A hyper-parameter as it may be written.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum HyperValue {
    /// `eps = 1e-8`.
    Number(f64),
    /// `nesterov = true`.
    Flag(bool),
    /// `adjust_lr = "original"`.
    Choice(String),
}

/// Which parameters an optimizer takes, and what differs there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupSettings {
    /// Takes parameters whose name matches, with `*` for any characters.
    pub pattern: Option<String>,
    /// Takes parameters of these roles: `matrix`, `embedding`, `head`, `vector`, `adapter`.
    pub roles: Vec<String>,
    /// Optimizer label; none is the main one.
    pub optimizer: Option<String>,
    /// Element type of optimizer state; none is that of the run.
    pub state_format: Option<StateFormat>,
    /// Hyper-parameters that differ from the optimizer's.
    #[serde(flatten)]
    pub hyper: BTreeMap<String, HyperValue>,
}

/// A gradient projection by label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectionSettings {
    /// As in the registry.
    pub label: String,
    /// Projects gradients of parameters whose name matches, with `*` for any characters.
    pub pattern: String,
    /// safetensors file per input of the plugin, tensors keyed by parameter name.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Hyper-parameters.
    #[serde(flatten)]
    pub hyper: BTreeMap<String, HyperValue>,
}

/// A scheduled operation by name. It has a trigger, a wait, or both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationSettings {
    /// A hyper-parameter operation of the host, or the label of an arch-op in the registry.
    pub name: String,
    /// Its number: a factor, a new value, or the first hyper-parameter of an arch-op.
    pub value: Option<f64>,
    /// Fires after an evaluation below this, in nats per token.
    pub trigger_loss: Option<f64>,
    /// Fires at the latest after this many steps since the operation before it.
    pub max_wait_steps: Option<u64>,
    /// Whether the network is evaluated after it, before the next operation is looked at.
    pub reevaluate: bool,
    /// What becomes of the run where it fails.
    pub on_error: OnError,
    /// Free text, kept in the event log.
    pub note: Option<String>,
    /// Hyper-parameters of an arch-op, by name.
    #[serde(flatten)]
    pub hyper: BTreeMap<String, HyperValue>,
}

/// What becomes of the run where an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It ends, with the state before the operation saved.
    Stop,
    /// It goes on with the state before the operation.
    Skip,
}

/// What becomes of training state where the network grows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrowthSettings {
    /// What becomes of the optimizer's state.
    pub state: GrownState,
}

/// What becomes of the optimizer's state when an operation changes the architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GrownState {
    /// It follows the lineage of its parameter.
    Carry,
    /// All of it restarts, step counts included.
    Reset,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSettings {
    /// Run directory; none makes a new one under `runs/`.
    pub dir: Option<PathBuf>,
    /// Steps between checkpoints; 0 is the end only.
    pub checkpoint_every: u64,
    /// Checkpoints kept besides the best.
    pub keep_last: usize,
    /// Characters of sample text printed at the end.
    pub sample_tokens: usize,
}
