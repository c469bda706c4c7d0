//! The only room where libtorch and the plugin boundary meet.
//! Decides nothing about training: it stores, offers and runs tensors for the rooms that do.

pub mod bytes;
