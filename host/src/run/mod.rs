//! Room of `run`.
