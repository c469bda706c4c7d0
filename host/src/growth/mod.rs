//! Room of `growth`.
