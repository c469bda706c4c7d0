//! The checks a plugin must pass, callable from its own tests and by the host: feature `conformance`.
//! Knows neither libtorch nor processes: `host plugin check` runs the same checks in child processes of their own, on
//! the runtime that trains, and adds level 7, twins, which needs the other labels.
//!
//! In a plugin's `Cargo.toml`, `[dev-dependencies] sdk = { …, features = ["conformance"] }`; at the end of its `lib.rs`:
//!
//! ```ignore
//! #[cfg(test)]
//! sdk::conformance! {}
//! ```
//!
//! | level | holds |
//! |---|---|
//! | 1 | the protocol: schema, words, slots |
//! | 2 | no step without a rate or a gradient; extreme gradients; element types stay |
//! | 3 | the same bits for any repeat, chunk, instruction set, number of threads, save and load; nothing else is written |
//! | 4 | what is declared: hyper-parameters have an effect; degrees, mixed slots and bytes of the state; properties |
//! | 5 | the common problems are brought down |
//! | 6 | kernels have the bits of the recorded expression, and cards those of the CPU |
//! | 7 | no label is secretly another one (by the host alone) |

pub mod exception;
pub mod verdict;

pub mod numbers;
pub mod problems;
pub mod settings;
pub mod subject;
pub mod trajectory;

mod bits;
mod convergence;
mod declared;
mod expression;
mod own_elements;
pub mod properties;
mod protocol;
mod safety;

mod interpreted;
mod kernels;
mod plugin_test;

pub use exception::{EXCEPTIONS, LR_DOUBLED, SCHEDULE_CHANGED, exception};
pub use kernels::Kernels;
pub use plugin_test::{assert_all, check};
pub use protocol::shape_of;
pub use subject::{Run, Snapshot, Start, Subject, Way, formats};
pub use trajectory::Trajectory;
pub use verdict::{Finding, Outcome, Trouble, Verdict};

/// A check: its level, its name, and what runs it.
pub struct Check {
    /// 1 to 6.
    pub level: u8,
    /// Its name, as shown.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&dyn Subject) -> Result<Outcome, Trouble>,
}

const fn check_of(level: u8, name: &'static str, run: fn(&dyn Subject) -> Result<Outcome, Trouble>) -> Check {
    Check { level, name, run }
}

/// All checks of levels 1 to 6.
pub const CHECKS: [Check; 22] = [
    check_of(1, "schema", protocol::schema),
    check_of(1, "words", protocol::words),
    check_of(1, "slots", protocol::slots),
    check_of(2, "lr = 0", safety::no_rate),
    check_of(2, "zero gradient", safety::no_gradient),
    check_of(2, "extreme gradients", safety::extremes),
    check_of(2, "non-finite gradients", safety::non_finite),
    check_of(2, "element types", safety::form),
    check_of(3, "repeats", bits::repeats),
    check_of(3, "chunk sizes", bits::chunks),
    check_of(3, "instruction sets", bits::instruction_sets),
    check_of(3, "threads", bits::threads),
    check_of(3, "save and load", bits::save_and_load),
    check_of(3, "stays inside", bits::stays_inside),
    check_of(4, "hyper-parameters", declared::effects),
    check_of(4, "degrees", declared::degrees),
    check_of(4, "own elements", own_elements::own_elements),
    check_of(4, "state bytes", declared::state_bytes),
    check_of(4, "properties", properties::properties),
    check_of(5, "problems", convergence::problems),
    check_of(6, "expression", expression::kernel),
    check_of(6, "cuda", expression::cuda),
];

/// The last level that a host can run: twins.
pub const LEVELS: u8 = 7;

/// Runs one check. What the plugin refuses to do is a failure, a panic a crash.
pub fn run(check: &Check, subject: &dyn Subject) -> Finding {
    let outcome = (check.run)(subject).unwrap_or_else(|trouble| broken(&trouble));
    let outcome = excepted(check, subject, outcome);
    let label = subject.descriptor().label.to_string();
    Finding { label, level: check.level, check: check.name.to_string(), outcome }
}

/// What a declared exception makes of a failure. Crashes have no exception.
fn excepted(check: &Check, subject: &dyn Subject, outcome: Outcome) -> Outcome {
    let Some(reason) = exception(subject.descriptor(), check.name) else { return outcome };
    match outcome.verdict {
        Verdict::Failed => Outcome::passed(format!("excepted by the plugin: {reason}")),
        Verdict::Crashed => outcome,
        _ => Outcome::warning(format!("the plugin declares an exception that it does not need: {reason}")),
    }
}

/// What trouble says of a check.
pub fn broken(trouble: &Trouble) -> Outcome {
    let outcome = Outcome::failed(trouble.text.replace('\n', "; "));
    Outcome { verdict: if trouble.panicked { Verdict::Crashed } else { Verdict::Failed }, ..outcome }
}

/// A test that every label of the crate passes levels 1 to 6.
#[macro_export]
macro_rules! conformance {
    () => {
        mod conformance {
            #[test]
            fn every_label_passes() {
                $crate::conformance::assert_all();
            }
        }
    };
}
