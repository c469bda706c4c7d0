//! The compiler's tokens as plain data, so that the parser can be tested outside the compiler.
//! Keeps neither spans nor spacing.

use proc_macro::{Delimiter, TokenStream, TokenTree};

/// One token, or a bracketed group of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or keyword.
    Word(String),
    /// One punctuation character.
    Sign(char),
    /// A literal.
    Literal,
    /// `{…}`.
    Braces(Vec<Token>),
    /// `[…]`.
    Brackets(Vec<Token>),
    /// `(…)`.
    Parens(Vec<Token>),
}

/// Reads the compiler's tokens. Groups without brackets, which macros make, are opened.
pub fn read(stream: TokenStream) -> Vec<Token> {
    let mut all = Vec::new();
    for token in stream {
        match token {
            TokenTree::Ident(word) => all.push(Token::Word(word.to_string())),
            TokenTree::Punct(sign) => all.push(Token::Sign(sign.as_char())),
            TokenTree::Literal(_) => all.push(Token::Literal),
            TokenTree::Group(group) => {
                let inner = read(group.stream());
                match group.delimiter() {
                    Delimiter::Brace => all.push(Token::Braces(inner)),
                    Delimiter::Bracket => all.push(Token::Brackets(inner)),
                    Delimiter::Parenthesis => all.push(Token::Parens(inner)),
                    Delimiter::None => all.extend(inner),
                }
            }
        }
    }
    all
}
