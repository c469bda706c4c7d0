//! When each operation fires: first in, first out, each so many steps after the one before it.
//! Changes no network.

use serde::{Deserialize, Serialize};

use sdk::abi::Network;

use super::{Operation, planned_network};
use crate::{
    config::settings::OperationSettings,
    fault::{Exit, Fault, Faults},
    registry::Catalogue,
};

/// The operations of a run, and how far it has come with them.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: Vec<Entry>,
    position: Position,
}

#[derive(Debug)]
struct Entry {
    wait: u64,
    operation: Operation,
    place: String,
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
    /// The operations as written, for a run of `steps` steps.
    ///
    /// # Errors
    /// R001, C070 and C071: all that can be known without a network, together.
    pub fn plan(settings: &[OperationSettings], catalogue: &Catalogue, steps: u64) -> Result<Schedule, Faults> {
        let mut faults = Faults::none();
        let place = |(index, one): (usize, &OperationSettings)| format!("schedule[{index}]  name = \"{}\"", one.name);
        let places: Vec<String> = settings.iter().enumerate().map(place).collect();
        faults.0.extend(waits(settings.iter().map(|one| one.max_wait_steps).zip(&places), steps));
        let mut entries = Vec::new();
        for (one, place) in settings.iter().zip(places) {
            if let Some(operation) = faults.take(Operation::new(one, catalogue, &place)) {
                entries.push(Entry { wait: one.max_wait_steps, operation, place });
            }
        }
        faults.check()?;
        Ok(Schedule { entries, position: Position::default() })
    }

    /// Plans the operations that are still to come, each on what those before it leave of `network`, and carries out
    /// none: so that one which cannot be done is found before training begins.
    ///
    /// # Errors
    /// P002, P030 and P031 of the first operation that cannot be done.
    pub fn rehearse(&self, network: &Network) -> Result<(), Fault> {
        let mut network = network.clone();
        for Entry { operation, place, .. } in self.entries.iter().skip(self.position.done) {
            let planned = operation.plan(&network).and_then(|plan| planned_network(&network, &plan));
            network = planned.map_err(|fault| fault.at(place))?;
        }
        Ok(())
    }

    /// The operation that fires now that `step` steps are done, if one does. Asked before each step.
    pub fn due(&self, step: u64) -> Option<&Operation> {
        let entry = self.entries.get(self.position.done)?;
        self.position.is_due(entry.wait, step).then_some(&entry.operation)
    }

    /// The due operation fired with `step` steps done.
    pub fn fired(&mut self, step: u64) {
        self.position = self.position.fired(step);
    }

    /// How far it has come.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes on from a saved position.
    ///
    /// # Errors
    /// D070 where it counts operations that are not there.
    pub fn restore(&mut self, position: &Position) -> Result<(), Faults> {
        fits(*position, self.entries.len())?;
        self.position = *position;
        Ok(())
    }

    /// Operations in the order in which they fire, with the steps done when they do.
    pub fn operations(&self) -> impl Iterator<Item = (u64, &Operation)> {
        self.entries.iter().scan(0, |step: &mut u64, entry| {
            *step = step.saturating_add(entry.wait);
            Some((*step, &entry.operation))
        })
    }
}

impl Position {
    /// Whether an operation that waits so long fires now that `step` steps are done.
    fn is_due(self, wait: u64, step: u64) -> bool {
        step.saturating_sub(self.last_step) >= wait
    }

    /// After an operation fired with `step` steps done.
    fn fired(self, step: u64) -> Position {
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

fn fits(position: Position, operations: usize) -> Result<(), Fault> {
    let Position { done, last_step } = position;
    if done <= operations && (done > 0 || last_step == 0) {
        return Ok(());
    }
    let text = format!("{done} operations, the last after step {last_step}, do not fit the schedule");
    Err(Fault::new("D070", Exit::Data, text).note("schedule", format!("{operations} operations")))
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

    /// Each waits from when the one before it fired, wherever the run was interrupted.
    #[test]
    fn operations_fire_one_after_the_other() {
        let waits = [3, 4, 1];
        for interrupted in 0..10 {
            let (mut position, mut fired) = (Position::default(), Vec::new());
            for step in 0..10 {
                if step == interrupted {
                    let saved = serde_json::to_string(&position).unwrap();
                    position = serde_json::from_str(&saved).unwrap();
                }
                while waits.get(position.done).is_some_and(|&wait| position.is_due(wait, step)) {
                    fired.push((position.done, step));
                    position = position.fired(step);
                }
            }
            assert_eq!(fired, [(0, 3), (1, 7), (2, 8)]);
        }
    }

    #[test]
    fn positions_fit_or_not() {
        for (done, last_step, expected) in [(0, 0, true), (1, 3, true), (2, 5, true), (3, 5, false), (0, 1, false)] {
            assert_eq!(fits(Position { done, last_step }, 2).is_ok(), expected, "{done} {last_step}");
        }
        let mut empty = Schedule::default();
        assert!(empty.restore(&Position { done: 1, last_step: 4 }).is_err());
        assert!(empty.restore(&Position::default()).is_ok() && empty.due(1000).is_none());
    }

    #[test]
    fn a_position_is_read_back_as_written() {
        let mut schedule = Schedule::default();
        schedule.fired(7);
        let position = schedule.position();
        let text = serde_json::to_string(&position).unwrap();
        assert_eq!(text, r#"{"done":1,"last_step":7}"#);
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), position);
        assert!(serde_json::from_str::<Position>(r#"{"done":1,"last_step":7,"more":0}"#).is_err());
    }
}
