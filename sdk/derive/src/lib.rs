//! `#[derive(Record)]`: a struct whose fields all have the type of its one parameter, with the fields known by name.
//! Knows nothing of optimizers; writes one impl, no control flow. Documented where it is used: `sdk::Record`.

mod expand;
mod parse;
mod token;

use proc_macro::{Span, TokenStream, TokenTree};

/// Implements `sdk::Record<T>`, `Copy` and `Clone`. In a crate that depends on the sdk under another name, say which:
/// `#[record(crate = my_name)]`.
#[proc_macro_derive(Record, attributes(record))]
pub fn record(input: TokenStream) -> TokenStream {
    let text = match parse::record(&token::read(input)) {
        Ok(record) => expand::record(&record),
        Err(why) => format!("::core::compile_error!({why:?});"),
    };
    // Lexing text of our own making cannot fail on a user's input: names were tokens before.
    let tokens: TokenStream = text.parse().expect("generated code is made of tokens");
    tokens.into_iter().map(at_call_site).collect()
}

/// Errors in generated code point at the derive, not into nowhere.
fn at_call_site(mut token: TokenTree) -> TokenTree {
    token.set_span(Span::call_site());
    token
}
