//! `host preflight`: the gate before a fleet. Does every label train what it names, and does every knob do something?
//! Trains nothing itself: every run is a child process that gets seed and label as the fleet sends them.
//!
//! | check | holds where |
//! |---|---|
//! | 1 seeds | four seeds of the default optimizer end at four parameter hashes, and at least 0.005 BPB apart |
//! | 2 optimizers | every label learns; every pair ends at other parameters and another loss, some pair 0.001 BPB apart |
//! | 3 fake label | a label that the registry does not have is refused, and nothing is written |
//! | 4 repeat | the same seed and label end at the same hashes |
//! | 5 knobs | another learning rate and another schedule end at other parameters, for every label |
//!
//! Pairs of labels that are knowingly one rule are no pairs of 2. A label whose rate is its own declares it:
//! `except = ["lr doubled: …", "schedule changed: …"]`.
//!
//! Reading order: [`Order`] is what is asked for; [`plan()`] refuses all that can be refused, and makes the list of runs;
//! [`pass`] starts them and puts what they left before the [`checks`]; [`GateRecord`] is what is kept.

mod faults;
mod order;

mod sending;
mod shape;

mod ask;
mod plan;

mod child;
mod gate;
mod outcome;
mod start;

pub mod checks;
mod gate_record;

pub use child::TIME_LIMIT;
pub use gate::{Talk, pass};
pub use gate_record::{GateRecord, stems_under, try_folder};
pub use order::{Order, Program, Via};
pub use outcome::{FakeRow, Measured, RunRow};
pub use plan::{Plan, plan};
pub use start::{Start, VERB as START_VERB};
