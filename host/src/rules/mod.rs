//! Room of `rules`.
