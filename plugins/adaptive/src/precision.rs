//! f32's precision in lanes of any, for rules whose reference keeps a number in f32 whatever the parameter is.

use sdk::*;

/// Rounded to f32's 24 bits (Veltkamp's splitting); in f32 lanes nothing changes.
pub fn in_f32<L: Lane>(x: L) -> L {
    // What is lost in f32 tells the lanes apart.
    let is_f64 = ((L::from(1.0) + 2f64.powi(-30)) - 1.0).gt(0.0);
    let wide = x * is_f64.select(536_870_913.0, 1.0);
    wide - (wide - x)
}
