//! Room of `projection`.
