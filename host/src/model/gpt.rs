//! The whole network: token and position embeddings, blocks, a last LayerNorm, the head.
//! Owns the parameters; does not change them after construction.

use tch::{Device, Kind, Reduction, TchError, Tensor};

use super::{
    block::Block,
    builder::{Builder, Slot},
    embedding::Embedding,
    format::kind,
    init::Init,
    layer_norm::LayerNorm,
    parameter::{Parameter, Role},
    pass::Pass,
};
use crate::{
    config::settings::{Format, ModelSettings},
    fault::{Exit, Fault},
};

/// A GPT with nanoGPT's architecture and parameter names.
pub struct Gpt {
    settings: ModelSettings,
    vocab_size: usize,
    format: Format,
    device: Device,
    parameters: Vec<Parameter>,
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    lm_head: Slot,
}

impl Gpt {
    /// A network with fresh values, which depend on `seed` and the parameters' names alone.
    ///
    /// Embeddings and matrices are N(0, 0.02), projections back into the residual stream N(0, 0.02/√(2·n_layer)),
    /// gains ones, biases zeros (Radford et al. 2019).
    ///
    /// # Errors
    /// `C101` if the sizes do not fit together, `E101` if libtorch has no room for it.
    pub fn new(
        settings: &ModelSettings,
        vocab_size: usize,
        seed: u64,
        format: Format,
        device: Device,
    ) -> Result<Gpt, Fault> {
        check(settings, vocab_size)?;
        let mut builder = Builder {
            seed,
            kind: kind(format),
            device,
            residual_std: 0.02 / (2.0 * settings.n_layer as f64).sqrt(),
            lora_rank: settings.lora_rank,
            lora_scale: settings.lora_alpha / settings.lora_rank.max(1) as f64,
            bias: settings.bias,
            parameters: Vec::new(),
        };
        Gpt::build(&mut builder, settings, vocab_size)
            .map_err(refused)
            .map(|(wte, wpe, blocks, ln_f, lm_head)| Gpt {
                settings: settings.clone(),
                vocab_size,
                format,
                device,
                parameters: builder.parameters,
                wte,
                wpe,
                blocks,
                ln_f,
                lm_head,
            })
    }

    #[allow(
        clippy::type_complexity,
        reason = "the rooms in the order of their parameters, named by the caller"
    )]
    fn build(
        builder: &mut Builder,
        settings: &ModelSettings,
        vocab_size: usize,
    ) -> Result<(Embedding, Embedding, Vec<Block>, LayerNorm, Slot), TchError> {
        let (vocab, width, heads) = (
            vocab_size as i64,
            settings.n_embd as i64,
            settings.n_head as i64,
        );
        let wte = Embedding::new(builder, "transformer.wte", vocab, width)?;
        let wpe = Embedding::new(
            builder,
            "transformer.wpe",
            settings.block_size as i64,
            width,
        )?;
        let blocks: Result<_, _> = (0..settings.n_layer)
            .map(|i| Block::new(builder, i, width, heads))
            .collect();
        let blocks = blocks?;
        let ln_f = LayerNorm::new(builder, "transformer.ln_f", width)?;
        let lm_head = match settings.tie_head {
            true => wte.weight,
            false => builder.add(
                "lm_head.weight".into(),
                Role::Head,
                &[vocab, width],
                Init::Normal(0.02),
            )?,
        };
        Ok((wte, wpe, blocks, ln_f, lm_head))
    }

    /// All parameters, in nanoGPT's order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// All parameters, to be stepped. Their order and names must stay.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    /// Tokens it knows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Longest context, in tokens.
    pub fn block_size(&self) -> usize {
        self.settings.block_size
    }

    /// Its sizes.
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// Its element type.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where it lives.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Elements of all parameters, those left out of training included.
    pub fn parameter_count(&self) -> usize {
        self.parameters
            .iter()
            .map(|parameter| parameter.tensor.numel())
            .sum()
    }

    /// Mean negative log-likelihood in nats, a scalar in f32 (f64 in a model of f64).
    ///
    /// `tokens` and `targets` are `[b, t]` of i64 with t ≤ block_size. With a seed (see
    /// [`dropout_seed`](super::dropout_seed)) activations are dropped as the settings say; without one none are.
    ///
    /// # Errors
    /// `E101` if libtorch fails, for instance for want of memory.
    pub fn loss(
        &self,
        tokens: &Tensor,
        targets: &Tensor,
        dropout_seed: Option<u64>,
    ) -> Result<Tensor, Fault> {
        self.cross_entropy(tokens, targets, dropout_seed, Reduction::Mean)
            .map_err(refused)
    }

    /// Negative log-likelihood in nats of every target, `[b·t]`, without dropout.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn losses(&self, tokens: &Tensor, targets: &Tensor) -> Result<Tensor, Fault> {
        self.cross_entropy(tokens, targets, None, Reduction::None)
            .map_err(refused)
    }

    /// Scores of every next token, `[b, t]` of i64 to `[b, t, vocab_size]`, without dropout.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn logits(&self, tokens: &Tensor) -> Result<Tensor, Fault> {
        let head = || self.head(&self.hidden(tokens, &self.pass(None))?);
        head().map_err(refused)
    }

    /// Scores of the token after the last one, `[b, t]` of i64 to `[b, vocab_size]`, without dropout.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn next_logits(&self, tokens: &Tensor) -> Result<Tensor, Fault> {
        let head = || self.head(&self.hidden(tokens, &self.pass(None))?.f_select(1, -1)?);
        head().map_err(refused)
    }

    /// The same network without adapters: their changes are in the weights, which are trained from here on.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn merged(&self) -> Result<Gpt, Fault> {
        let settings = ModelSettings {
            lora_rank: 0,
            ..self.settings.clone()
        };
        let mut plain = Gpt::new(&settings, self.vocab_size, 0, self.format, self.device)?;
        let merge = |plain: &mut Gpt| -> Result<(), TchError> {
            let mut weights: Vec<Option<Tensor>> =
                self.parameters.iter().map(|p| Some(p.handle())).collect();
            for linear in self.blocks.iter().flat_map(Block::linears) {
                if let Some((Slot(place), weight)) = linear.merged(&self.parameters)? {
                    weights[place] = Some(weight);
                }
            }
            let kept = self
                .parameters
                .iter()
                .zip(weights)
                .filter(|(p, _)| p.role != Role::Adapter);
            for (parameter, (_, weight)) in plain.parameters.iter_mut().zip(kept) {
                let _guard = tch::no_grad_guard();
                if let Some(weight) = weight {
                    parameter.tensor.f_copy_(&weight)?;
                }
            }
            Ok(())
        };
        merge(&mut plain).map_err(refused)?;
        Ok(plain)
    }

    fn pass(&self, dropout_seed: Option<u64>) -> Pass<'_> {
        Pass {
            parameters: &self.parameters,
            dropout: dropout_seed.map_or(0.0, |_| self.settings.dropout),
        }
    }

    /// What the head sees, `[b, t, width]`.
    fn hidden(&self, tokens: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        let (_, t) = tokens.size2()?;
        let embedded = self
            .wte
            .rows(pass, tokens)?
            .f_add(&self.wpe.first(pass, t)?)?;
        let mut x = pass.drop(embedded)?;
        for block in &self.blocks {
            x = block.forward(pass, &x)?;
        }
        self.ln_f.forward(pass, &x)
    }

    fn head(&self, hidden: &Tensor) -> Result<Tensor, TchError> {
        hidden.f_linear(&self.parameters[self.lm_head.0].tensor, None::<&Tensor>)
    }

    fn cross_entropy(
        &self,
        tokens: &Tensor,
        targets: &Tensor,
        dropout_seed: Option<u64>,
        reduction: Reduction,
    ) -> Result<Tensor, TchError> {
        if let Some(seed) = dropout_seed.filter(|_| self.settings.dropout > 0.0) {
            tch::manual_seed(seed as i64);
        }
        let logits = self.head(&self.hidden(tokens, &self.pass(dropout_seed))?)?;
        let logits = logits.f_view([-1, self.vocab_size as i64])?;
        // A bf16 loss would be rounded to three digits before it is summed.
        let logits = if self.format == Format::Bf16 {
            logits.f_to_kind(Kind::Float)?
        } else {
            logits
        };
        logits.f_cross_entropy_loss(
            &targets.f_view([-1])?,
            None::<&Tensor>,
            reduction,
            -100,
            0.0,
        )
    }
}

/// Whether the sizes make a network.
fn check(settings: &ModelSettings, vocab_size: usize) -> Result<(), Fault> {
    let ModelSettings {
        n_layer,
        n_head,
        n_embd,
        block_size,
        dropout,
        lora_alpha,
        ..
    } = *settings;
    let message = if [n_layer, n_head, n_embd, block_size, vocab_size].contains(&0) {
        format!(
            "a network of {n_layer} layers, {n_head} heads, width {n_embd}, context {block_size} and {vocab_size} \
             tokens is empty"
        )
    } else if n_embd % n_head != 0 {
        format!("width n_embd = {n_embd} is no multiple of n_head = {n_head}")
    } else if !(0.0..1.0).contains(&dropout) {
        format!("dropout = {dropout} is not in [0, 1)")
    } else if !lora_alpha.is_finite() {
        format!("lora_alpha = {lora_alpha} is not a number")
    } else {
        return Ok(());
    };
    Err(Fault::new("C101", Exit::Config, message))
}

/// libtorch's own words, without its stack trace.
pub(crate) fn refused(error: TchError) -> Fault {
    let text = error.to_string();
    let words = text.lines().next().unwrap_or("no reason given").to_owned();
    Fault::new(
        "E101",
        Exit::Environment,
        "libtorch failed while the network was computed",
    )
    .note("libtorch", words)
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
