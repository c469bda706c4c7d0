//! The rooms of the network in their order, without the parameters: token and position embeddings, blocks, a last
//! LayerNorm, the head. Holds no tensors, so that several passes over different ones may run at once.

use tch::{Kind, Reduction, TchError, Tensor};

use super::{
    block::Block,
    builder::{Builder, Slot},
    embedding::Embedding,
    init::Init,
    layer_norm::LayerNorm,
    lora::Adapter,
    parameter::Role,
    pass::Pass,
};
use crate::config::settings::ModelSettings;

/// Name of the token embedding.
pub(super) const WTE: &str = "transformer.wte.weight";
/// Name of a head of its own.
pub(super) const LM_HEAD: &str = "lm_head.weight";

/// What happens to tokens, given parameters.
pub(super) struct Network {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    lm_head: Slot,
}

impl Network {
    /// Adds every parameter to the builder, in nanoGPT's order.
    pub(super) fn new(builder: &mut Builder, settings: &ModelSettings, vocab_size: usize) -> Result<Network, TchError> {
        let (vocab, width, heads) = (vocab_size as i64, settings.n_embd as i64, settings.n_head as i64);
        let (rank, hidden) = (builder.ranks.vocab, settings.hidden_units() as i64);
        let wte = Embedding::new(builder, "transformer.wte", vocab, width, rank)?;
        let wpe = Embedding::new(builder, "transformer.wpe", settings.block_size as i64, width, 0)?;
        let blocks: Result<_, _> =
            (0..settings.n_layer).map(|i| Block::new(builder, i, width, heads, hidden)).collect();
        let blocks = blocks?;
        let ln_f = LayerNorm::new(builder, "transformer.ln_f", width)?;
        let lm_head = match settings.tie_head {
            true => wte.weight,
            false => builder.add(LM_HEAD.into(), Role::Head, &[vocab, width], Init::Normal(0.02))?,
        };
        Ok(Network { wte, wpe, blocks, ln_f, lm_head })
    }

    /// Every weight with an adapter.
    pub(super) fn adapters(&self) -> impl Iterator<Item = (Slot, &Adapter)> {
        let linears = self.blocks.iter().flat_map(Block::linears).map(|linear| (linear.weight, &linear.adapter));
        let all = std::iter::once((self.wte.weight, &self.wte.adapter)).chain(linears);
        all.filter_map(|(weight, adapter)| Some((weight, adapter.as_ref()?)))
    }

    /// Every adapter, to be changed.
    pub(super) fn adapters_mut(&mut self) -> impl Iterator<Item = &mut Adapter> {
        let linears = self.blocks.iter_mut().flat_map(Block::linears_mut).map(|linear| &mut linear.adapter);
        std::iter::once(&mut self.wte.adapter).chain(linears).filter_map(Option::as_mut)
    }

    /// Tokens `[b, t]` to what the head sees, `[b·t, width]`.
    pub(super) fn hidden(&self, pass: &Pass, tokens: &Tensor) -> Result<Tensor, TchError> {
        let embedded = self.wte.rows(pass, tokens)?.f_add(&self.wpe.first(pass, pass.t)?)?;
        let mut x = pass.drop(embedded.f_flatten(0, 1)?)?;
        for block in &self.blocks {
            x = block.forward(pass, &x)?;
        }
        self.ln_f.forward(pass, &x)
    }

    /// Scores of every token of the vocabulary: `[n, width]` to `[n, vocab_size]`.
    pub(super) fn head(&self, pass: &Pass, hidden: &Tensor) -> Result<Tensor, TchError> {
        hidden.f_linear(pass.tensor(self.lm_head), None::<&Tensor>)
    }

    /// Negative log-likelihood of the targets `[b, t]` in nats: `[b·t]`, or reduced.
    pub(super) fn nats(
        &self,
        pass: &Pass,
        tokens: &Tensor,
        targets: &Tensor,
        reduction: Reduction,
    ) -> Result<Tensor, TchError> {
        let logits = self.head(pass, &self.hidden(pass, tokens)?)?;
        // A bf16 loss would be rounded to three digits before it is summed.
        let logits = if logits.f_kind()? == Kind::BFloat16 { logits.f_to_kind(Kind::Float)? } else { logits };
        logits.f_cross_entropy_loss(&targets.f_reshape([-1])?, None::<&Tensor>, reduction, -100, 0.0)
    }
}
