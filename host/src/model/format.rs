//! The element type behind a format.
//! Converts no tensor.

use tch::Kind;

use crate::config::settings::Format;

/// libtorch's name of the format.
pub fn kind(format: Format) -> Kind {
    match format {
        Format::F32 => Kind::Float,
        Format::Bf16 => Kind::BFloat16,
        Format::F64 => Kind::Double,
    }
}
