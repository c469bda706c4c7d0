//! Room of `registry`.
