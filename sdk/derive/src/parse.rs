//! What a record is: the struct's name, its fields, and the path to the sdk.
//! Generates nothing.

use crate::token::Token::{self, Braces, Brackets, Parens, Sign, Word};

const SHAPE: &str = "a Record is `struct Name<T> { field: T, … }`";
const FIELD: &str = "every field of a Record has the type of the struct's parameter";
const EMPTY: &str = "a Record without fields is `sdk::Nothing<T>`";
const ATTRIBUTE: &str = "the attribute is `#[record(crate = path)]`";

/// A struct that derives `Record`.
#[derive(Debug, PartialEq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its fields, in order, as they are written.
    pub fields: Vec<String>,
    /// Path to the sdk.
    pub sdk: String,
}

/// Reads a struct, or says why it is not a record.
pub fn record(tokens: &[Token]) -> Result<Record, &'static str> {
    let start = tokens.iter().position(|token| is_word(token, "struct")).ok_or(SHAPE)?;
    let sdk = sdk_path(&tokens[..start])?;
    let [Word(name), Sign('<'), Word(parameter), Sign('>'), Braces(body)] = &tokens[start + 1..] else {
        return Err(SHAPE);
    };
    let fields = fields(body, parameter)?;
    if fields.is_empty() { Err(EMPTY) } else { Ok(Record { name: name.clone(), fields, sdk }) }
}

fn fields(body: &[Token], parameter: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    for field in body.split(|token| *token == Sign(',')) {
        let Some(colon) = field.iter().position(|token| *token == Sign(':')) else {
            // what follows the last comma
            if field.is_empty() { continue } else { return Err(SHAPE) }
        };
        // attributes and visibility end at the name before the colon
        let (Some(Word(name)), [Word(kind)]) = (field[..colon].last(), &field[colon + 1..]) else { return Err(FIELD) };
        if kind != parameter {
            return Err(FIELD);
        }
        fields.push(name.clone());
    }
    Ok(fields)
}

/// `::sdk`, unless an attribute `#[record(crate = path)]` names another path.
fn sdk_path(before: &[Token]) -> Result<String, &'static str> {
    let mut path = String::from("::sdk");
    for pair in before.windows(2) {
        let [Sign('#'), Brackets(attribute)] = pair else { continue };
        if !attribute.first().is_some_and(|token| is_word(token, "record")) {
            continue;
        }
        let [_, Parens(arguments)] = attribute.as_slice() else { return Err(ATTRIBUTE) };
        let [Word(key), Sign('='), given @ ..] = arguments.as_slice() else { return Err(ATTRIBUTE) };
        if key != "crate" || given.is_empty() {
            return Err(ATTRIBUTE);
        }
        path.clear();
        for token in given {
            match token {
                Word(word) => path.push_str(word),
                Sign(':') => path.push(':'),
                _ => return Err(ATTRIBUTE),
            }
        }
    }
    Ok(path)
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Word(given) if given == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough of a lexer for the tables below.
    fn lex(text: &str) -> Vec<Token> {
        fn group(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, end: Option<char>) -> Vec<Token> {
            let mut all = Vec::new();
            while let Some(c) = rest.next() {
                match c {
                    c if Some(c) == end => return all,
                    c if c.is_whitespace() => {}
                    '{' => all.push(Braces(group(rest, Some('}')))),
                    '[' => all.push(Brackets(group(rest, Some(']')))),
                    '(' => all.push(Parens(group(rest, Some(')')))),
                    c if c.is_alphanumeric() || c == '_' => {
                        let mut word = String::from(c);
                        while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '#')) {
                            word.push(c);
                        }
                        all.push(Word(word));
                    }
                    c => all.push(Sign(c)),
                }
            }
            all
        }
        group(&mut text.chars().peekable(), None)
    }

    #[test]
    fn records_are_read() {
        let cases = [
            ("struct State<T> { exp_avg: T }", "State", vec!["exp_avg"], "::sdk"),
            ("pub(crate) struct H<T> { lr: T, beta1: T, }", "H", vec!["lr", "beta1"], "::sdk"),
            ("struct S<V> { #[doc = x] pub(in a::b) one: V, pub r#type: V }", "S", vec!["one", "r#type"], "::sdk"),
            ("#[derive(Debug)] #[record(crate = my::sdk)] struct S<T> { a: T }", "S", vec!["a"], "my::sdk"),
        ];
        for (text, name, fields, sdk) in cases {
            let fields = fields.into_iter().map(String::from).collect();
            assert_eq!(record(&lex(text)), Ok(Record { name: name.into(), fields, sdk: sdk.into() }), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        let cases = [
            ("enum E<T> { A(T) }", SHAPE),
            ("struct S;", SHAPE),
            ("struct S { a: f64 }", SHAPE),
            ("struct S<T>(T);", SHAPE),
            ("struct S<T, U> { a: T, b: U }", SHAPE),
            ("struct S<T: Copy> { a: T }", SHAPE),
            ("struct S<'a> { a: T }", SHAPE),
            ("struct S<T> { a: f64 }", FIELD),
            ("struct S<T> { a: T, b: Option<T> }", FIELD),
            ("struct S<T> { }", EMPTY),
            ("#[record] struct S<T> { a: T }", ATTRIBUTE),
            ("#[record(rename = x)] struct S<T> { a: T }", ATTRIBUTE),
            ("#[record(crate = (x))] struct S<T> { a: T }", ATTRIBUTE),
        ];
        for (text, why) in cases {
            assert_eq!(record(&lex(text)), Err(why), "{text}");
        }
    }
}
