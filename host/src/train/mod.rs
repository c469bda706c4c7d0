//! Room of `train`.
