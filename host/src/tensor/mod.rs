//! Room of `tensor`.
