//! What a token is: one byte, or one character of a vocabulary.
//! Reads no files.

use sha2::{Digest, Sha256};

use crate::{
    config::settings::Tokens,
    fault::{Exit, Fault},
};

/// Text to token numbers and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// A token is a byte; 256 of them.
    Bytes,
    /// A token is a character: its place in this sorted list.
    Chars(Vec<char>),
}

impl Tokenizer {
    /// The tokenizer of a training text. The vocabulary of characters is the sorted set of those in the text.
    ///
    /// # Errors
    /// `D401` if the text is not UTF-8 and characters are asked for, `D402` if it has more than 65536 different ones.
    pub fn of(tokens: Tokens, text: &[u8], place: &str) -> Result<Tokenizer, Fault> {
        if tokens == Tokens::Bytes {
            return Ok(Tokenizer::Bytes);
        }
        let mut seen = vec![false; char::MAX as usize + 1];
        utf8(text, place)?.chars().for_each(|c| seen[c as usize] = true);
        let vocabulary: Vec<char> =
            (0_u32..).zip(seen).filter(|(_, seen)| *seen).filter_map(|(c, _)| char::from_u32(c)).collect();
        if vocabulary.len() > usize::from(u16::MAX) + 1 {
            let message =
                format!("the text has {} different characters; at most 65536 can be tokens", vocabulary.len());
            return Err(Fault::new("D402", Exit::Data, message)
                .at(place)
                .hint("data.tokens = \"bytes\" takes any text"));
        }
        Ok(Tokenizer::Chars(vocabulary))
    }

    /// The characters in the order of their tokens; none where tokens are bytes. What a checkpoint keeps.
    pub fn vocabulary(&self) -> Option<String> {
        match self {
            Tokenizer::Bytes => None,
            Tokenizer::Chars(vocabulary) => Some(vocabulary.iter().collect()),
        }
    }

    /// From what [`Tokenizer::vocabulary`] gave.
    pub fn from_vocabulary(vocabulary: Option<&str>) -> Tokenizer {
        vocabulary.map_or(Tokenizer::Bytes, |text| Tokenizer::Chars(text.chars().collect()))
    }

    /// Number of different tokens.
    pub fn vocab_size(&self) -> usize {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::Chars(vocabulary) => vocabulary.len(),
        }
    }

    /// Text to tokens.
    ///
    /// # Errors
    /// `D401` if the text is not UTF-8 and tokens are characters, `D403` if a character is not in the vocabulary;
    /// both name the byte offset.
    pub fn encode(&self, text: &[u8], place: &str) -> Result<Vec<u16>, Fault> {
        let Tokenizer::Chars(vocabulary) = self else {
            return Ok(text.iter().map(|&byte| byte.into()).collect());
        };
        let token = |(offset, c): (usize, char)| match vocabulary.binary_search(&c) {
            Ok(token) => Ok(token as u16),
            Err(_) => Err(unknown(c, offset, place, vocabulary.len())),
        };
        utf8(text, place)?.char_indices().map(token).collect()
    }

    /// Tokens to text. Bytes that make no character become U+FFFD; so do numbers that are no token.
    pub fn decode(&self, tokens: &[u16]) -> String {
        match self {
            Tokenizer::Bytes => {
                let bytes: Vec<u8> = tokens.iter().map(|&token| u8::try_from(token).unwrap_or(0xFF)).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Tokenizer::Chars(vocabulary) => {
                let character = |&token: &u16| vocabulary.get(usize::from(token)).copied().unwrap_or('\u{FFFD}');
                tokens.iter().map(character).collect()
            }
        }
    }

    /// Bytes that a token stands for.
    pub fn bytes_of(&self, token: u16) -> usize {
        match self {
            Tokenizer::Bytes => 1,
            Tokenizer::Chars(vocabulary) => vocabulary.get(usize::from(token)).map_or(0, |c| c.len_utf8()),
        }
    }

    /// Digest of the vocabulary, so that a checkpoint is not used with another one.
    pub fn sha256(&self) -> String {
        let text = match self {
            Tokenizer::Bytes => "bytes".to_owned(),
            Tokenizer::Chars(vocabulary) => {
                format!("chars:{}", vocabulary.iter().collect::<String>())
            }
        };
        super::corpus::hex(&Sha256::digest(text))
    }
}

fn utf8<'a>(text: &'a [u8], place: &str) -> Result<&'a str, Fault> {
    std::str::from_utf8(text).map_err(|error| {
        let message = format!("the text is not UTF-8 at byte {}", error.valid_up_to());
        Fault::new("D401", Exit::Data, message).at(place).hint("data.tokens = \"bytes\" takes any text")
    })
}

fn unknown(c: char, offset: usize, place: &str, known: usize) -> Fault {
    Fault::new("D403", Exit::Data, format!("character {c:?} at byte {offset} is not in the vocabulary"))
        .at(place)
        .note("vocabulary", format!("{known} characters, those of the training text"))
        .hint("data.tokens = \"bytes\" takes any text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_the_way_there_and_back() {
        for (tokens, text) in [
            (Tokens::Bytes, "to be, or not to be — ½"),
            (Tokens::Chars, "to be, or not to be — ½"),
            (Tokens::Bytes, ""),
        ] {
            let tokenizer = Tokenizer::of(tokens, text.as_bytes(), "here").unwrap();
            let encoded = tokenizer.encode(text.as_bytes(), "here").unwrap();
            assert_eq!(tokenizer.decode(&encoded), text);
            assert_eq!(encoded.iter().map(|&token| tokenizer.bytes_of(token)).sum::<usize>(), text.len());
            assert!(encoded.iter().all(|&token| usize::from(token) < tokenizer.vocab_size()));
        }
    }

    #[test]
    fn vocabulary_is_the_sorted_set_of_characters() {
        let tokenizer = Tokenizer::of(Tokens::Chars, "banana\n".as_bytes(), "here").unwrap();
        assert_eq!(tokenizer, Tokenizer::Chars(vec!['\n', 'a', 'b', 'n']));
        assert_eq!(tokenizer.encode(b"nab", "here").unwrap(), [3, 1, 2]);
    }

    #[test]
    fn faults_name_the_byte() {
        let tokenizer = Tokenizer::of(Tokens::Chars, "añb".as_bytes(), "train.txt").unwrap();
        let fault = tokenizer.encode("añx".as_bytes(), "val.txt").unwrap_err();
        assert_eq!((fault.code, fault.place.as_deref()), ("D403", Some("val.txt")));
        assert!(fault.message.contains("'x' at byte 3"), "{}", fault.message);
        let fault = Tokenizer::of(Tokens::Chars, b"ab\xFFcd", "train.txt").unwrap_err();
        assert_eq!(fault.code, "D401");
        assert!(fault.message.contains("byte 2"), "{}", fault.message);
        assert_eq!(Tokenizer::of(Tokens::Bytes, b"ab\xFFcd", "train.txt").unwrap().encode(b"\xFF", "").unwrap(), [255]);
    }
}
