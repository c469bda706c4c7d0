//! How well a model predicts the validation text: nats per token and bits per byte.
//! Changes nothing: no dropout, no gradients.

use tch::Kind;

use crate::{
    data::Corpus,
    fault::Fault,
    model::{Gpt, refused},
};

/// Tokens that are evaluated at a time, as far as whole windows allow. Part of the result's bits, so a constant.
const TOKENS_AT_A_TIME: usize = 4096;

/// One evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean negative log-likelihood in nats per predicted token.
    pub loss: f64,
    /// Bits per byte: Σ nats / (ln 2 · bytes of the predicted tokens).
    pub bpb: f64,
    /// Predicted tokens.
    pub tokens: u64,
    /// Bytes of the predicted tokens.
    pub bytes: u64,
}

/// Evaluates in non-overlapping windows of the model's block size: window w reads tokens w·t … (w + 1)·t − 1 and
/// predicts the token after each, so that a token is predicted from its own window alone.
///
/// With `Some(n)`: n whole windows, evenly strided over the text (all of them where there are fewer). With `None`: the
/// whole text; a shorter window at the end makes every token but the first be predicted exactly once.
/// Sums are kept in f64. The loss of a diverged model comes back as it is, not finite.
///
/// # Errors
/// `E101` if libtorch fails.
pub fn evaluate(model: &Gpt, corpus: &Corpus, windows: Option<usize>) -> Result<Evaluation, Fault> {
    let _guard = tch::no_grad_guard();
    let t = model.block_size();
    let predicted = corpus.val.len().saturating_sub(1);
    let whole = predicted / t;
    let starts: Vec<usize> = match windows {
        Some(n) if n < whole => (0..n).map(|i| i * whole / n * t).collect(),
        _ => (0..whole).map(|w| w * t).collect(),
    };
    let mut sum = Sum::default();
    for starts in starts.chunks((TOKENS_AT_A_TIME / t).max(1)) {
        sum.add(model, corpus, starts, t)?;
    }
    let rest = predicted - whole * t;
    if rest > 0 && windows.is_none() {
        sum.add(model, corpus, &[whole * t], rest)?;
    }
    let (tokens, bytes) = (sum.tokens as f64, sum.bytes as f64);
    let bpb = sum.nats / (std::f64::consts::LN_2 * bytes);
    Ok(Evaluation { loss: sum.nats / tokens, bpb, tokens: sum.tokens, bytes: sum.bytes })
}

#[derive(Default)]
struct Sum {
    nats: f64,
    tokens: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, model: &Gpt, corpus: &Corpus, starts: &[usize], length: usize) -> Result<(), Fault> {
        let (tokens, targets) = corpus.val_windows(starts, length, model.device())?;
        let nats = model.losses(&tokens, &targets)?.f_sum(Kind::Double).and_then(|sum| sum.f_double_value(&[]));
        self.nats += nats.map_err(refused)?;
        self.tokens += (starts.len() * length) as u64;
        for &start in starts {
            let bytes = |&token: &u16| corpus.tokenizer.bytes_of(token) as u64;
            self.bytes += corpus.val[start + 1..=start + length].iter().map(bytes).sum::<u64>();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{
        config::settings::{Format, ModelSettings},
        data::Tokenizer,
    };

    fn corpus(text: &str, vocabulary: &str) -> Corpus {
        let mut vocabulary: Vec<char> = vocabulary.chars().collect();
        vocabulary.sort_unstable();
        let tokenizer = Tokenizer::Chars(vocabulary);
        let val = tokenizer.encode(text.as_bytes(), "here").unwrap();
        Corpus {
            tokenizer,
            train: val.clone(),
            val,
            floor_bpb: None,
            description: String::new(),
            sha256: String::new(),
        }
    }

    fn model(vocab_size: usize, block_size: usize) -> Gpt {
        let settings = ModelSettings {
            n_layer: 1,
            n_head: 2,
            n_embd: 8,
            mlp_width: None,
            block_size,
            bias: false,
            dropout: 0.5,
            tie_head: true,
            lora_rank: 0,
            attn_lora_divisor: None,
            vocab_lora_divisor: None,
            lora_alpha: 1.0,
        };
        Gpt::new(&settings, vocab_size, 1, Format::F64, Device::Cpu).unwrap()
    }

    /// A model without knowledge: all scores 0.
    fn uniform(vocab_size: usize, block_size: usize) -> Gpt {
        let mut model = model(vocab_size, block_size);
        let _ = tch::no_grad(|| model.parameters_mut()[0].tensor.f_zero_().unwrap());
        model
    }

    #[test]
    fn a_model_without_knowledge_needs_log_v_per_token() {
        // 12 tokens of 1 byte and 5 of 2; the first token is not predicted.
        let corpus = corpus("aébcébacéabcébcéa", "abcé");
        for block_size in [1, 3, 4, 8, 16] {
            let evaluation = evaluate(&uniform(4, block_size), &corpus, None).unwrap();
            assert!((evaluation.loss - 4_f64.ln()).abs() < 1e-12);
            assert_eq!((evaluation.tokens, evaluation.bytes), (16, 21));
            assert!((evaluation.bpb - 2.0 * 16.0 / 21.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_whole_text_is_each_token_once() {
        let corpus = corpus("abcabbacabbcbacbabc", "abc");
        let model = model(3, 4);
        let whole = evaluate(&model, &corpus, None).unwrap();
        // One window after the other, in the order of the text.
        let mut nats = 0.0;
        for start in (0..18).step_by(4) {
            let (tokens, targets) = corpus.val_windows(&[start], 4.min(18 - start), Device::Cpu).unwrap();
            nats += tch::no_grad(|| model.losses(&tokens, &targets).unwrap().sum(Kind::Double).double_value(&[]));
        }
        assert_eq!(whole.tokens, 18);
        assert!((whole.loss - nats / 18.0).abs() < 1e-12);
        // Fewer windows than the text has, all whole ones, and more than there are.
        assert_eq!(evaluate(&model, &corpus, Some(2)).unwrap().tokens, 8);
        assert_eq!(evaluate(&model, &corpus, Some(4)).unwrap().tokens, 16);
        assert_eq!(evaluate(&model, &corpus, Some(99)).unwrap().tokens, 16);
    }

    #[test]
    fn evaluation_drops_nothing() {
        let corpus = corpus("abcabbacabbcbacbabc", "abc");
        let model = model(3, 4);
        assert_eq!(evaluate(&model, &corpus, None).unwrap(), evaluate(&model, &corpus, None).unwrap());
    }
}
