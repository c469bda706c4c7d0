//! Room of `checkpoint`.
