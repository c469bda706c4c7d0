//! Numbers of a run over time: written for machines, drawn for people.
//! Does not compute them, and writes only through the handles of `run`.

pub mod digits;
