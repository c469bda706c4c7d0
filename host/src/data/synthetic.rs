//! The embedded corpus: a language made of a fixed seed, whose entropy is known.
//! Not meant to be like any real language.
//!
//! A Markov chain over 80 words, comma and full stop. A word is followed by four to eight words with skewed
//! probabilities, at times by a comma or a full stop. No word begins another, so that text decodes in one way only and
//! the chain gives every next byte a probability. Their code length is the floor: no model of the text does better,
//! save by luck.

use std::ops::Range;

use crate::random::{Stream, below};

/// Bytes of the corpus, up to a symbol.
const LENGTH: usize = 1 << 20;
const SEED: u64 = 20_250_101;
const WORDS: usize = 80;
const COMMA: usize = WORDS;
const STOP: usize = WORDS + 1;

/// The language: words and what follows what.
pub struct Language {
    words: Vec<String>,
    /// Per symbol its successors with their probabilities, most likely first.
    follow: Vec<Vec<(usize, f64)>>,
}

/// A text of the language, and what each of its bytes costs the one who knows the language.
pub struct Text {
    bytes: Vec<u8>,
    /// −log₂ of each byte's probability given all before it.
    bits: Vec<f64>,
}

impl Text {
    /// The text; ASCII.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Mean code length of a stretch in bits per byte; 0 for an empty one.
    pub fn bits_per_byte(&self, range: Range<usize>) -> f64 {
        let bits = self.bits.get(range).unwrap_or_default();
        bits.iter().sum::<f64>() / bits.len().max(1) as f64
    }
}

/// The embedded corpus, always the same.
pub fn corpus() -> Text {
    Language::new(SEED).text(SEED, LENGTH)
}

impl Language {
    /// The language of a seed.
    pub fn new(seed: u64) -> Language {
        let words = lexicon(&Stream::new(seed, "synthetic/lexicon"));
        let stream = Stream::new(seed, "synthetic/follow");
        let follow = (0..WORDS + 2).map(|symbol| successors(&stream, symbol)).collect();
        Language { words, follow }
    }

    /// A text of at least `length` bytes, ending with a symbol.
    pub fn text(&self, seed: u64, length: usize) -> Text {
        let stream = Stream::new(seed, "synthetic/text");
        let mut text = Text { bytes: Vec::with_capacity(length + 16), bits: Vec::with_capacity(length + 16) };
        let mut last = STOP;
        for i in 0.. {
            let mut left = stream.uniforms(0, i)[0];
            let likely = self.follow[last].iter().find(|(_, p)| {
                left -= p;
                left < 0.0
            });
            // Rounding may leave a rest; it belongs to the last successor.
            let Some(&(next, _)) = likely.or(self.follow[last].last()) else {
                break;
            };
            self.write(last, next, &mut text);
            last = next;
            if text.bytes.len() >= length {
                break;
            }
        }
        text
    }

    /// Entropy rate in bits per byte: that of the chain in bits per symbol over its mean bytes per symbol.
    pub fn entropy_rate(&self) -> f64 {
        let stationary = self.stationary();
        let mut bits = 0.0;
        let mut bytes = 0.0;
        for (symbol, share) in stationary.iter().enumerate() {
            for &(next, p) in &self.follow[symbol] {
                bits -= share * p * p.log2();
                bytes += share * p * self.spell(symbol, next).len() as f64;
            }
        }
        bits / bytes
    }

    /// Share of each symbol in an endless text, by the power method on a chain made lazy against periods.
    fn stationary(&self) -> Vec<f64> {
        let n = self.follow.len();
        let mut share = vec![1.0 / n as f64; n];
        for _ in 0..2000 {
            let mut next: Vec<f64> = share.iter().map(|s| s * 0.5).collect();
            for (symbol, s) in share.iter().enumerate() {
                self.follow[symbol].iter().for_each(|&(to, p)| next[to] += 0.5 * s * p);
            }
            share = next;
        }
        share
    }

    /// How `next` is written after `last`.
    fn spell(&self, last: usize, next: usize) -> String {
        match next {
            COMMA => ",".into(),
            STOP => ".\n".into(),
            word if last == STOP => self.words[word].clone(),
            word => format!(" {}", self.words[word]),
        }
    }

    /// Appends a symbol. A byte's probability is the share of the successors that still fit among those that fitted.
    fn write(&self, last: usize, next: usize, text: &mut Text) {
        let spelled = self.spell(last, next);
        let mut fitting: Vec<(String, f64)> =
            self.follow[last].iter().map(|&(symbol, p)| (self.spell(last, symbol), p)).collect();
        let mut before: f64 = 1.0;
        for (i, byte) in spelled.bytes().enumerate() {
            fitting.retain(|(other, _)| other.as_bytes().get(i) == Some(&byte));
            let after: f64 = fitting.iter().map(|(_, p)| p).sum();
            text.bytes.push(byte);
            text.bits.push((before / after).log2());
            before = after;
        }
    }
}

/// Different words of two to six letters, none the beginning of another.
fn lexicon(stream: &Stream) -> Vec<String> {
    let pick = |letters: &str, word: u64| letters.as_bytes()[below(word, letters.len() as u64) as usize] as char;
    let mut words: Vec<String> = Vec::with_capacity(WORDS);
    for i in 0.. {
        // Two to six letters; vowels and consonants take turns.
        let length = 2 + below(stream.words(i, 0)[0], 5);
        let letter = |k: u64| {
            let letters = if k.is_multiple_of(2) { "bdfgklmnprstvz" } else { "aeiou" };
            pick(letters, stream.words(i, k + 1)[0])
        };
        let word: String = (0..length).map(letter).collect();
        if !words.iter().any(|other| other.starts_with(&word) || word.starts_with(other.as_str())) {
            words.push(word);
        }
        if words.len() == WORDS {
            break;
        }
    }
    words
}

/// What follows a symbol. After a word 0.08 is a comma and 0.12 a full stop; after those always a word.
fn successors(stream: &Stream, symbol: usize) -> Vec<(usize, f64)> {
    let draw = |i: u64, n: u64| below(stream.words(symbol as u64, i)[0], n);
    let count = 4 + draw(0, 5) as usize;
    let mut chosen = Vec::with_capacity(count);
    if symbol < WORDS {
        // A ring through all words, so that every word can be reached from every other.
        chosen.push((symbol + 1) % WORDS);
    }
    for i in 1.. {
        let word = draw(i, WORDS as u64) as usize;
        if !chosen.contains(&word) && word != symbol {
            chosen.push(word);
        }
        if chosen.len() >= count {
            break;
        }
    }
    // The ring is not always the likely way.
    chosen.rotate_left(draw(1 << 32, count as u64) as usize);
    let words = if symbol < WORDS { 0.8 } else { 1.0 };
    let weight = |rank: usize| 0.6_f64.powi(rank as i32);
    let total: f64 = (0..count).map(weight).sum();
    let mut follow: Vec<(usize, f64)> =
        chosen.into_iter().enumerate().map(|(rank, word)| (word, words * weight(rank) / total)).collect();
    if symbol < WORDS {
        follow.extend([(STOP, 0.12), (COMMA, 0.08)]);
    }
    follow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_length_of_a_long_text_is_the_entropy_rate() {
        for seed in [SEED, 1, 2] {
            let language = Language::new(seed);
            let rate = language.entropy_rate();
            let text = language.text(seed, 2_000_000);
            let measured = text.bits_per_byte(0..text.bytes.len());
            assert!((measured / rate - 1.0).abs() < 0.01, "seed {seed}: {measured} is not near {rate}");
        }
    }

    #[test]
    fn probabilities_of_next_bytes_sum_to_one() {
        let language = Language::new(SEED);
        for last in 0..WORDS + 2 {
            let sum: f64 = language.follow[last].iter().map(|(_, p)| p).sum();
            assert!((sum - 1.0).abs() < 1e-12);
            // Every successor costs what its probability says, however its bytes share the cost.
            for &(next, p) in &language.follow[last] {
                let mut text = Text { bytes: Vec::new(), bits: Vec::new() };
                language.write(last, next, &mut text);
                assert!((text.bits.iter().sum::<f64>() + p.log2()).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn text_decodes_in_one_way_only() {
        let language = Language::new(SEED);
        assert_eq!(language.words.len(), WORDS);
        assert!(language.words.iter().all(|word| (2..=6).contains(&word.len())));
        for last in 0..WORDS + 2 {
            let spelled: Vec<String> = (0..WORDS + 2).map(|next| language.spell(last, next)).collect();
            for (i, one) in spelled.iter().enumerate() {
                assert!(spelled.iter().enumerate().all(|(j, other)| i == j || !other.starts_with(one.as_str())));
            }
        }
    }

    #[test]
    fn the_embedded_text_never_changes() {
        let text = corpus();
        assert!(text.bytes.len() >= LENGTH && text.bytes.len() < LENGTH + 16);
        assert!(text.bytes.is_ascii());
        use sha2::Digest;
        let digest = super::super::corpus::hex(&sha2::Sha256::digest(&text.bytes));
        assert_eq!(digest, "89f90dfa8db8bdd1f293117023e501b6ede7e867e7034280c72605041cb474e9");
    }

    #[test]
    fn every_word_occurs() {
        let text = corpus();
        let text = String::from_utf8(text.bytes).unwrap();
        let seen: std::collections::BTreeSet<&str> =
            text.split([' ', ',', '.', '\n']).filter(|word| !word.is_empty()).collect();
        assert!(seen.len() >= WORDS && seen.len() <= WORDS + 1, "{} words", seen.len());
    }
}
