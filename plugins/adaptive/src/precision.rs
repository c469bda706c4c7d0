//! f32's precision in lanes of any, for rules whose reference keeps a number in f32 whatever the parameter is.

use sdk::*;

/// Rounded to f32's 24 bits (Veltkamp's splitting).
pub fn in_f32<L: Lane>(x: Scalar<L>) -> Scalar<L> {
    let wide = x * 536_870_913.0;
    wide - (wide - x)
}
