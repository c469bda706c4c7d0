//! Room of `optim`.
