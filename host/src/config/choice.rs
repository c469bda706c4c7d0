//! Settings that are one of a few words.
//! Does not say what the words do; that is `settings.rs`.

use super::settings::{Device, Format, GrownState, LrScheduleKind, NonFinite, OnError, StateFormat, Tokens};

/// A setting that is one of a few words.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every value, in the order of help texts.
    const ALL: &'static [Self];

    /// As written in configurations.
    fn name(self) -> &'static str;

    /// From its word. Words are checked against the knob table first, so an unknown one is a bug.
    fn named(word: &str) -> Self {
        match Self::ALL.iter().find(|choice| choice.name() == word) {
            Some(choice) => *choice,
            None => unreachable!("`{word}` was checked against the knob's words"),
        }
    }
}

macro_rules! choice {
    ($type:ident, $words:ident: $($variant:ident = $word:literal),+) => {
        #[doc = concat!("The words of [`", stringify!($type), "`].")]
        pub const $words: &[&str] = &[$($word),+];

        impl Choice for $type {
            const ALL: &'static [Self] = &[$($type::$variant),+];

            fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $word),+
                }
            }
        }
    };
}

choice!(Device, DEVICES: Auto = "auto", Cpu = "cpu", Cuda = "cuda");
choice!(Format, FORMATS: F32 = "f32", Bf16 = "bf16", F64 = "f64");
choice!(StateFormat, STATE_FORMATS: F32 = "f32", Bf16 = "bf16");
choice!(Tokens, TOKENS: Chars = "chars", Bytes = "bytes");
choice!(GrownState, GROWN_STATES: Carry = "carry", Reset = "reset");
choice!(NonFinite, NON_FINITE: Skip = "skip", Stop = "stop");
choice!(OnError, ON_ERROR: Stop = "stop", Skip = "skip");
choice!(LrScheduleKind, LR_SCHEDULES: Cosine = "cosine", Linear = "linear", Constant = "constant", Wsd = "wsd");
