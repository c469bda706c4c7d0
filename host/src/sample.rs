//! Text from a model, token by token; the same text for the same seed.
//! Does not touch libtorch's generators.

use tch::{Kind, Tensor};

use crate::{
    data::Tokenizer,
    fault::{Exit, Fault},
    model::{Gpt, refused},
    random::Stream,
};

/// How text is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling<'a> {
    /// Text to continue.
    pub prompt: &'a str,
    /// Tokens to draw.
    pub tokens: usize,
    /// Divides the scores; 0 takes the likeliest token.
    pub temperature: f64,
    /// Draw among this many of the likeliest.
    pub top_k: Option<usize>,
    /// Decides the draws.
    pub seed: u64,
}

/// The prompt and as many tokens after it as asked for.
///
/// A next token is drawn from the softmax of the scores over `temperature`; temperature 0 takes the likeliest. With
/// `top_k` only the k likeliest tokens take part. The context is the last block_size tokens. After an empty prompt the
/// text begins as after a line's end, or after the first token of the vocabulary where there is no such character.
///
/// # Errors
/// `C104` if the temperature is negative or not finite, or top_k is 0; `D403` if the prompt holds a character that is
/// not in the vocabulary; `N101` if the scores are not finite; `E101` if libtorch fails.
pub fn generate(model: &Gpt, tokenizer: &Tokenizer, sampling: &Sampling) -> Result<String, Fault> {
    let Sampling { prompt, tokens: n, temperature, top_k, seed } = *sampling;
    if !(temperature >= 0.0 && temperature.is_finite()) {
        let message = format!("temperature = {temperature} is not a number from 0 on");
        return Err(Fault::new("C104", Exit::Config, message));
    }
    if top_k == Some(0) {
        return Err(Fault::new("C104", Exit::Config, "top_k = 0 leaves no token to draw"));
    }
    let _guard = tch::no_grad_guard();
    let stream = Stream::new(seed, "sample");
    let mut tokens = tokenizer.encode(prompt.as_bytes(), "prompt")?;
    let given = tokens.len();
    if given == 0 {
        tokens.push(tokenizer.encode(b"\n", "prompt").ok().and_then(|line| line.first().copied()).unwrap_or(0));
    }
    let began = tokens.len();
    for i in 0..n {
        let mut scores = next_scores(model, &tokens)?;
        // Rows of the vocabulary beyond the tokens of the data stand for no text.
        scores.truncate(tokenizer.vocab_size());
        let u = stream.uniforms(0, i as u64)[0];
        tokens.push(draw(&scores, temperature, top_k, u)? as u16);
    }
    Ok(format!("{prompt}{}", tokenizer.decode(&tokens[began..])))
}

fn next_scores(model: &Gpt, tokens: &[u16]) -> Result<Vec<f64>, Fault> {
    let context = &tokens[tokens.len().saturating_sub(model.block_size())..];
    let context: Vec<i64> = context.iter().map(|&token| token.into()).collect();
    let input = || Tensor::f_from_slice(&context)?.f_view([1, -1])?.f_to_device(model.device());
    let scores = model.next_logits(&input().map_err(refused)?)?;
    let numbers = || Vec::<f64>::try_from(scores.f_to_kind(Kind::Double)?.f_view([-1])?);
    numbers().map_err(refused)
}

/// The token at `u` of the cumulative distribution, likeliest first; equal scores in the order of the vocabulary.
fn draw(scores: &[f64], temperature: f64, top_k: Option<usize>, u: f64) -> Result<usize, Fault> {
    if !scores.iter().all(|score| score.is_finite()) {
        return Err(Fault::new("N101", Exit::Diverged, "the model's scores are not finite"));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(if temperature == 0.0 { 1 } else { top_k.unwrap_or(usize::MAX) });
    let best = order.first().copied().unwrap_or(0);
    let weight = |&token: &usize| libm::exp((scores[token] - scores[best]) / temperature);
    let mut left = u * order.iter().map(weight).sum::<f64>();
    let drawn = order.iter().find(|token| {
        left -= weight(token);
        left < 0.0
    });
    // Rounding may leave a rest, and temperature 0 leaves one token.
    Ok(drawn.or(order.last()).copied().unwrap_or(best))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::config::settings::{Format, ModelSettings};

    fn model() -> (Gpt, Tokenizer) {
        let settings = ModelSettings {
            n_layer: 2,
            n_head: 2,
            n_embd: 16,
            mlp_width: None,
            block_size: 8,
            bias: true,
            dropout: 0.3,
            tie_head: true,
            lora_rank: 0,
            attn_lora_divisor: None,
            vocab_lora_divisor: None,
            lora_alpha: 1.0,
        };
        let tokenizer = Tokenizer::Chars("\n abcd".chars().collect());
        (Gpt::new(&settings, 6, 1, Format::F32, Device::Cpu).unwrap(), tokenizer)
    }

    fn sampled(
        model: &Gpt,
        tokenizer: &Tokenizer,
        prompt: &str,
        tokens: usize,
        temperature: f64,
        top_k: Option<usize>,
        seed: u64,
    ) -> Result<String, Fault> {
        generate(model, tokenizer, &Sampling { prompt, tokens, temperature, top_k, seed })
    }

    #[test]
    fn a_seed_is_a_text() {
        let (model, tokenizer) = model();
        let text = |seed| sampled(&model, &tokenizer, "abc", 40, 1.0, None, seed).unwrap();
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        assert!(text(1).starts_with("abc"));
        assert_eq!(text(1).chars().count(), 43);
        assert_eq!(sampled(&model, &tokenizer, "", 5, 1.0, None, 1).unwrap().chars().count(), 5);
    }

    #[test]
    fn temperature_zero_and_top_one_take_the_likeliest() {
        let (model, tokenizer) = model();
        let text = |temperature, top_k, seed| sampled(&model, &tokenizer, "a", 20, temperature, top_k, seed).unwrap();
        assert_eq!(text(0.0, None, 1), text(1.0, Some(1), 2));
    }

    #[test]
    fn draws_follow_the_softmax() {
        let scores = [1.0, 3.0, 2.0];
        let counts = |temperature: f64, top_k| {
            let mut counts = [0.0; 3];
            let n = 10_000;
            for i in 0..n {
                counts[draw(&scores, temperature, top_k, (f64::from(i) + 0.5) / f64::from(n)).unwrap()] +=
                    1.0 / f64::from(n);
            }
            counts
        };
        let softmax = |temperature: f64, kept: [bool; 3]| {
            let weights: Vec<f64> =
                (0..3).map(|i| if kept[i] { (scores[i] / temperature).exp() } else { 0.0 }).collect();
            let sum: f64 = weights.iter().sum();
            [weights[0] / sum, weights[1] / sum, weights[2] / sum]
        };
        for (temperature, top_k, kept) in
            [(1.0, None, [true; 3]), (0.5, None, [true; 3]), (1.0, Some(2), [false, true, true])]
        {
            let (found, expected) = (counts(temperature, top_k), softmax(temperature, kept));
            for i in 0..3 {
                assert!((found[i] - expected[i]).abs() < 2e-3, "{found:?} is not {expected:?}");
            }
        }
    }

    #[test]
    fn faults() {
        let (model, tokenizer) = model();
        let code = |prompt, temperature, top_k| {
            sampled(&model, &tokenizer, prompt, 1, temperature, top_k, 1).unwrap_err().code
        };
        assert_eq!(code("x", 1.0, None), "D403");
        assert_eq!(code("a", -1.0, None), "C104");
        assert_eq!(code("a", f64::NAN, None), "C104");
        assert_eq!(code("a", 1.0, Some(0)), "C104");
        assert_eq!(draw(&[0.0, f64::NAN], 1.0, None, 0.5).unwrap_err().code, "N101");
    }
}
