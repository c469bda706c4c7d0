//! When each operation fires: first in, first out, each so many steps after the one before it.
//! Changes no network.

use serde::{Deserialize, Serialize};

use sdk::abi::Network;

use super::{Operation, apply};
use crate::{
    config::settings::OperationSettings,
    fault::{Exit, Fault, Faults},
    registry::Catalogue,
};

/// The operations of a run.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: Vec<(u64, Operation)>,
}

/// How far a schedule has come; part of every checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Operations done.
    pub done: usize,
    /// Steps that were done when the last of them fired; 0 before the first.
    pub last_step: u64,
}

impl Schedule {
    /// The operations as written, for a run of `steps` steps that begins with `network`. Each is planned on what those
    /// before it leave, so that one which cannot be done is found now.
    ///
    /// # Errors
    /// All faults of the module's list that can be known at the start, together.
    pub fn plan(
        settings: &[OperationSettings],
        catalogue: &Catalogue,
        steps: u64,
        network: &Network,
    ) -> Result<Schedule, Faults> {
        let mut faults = Faults::none();
        let places: Vec<String> = (0..settings.len())
            .map(|index| format!("schedule[{index}]  name = \"{}\"", settings[index].name))
            .collect();
        faults.0.extend(waits(settings.iter().map(|one| one.max_wait_steps).zip(&places), steps));
        let mut entries = Vec::new();
        for (one, place) in settings.iter().zip(&places) {
            if let Some(operation) = faults.take(Operation::new(one, catalogue, place)) {
                entries.push((one.max_wait_steps, operation));
            }
        }
        faults.check()?;
        let mut network = network.clone();
        for ((_, operation), place) in entries.iter().zip(&places) {
            let planned = operation.plan(&network).and_then(|plan| apply::planned_network(&network, &plan));
            network = planned.map_err(|fault| fault.at(place))?;
        }
        Ok(Schedule { entries })
    }

    /// The operation that fires now that `step` steps are done, if one does. Asked before each step.
    pub fn due(&self, position: Position, step: u64) -> Option<&Operation> {
        let (wait, operation) = self.entries.get(position.done)?;
        (step.saturating_sub(position.last_step) >= *wait).then_some(operation)
    }

    /// Operations in the order in which they fire.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.entries.iter().map(|(_, operation)| operation)
    }

    /// Whether a saved position can belong to this schedule, of which `step` steps are done.
    ///
    /// # Errors
    /// D070 where it counts operations that are not there, or steps that were not done.
    pub fn check(&self, position: Position, step: u64) -> Result<(), Fault> {
        fits(position, self.entries.len(), step)
    }
}

impl Position {
    /// After the due operation fired with `step` steps done.
    pub fn fired(self, step: u64) -> Position {
        Position { done: self.done + 1, last_step: step }
    }
}

/// Every wait that is 0, and the first operation that would fire when the run is over.
fn waits<'a>(waits: impl Iterator<Item = (u64, &'a String)>, steps: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (mut total, mut beyond) = (0_u64, false);
    for (wait, place) in waits {
        if wait == 0 {
            let fault =
                Fault::new("C070", Exit::Config, "max_wait_steps = 0: an operation waits for at least one step");
            faults.push(fault.at(place));
        }
        total = total.saturating_add(wait);
        if total >= steps && !beyond {
            beyond = true;
            let text = format!("the operation would fire after step {total}, but the run ends with step {steps}");
            faults.push(
                Fault::new("C070", Exit::Config, text).at(place).hint("waits add up, from the first operation on"),
            );
        }
    }
    faults
}

fn fits(position: Position, operations: usize, step: u64) -> Result<(), Fault> {
    let Position { done, last_step } = position;
    if done <= operations && last_step <= step && (done > 0 || last_step == 0) {
        return Ok(());
    }
    let text = format!("{done} operations, the last after step {last_step}, do not fit the schedule");
    Err(Fault::new("D070", Exit::Data, text).note("schedule", format!("{operations} operations, {step} steps done")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up_and_end_before_the_run_does() {
        let table: [(&[u64], u64, &[&str]); 7] = [
            (&[], 0, &[]),
            (&[1], 2, &[]),
            (&[3, 4, 2], 10, &[]),
            (&[10], 10, &["after step 10, but the run ends with step 10"]),
            (&[3, 7, 1], 10, &["after step 10"]),
            (&[0, 5], 10, &["max_wait_steps = 0"]),
            (&[0, u64::MAX, 5], 10, &["max_wait_steps = 0", "but the run ends"]),
        ];
        for (given, steps, expected) in table {
            let place = String::from("schedule[0]");
            let found = waits(given.iter().map(|&wait| (wait, &place)), steps);
            assert_eq!(found.len(), expected.len(), "{given:?}: {found:?}");
            for (fault, part) in found.iter().zip(expected) {
                assert!(fault.message.contains(part) && fault.place.is_some(), "{fault}");
            }
        }
    }

    #[test]
    fn positions_fit_or_not() {
        let table =
            [(0, 0, 5, true), (1, 3, 5, true), (2, 5, 5, true), (3, 5, 5, false), (1, 6, 5, false), (0, 1, 5, false)];
        for (done, last_step, step, expected) in table {
            assert_eq!(fits(Position { done, last_step }, 2, step).is_ok(), expected, "{done} {last_step}");
        }
    }

    #[test]
    fn a_position_is_read_back_as_written() {
        let position = Position::default().fired(7);
        let text = serde_json::to_string(&position).unwrap();
        assert_eq!(text, r#"{"done":1,"last_step":7}"#);
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), position);
        assert!(serde_json::from_str::<Position>(r#"{"done":1,"last_step":7,"more":0}"#).is_err());
    }
}
