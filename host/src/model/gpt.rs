//! The network with its parameters.
//! Does not change them after construction; steps are taken through [`Gpt::parameters_mut`].

use std::collections::BTreeMap;

use tch::{Device, Reduction, TchError, Tensor};

use super::{
    architecture::Architecture,
    builder::{Builder, Slot, Values},
    format::kind,
    lora::{Adapter, Ranks},
    network::{LM_HEAD, Network, WTE},
    parameter::Parameter,
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
    pub(super) network: Network,
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
        let given = BTreeMap::new();
        Gpt::build(settings, vocab_size, format, device, seed, Values::Drawn { given })
    }

    /// A network of this format and device whose parameters are those `given` by name, and fresh ones where none is.
    /// Given tensors are taken as they are: they have the shapes of [`Architecture::outline`].
    ///
    /// # Errors
    /// As [`Gpt::new`].
    pub(crate) fn grown(
        &self,
        architecture: &Architecture,
        seed: u64,
        given: BTreeMap<String, Tensor>,
    ) -> Result<Gpt, Fault> {
        let Architecture { settings, vocab_size } = architecture;
        Gpt::build(settings, *vocab_size, self.format, self.device, seed, Values::Drawn { given })
    }

    /// The parameters of a network, without memory.
    pub(super) fn outline(settings: &ModelSettings, vocab_size: usize) -> Result<Vec<Parameter>, Fault> {
        Ok(Gpt::build(settings, vocab_size, Format::F32, Device::Cpu, 0, Values::None)?.parameters)
    }

    fn build(
        settings: &ModelSettings,
        vocab_size: usize,
        format: Format,
        device: Device,
        seed: u64,
        values: Values,
    ) -> Result<Gpt, Fault> {
        check(settings, vocab_size)?;
        let mut builder = Builder {
            seed,
            kind: kind(format),
            device,
            residual_std: 0.02 / (2.0 * settings.n_layer as f64).sqrt(),
            ranks: Ranks::of(settings),
            lora_alpha: settings.lora_alpha,
            bias: settings.bias,
            values,
            parameters: Vec::new(),
        };
        let network = Network::new(&mut builder, settings, vocab_size).map_err(refused)?;
        let parameters = builder.parameters;
        Ok(Gpt { settings: settings.clone(), vocab_size, format, device, parameters, network })
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

    /// Its sizes and its vocabulary.
    pub fn architecture(&self) -> Architecture {
        Architecture { settings: self.settings.clone(), vocab_size: self.vocab_size }
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
        self.parameters.iter().map(|parameter| parameter.tensor.numel()).sum()
    }

    /// Mean negative log-likelihood in nats, a scalar in f32 (f64 in a model of f64).
    ///
    /// `tokens` and `targets` are `[b, t]` of i64 with t ≤ block_size. With a seed (see
    /// [`dropout_seed`](super::dropout_seed)) activations are dropped as the settings say; without one none are.
    /// [`Gpt::backward`] is the faster way to gradients.
    ///
    /// # Errors
    /// `E101` if libtorch fails, for instance for want of memory.
    pub fn loss(&self, tokens: &Tensor, targets: &Tensor, dropout_seed: Option<u64>) -> Result<Tensor, Fault> {
        let dropout = if dropout_seed.is_some() { self.settings.dropout } else { 0.0 };
        if let Some(seed) = dropout_seed.filter(|_| dropout > 0.0) {
            tch::manual_seed(seed as i64);
        }
        let nats = |pass: &Pass| self.network.nats(pass, tokens, targets, Reduction::Mean);
        self.pass(tokens, dropout, nats)
    }

    /// Negative log-likelihood in nats of every target, `[b·t]`, without dropout.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn losses(&self, tokens: &Tensor, targets: &Tensor) -> Result<Tensor, Fault> {
        self.pass(tokens, 0.0, |pass| self.network.nats(pass, tokens, targets, Reduction::None))
    }

    /// Scores of every next token, `[b, t]` of i64 to `[b, t, vocab_size]`, without dropout.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn logits(&self, tokens: &Tensor) -> Result<Tensor, Fault> {
        self.pass(tokens, 0.0, |pass| {
            let logits = self.network.head(pass, &self.network.hidden(pass, tokens)?)?;
            logits.f_view([pass.b, pass.t, self.vocab_size as i64])
        })
    }

    /// Scores of the token after the last one, `[b, t]` of i64 to `[b, vocab_size]`, without dropout.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn next_logits(&self, tokens: &Tensor) -> Result<Tensor, Fault> {
        self.pass(tokens, 0.0, |pass| {
            let hidden = self.network.hidden(pass, tokens)?.f_view([pass.b, pass.t, -1])?;
            self.network.head(pass, &hidden.f_select(1, -1)?)
        })
    }

    /// Scales every adapter by α/r from now on.
    ///
    /// # Errors
    /// `C101` if α is not finite.
    pub fn set_lora_alpha(&mut self, alpha: f64) -> Result<(), Fault> {
        let settings = ModelSettings { lora_alpha: alpha, ..self.settings.clone() };
        check(&settings, self.vocab_size)?;
        self.settings = settings;
        self.network.adapters_mut().for_each(|adapter| adapter.set_alpha(alpha));
        Ok(())
    }

    /// Weights with an adapter that are wanted, by their places among the parameters: each place, and the values with the
    /// adapter's change in f64, so that a merge adds one rounding and no more.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn merged_weights(&self, is_wanted: &dyn Fn(usize) -> bool) -> Result<Vec<(usize, Tensor)>, Fault> {
        let merged = |(weight, adapter): (Slot, &Adapter)| Ok((weight.0, adapter.merged(weight, &self.parameters)?));
        let wanted = self.network.adapters().filter(|(weight, _)| is_wanted(weight.0));
        wanted.map(merged).collect::<Result<_, TchError>>().map_err(refused)
    }

    /// The same network without adapters: their changes are in the weights, which are trained from here on. The head
    /// has a weight of its own where it shared that of an embedding with an adapter, which it sees without it.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn merged(&self) -> Result<Gpt, Fault> {
        let unties = Ranks::of(&self.settings).vocab > 0;
        let settings = ModelSettings {
            lora_rank: 0,
            attn_lora_divisor: None,
            vocab_lora_divisor: None,
            tie_head: self.settings.tie_head && !unties,
            ..self.settings.clone()
        };
        let mut plain = Gpt::new(&settings, self.vocab_size, 0, self.format, self.device)?;
        let mut values: BTreeMap<&str, Tensor> =
            self.parameters.iter().map(|one| (one.name.as_str(), one.handle())).collect();
        if let (true, true, Some(shared)) = (unties, self.settings.tie_head, values.get(WTE).map(Tensor::shallow_clone))
        {
            values.insert(LM_HEAD, shared);
        }
        for (place, weight) in self.merged_weights(&|_| true)? {
            values.insert(&self.parameters[place].name, weight);
        }
        let _guard = tch::no_grad_guard();
        for parameter in &mut plain.parameters {
            let Some(value) = values.get(parameter.name.as_str()) else {
                return Err(refused(TchError::Torch(format!("no values for `{}`", parameter.name))));
            };
            parameter.tensor.f_copy_(value).map_err(refused)?;
        }
        Ok(plain)
    }

    /// Runs a forward pass over tokens `[b, t]`.
    fn pass(
        &self,
        tokens: &Tensor,
        dropout: f64,
        forward: impl FnOnce(&Pass) -> Result<Tensor, TchError>,
    ) -> Result<Tensor, Fault> {
        let handles: Vec<Tensor> = self.parameters.iter().map(Parameter::handle).collect();
        let pass = Pass::over(tokens, &handles, dropout).map_err(refused)?;
        forward(&pass).map_err(refused)
    }
}

/// Whether the sizes make a network.
fn check(settings: &ModelSettings, vocab_size: usize) -> Result<(), Fault> {
    let ModelSettings { n_layer, n_head, n_embd, block_size, dropout, lora_alpha, .. } = *settings;
    let hidden = settings.hidden_units();
    let message = if [n_layer, n_head, n_embd, hidden, block_size, vocab_size].contains(&0) {
        format!(
            "a network of {n_layer} layers, {n_head} heads, width {n_embd}, {hidden} hidden units, context {block_size} \
             and {vocab_size} tokens is empty"
        )
    } else if n_embd % n_head != 0 {
        format!("width n_embd = {n_embd} is no multiple of n_head = {n_head}")
    } else if !(0.0..1.0).contains(&dropout) {
        format!("dropout = {dropout} is not in [0, 1)")
    } else if let Some(rank) = Ranks::of(settings).largest().filter(|rank| *rank > n_embd) {
        format!("a LoRA adapter of rank {rank} is larger than the width n_embd = {n_embd}")
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
    Fault::new("E101", Exit::Environment, "libtorch failed while the network was computed").note("libtorch", words)
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
