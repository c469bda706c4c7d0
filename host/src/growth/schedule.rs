//! Which operation is next, and where the schedule stands: first in, first out.
//! Changes no network.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use sdk::abi::{Network, NetworkPlan};

use super::{HyperOp, LiveHyper, Operation, hyper_ops::Takes, planned_network, trigger::Trigger};
use crate::{
    config::{
        Settings,
        settings::{OnError, OperationSettings},
    },
    fault::{Exit, Fault, Faults, nearest},
    registry::{Catalogue, Kind, Registry, hyper::plain},
};

/// The operations of a run, and how far it has come with them.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: Vec<Arc<Entry>>,
    position: Position,
}

/// One operation of the schedule.
#[derive(Debug)]
pub struct Entry {
    /// What it does.
    pub action: Action,
    /// What it waits for.
    pub trigger: Trigger,
    /// Whether the network is evaluated after it.
    pub reevaluate: bool,
    /// What becomes of the run where it fails.
    pub on_error: OnError,
    /// Free text for the event log.
    pub note: Option<String>,
    /// Where it was written.
    pub place: String,
}

/// What an operation does.
#[derive(Debug)]
pub enum Action {
    /// Changes a hyper-parameter, by the host.
    Hyper(&'static HyperOp, f64),
    /// Changes the network, by a plugin's plan.
    Network(Operation),
}

impl Entry {
    /// Its name.
    pub fn name(&self) -> &str {
        match &self.action {
            Action::Hyper(op, _) => op.name,
            Action::Network(operation) => operation.name(),
        }
    }

    /// The network and the hyper-parameters after it, with `step` steps done.
    fn leads_to(
        &self,
        network: &Network,
        live: &LiveHyper,
        step: u64,
        settings: &Settings,
        fits: &Fits<'_>,
    ) -> Result<(Network, LiveHyper), Fault> {
        match &self.action {
            Action::Hyper(op, value) => {
                let has_adapters = network.parameters.iter().any(|one| one.role == "adapter");
                let next = op.apply(live, *value, step, settings, has_adapters);
                let live = next.map_err(|text| Fault::new("C072", Exit::Config, text))?;
                let mut network = network.clone();
                for fact in network.facts.iter_mut().filter(|fact| fact.0 == "lora_alpha") {
                    fact.1 = live.lora_alpha;
                }
                Ok((network, live))
            }
            Action::Network(operation) => {
                let plan = operation.plan(network)?;
                let network = planned_network(network, &plan)?;
                fits(&plan, &network).map_err(Faults::into_one)?;
                let lora_alpha = network.fact("lora_alpha").unwrap_or(live.lora_alpha);
                Ok((network, LiveHyper { lora_alpha, ..live.clone() }))
            }
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Hyper(op, _) if op.takes == Takes::Nothing => f.write_str(op.name),
            Action::Hyper(op, value) => write!(f, "{} {}", op.name, plain(*value)),
            Action::Network(operation) => write!(f, "{operation}"),
        }
    }
}

/// Whether everything else of a run fits the network that a plan leads to.
pub type Fits<'a> = dyn Fn(&NetworkPlan, &Network) -> Result<(), Faults> + 'a;

/// What an operation that is still to come leads to.
#[derive(Debug)]
pub struct Planned {
    /// The network after it.
    pub network: Network,
    /// The hyper-parameters after it.
    pub live: LiveHyper,
    /// Why it will be skipped, where it will.
    pub skipped: Option<String>,
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

/// Whether a schedule has an operation on the network, which may make parameters of other roles.
pub fn changes_network(settings: &Settings) -> bool {
    settings.schedule.iter().any(|one| HyperOp::named(&one.name).is_none())
}

/// Operations that neither the host nor the registry has, and labels of the registry that hide behind one of the host.
pub fn unknown(settings: &[OperationSettings], registry: &Registry, place: &dyn Fn(&str) -> String) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut known: Vec<&str> = super::HYPER_OPS.iter().map(|op| op.name).collect();
    for label in known.iter().filter(|name| registry.entry(Kind::ArchOp, name).is_some()) {
        let text = format!("arch-op `{label}` of the registry has the name of an operation of the host");
        let fault = Fault::new("R041", Exit::Registry, text).at(registry.path.display().to_string());
        faults.push(fault.hint("give it another label"));
    }
    known.extend(registry.labels(Kind::ArchOp));
    known.sort_unstable();
    for (index, one) in settings.iter().enumerate() {
        let name = one.name.as_str();
        if name.is_empty() || HyperOp::named(name).is_some() || registry.entry(Kind::ArchOp, name).is_some() {
            continue;
        }
        let text = format!("operation `{name}` is neither the host's nor an arch-op label of the registry");
        let fault = Fault::new("R001", Exit::Registry, text)
            .at(place(&format!("schedule.{index}.name")))
            .note("registry", registry.path.display().to_string())
            .note("known", known.join(", "));
        faults.push(match nearest(name, known.iter().copied()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("`host --list-arch-ops` lists those of the registry"),
        });
    }
    faults
}

impl Schedule {
    /// The operations as written. `place` says where a key such as `schedule.0.name` was written.
    ///
    /// # Errors
    /// R001, C070, C071 and C072: all that can be known without a network, together.
    pub fn plan(
        settings: &Settings,
        catalogue: &Catalogue,
        place: &dyn Fn(&str) -> String,
    ) -> Result<Schedule, Faults> {
        let mut faults = Faults::none();
        let places: Vec<String> = (0..settings.schedule.len()).map(|i| place(&format!("schedule.{i}.name"))).collect();
        let waits = settings.schedule.iter().map(|one| one.max_wait_steps.unwrap_or(0));
        faults.0.extend(beyond(waits.zip(&places), settings.train.steps));
        let mut entries = Vec::new();
        for (index, (one, written)) in settings.schedule.iter().zip(places).enumerate() {
            let action = match HyperOp::named(&one.name) {
                Some(op) => hyper(op, one, &|field| place(&format!("schedule.{index}.{field}")), &written),
                None => Operation::new(one, catalogue, &written).map(Action::Network),
            };
            let trigger = Trigger { loss: one.trigger_loss, wait: one.max_wait_steps };
            if let Some(action) = faults.take(action) {
                let (reevaluate, on_error, note) = (one.reevaluate, one.on_error, one.note.clone());
                entries.push(Arc::new(Entry { action, trigger, reevaluate, on_error, note, place: written }));
            }
        }
        faults.check()?;
        Ok(Schedule { entries, position: Position::default() })
    }

    /// What every operation that is still to come leads to, from this network and these hyper-parameters on; carries
    /// out none, so that one which cannot be done is found before training begins.
    ///
    /// # Errors
    /// C070 where no evaluation can trigger an operation. C072 where a hyper-parameter cannot be changed so, P002, P030
    /// and P031 where a network cannot, and what does not fit it, unless the entry says `on_error = "skip"`.
    pub fn rehearse(
        &self,
        network: &Network,
        live: &LiveHyper,
        settings: &Settings,
        fits: &Fits<'_>,
    ) -> Result<Vec<Planned>, Faults> {
        let (mut network, mut live) = (network.clone(), live.clone());
        let mut planned = Vec::new();
        let mut evaluated = false;
        for entry in &self.entries[self.position.done..] {
            if entry.trigger.loss.is_some() && !evaluated && !is_evaluated(live.eval_every, settings.train.steps) {
                let text = "trigger_loss is looked at after evaluations, and there is none before the last step";
                let fault = Fault::new("C070", Exit::Config, text).at(&entry.place);
                let fault = fault.note("train.eval_every", live.eval_every.to_string());
                return Err(fault.hint("lower train.eval_every, or let the operation wait for steps alone").into());
            }
            let mut skipped = None;
            match entry.leads_to(&network, &live, self.position.last_step, settings, fits) {
                Ok(next) => (network, live) = next,
                Err(fault) if entry.on_error == OnError::Skip => skipped = Some(reason(&fault)),
                Err(fault) => return Err(fault.at(&entry.place).into()),
            }
            evaluated = entry.reevaluate && skipped.is_none();
            planned.push(Planned { network: network.clone(), live: live.clone(), skipped });
        }
        Ok(planned)
    }

    /// The operation that fires now that `step` steps are done, if one does. `val_loss` is that of the evaluation at
    /// this step, where there was one. Asked before each step.
    pub fn due(&self, step: u64, val_loss: Option<f64>) -> Option<Arc<Entry>> {
        let entry = self.entries.get(self.position.done)?;
        entry.trigger.fires(step.saturating_sub(self.position.last_step), val_loss).then(|| entry.clone())
    }

    /// The due operation fired, or was skipped, with `step` steps done.
    pub fn fired(&mut self, step: u64) {
        self.position = Position { done: self.position.done + 1, last_step: step };
    }

    /// How far it has come.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The operations that are still to come.
    pub fn left(&self) -> &[Arc<Entry>] {
        &self.entries[self.position.done..]
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
}

/// Why something failed, in one line: the fault, and what the plugin said.
pub fn reason(fault: &Fault) -> String {
    let plugin = fault.notes.iter().filter(|(name, _)| *name == "plugin").map(|(_, text)| format!(": {text}"));
    fault.message.clone() + &plugin.collect::<String>()
}

/// A line per operation that holds all that decides numbers; compared when a run goes on.
pub fn lines(settings: &[OperationSettings]) -> Vec<String> {
    let line = |one: &OperationSettings| {
        let number = |value: Option<f64>| value.map_or("-".to_string(), plain);
        let wait = one.max_wait_steps.map_or("-".to_string(), |wait| wait.to_string());
        let hyper: String = one.hyper.iter().map(|(name, value)| format!(" {name}={value:?}")).collect();
        let (value, loss) = (number(one.value), number(one.trigger_loss));
        format!(
            "{} value={value} trigger_loss={loss} max_wait_steps={wait} reevaluate={} on_error={:?}{hyper}",
            one.name, one.reevaluate, one.on_error
        )
    };
    settings.iter().map(line).collect()
}

fn hyper(
    op: &'static HyperOp,
    one: &OperationSettings,
    place: &dyn Fn(&str) -> String,
    written: &str,
) -> Result<Action, Faults> {
    let mut faults = Faults::none();
    for name in one.hyper.keys() {
        let text = format!("`{}` takes no `{name}`", op.name);
        let fault = Fault::new("C072", Exit::Config, text).at(place(name));
        let fields = ["name", "value", "trigger_loss", "max_wait_steps", "reevaluate", "on_error", "note"];
        faults.push(match nearest(name, fields) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint(format!("an operation of the host has {}", fields.join(", "))),
        });
    }
    let read = op.value(one.value).map_err(|text| {
        let at = if one.value.is_some() { place("value") } else { written.to_string() };
        Fault::new("C072", Exit::Config, text).at(at).note("expected", op.expected())
    });
    let value = faults.take(read);
    faults.check()?;
    Ok(Action::Hyper(op, value.unwrap_or_default()))
}

/// Whether a run is evaluated before its last step.
fn is_evaluated(every: u64, steps: u64) -> bool {
    every > 0 && every < steps
}

/// The first operation that would fire when the run is over, were no loss to trigger any.
fn beyond<'a>(waits: impl Iterator<Item = (u64, &'a String)>, steps: u64) -> Option<Fault> {
    let mut total = 0_u64;
    for (wait, place) in waits {
        total = total.saturating_add(wait);
        if total >= steps {
            let text = format!("the operation would fire after step {total}, but the run ends with step {steps}");
            let fault = Fault::new("C070", Exit::Config, text).at(place);
            return Some(fault.hint("waits add up, from the first operation on"));
        }
    }
    None
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
        let table: [(&[u64], u64, Option<&str>); 7] = [
            (&[], 1, None),
            (&[0, 0], 1, None),
            (&[1], 2, None),
            (&[3, 4, 2], 10, None),
            (&[10], 10, Some("after step 10, but the run ends with step 10")),
            (&[3, 7, 1], 10, Some("after step 10")),
            (&[0, u64::MAX, 5], 10, Some("but the run ends")),
        ];
        for (given, steps, expected) in table {
            let place = String::from("schedule[0]");
            let found = beyond(given.iter().map(|&wait| (wait, &place)), steps);
            assert_eq!(found.is_some(), expected.is_some(), "{given:?}: {found:?}");
            assert!(found.is_none_or(|fault| fault.message.contains(expected.unwrap_or_default())), "{given:?}");
        }
    }

    fn schedule(triggers: &[(Option<f64>, Option<u64>)]) -> Schedule {
        let op = HyperOp::named("change_lr").unwrap();
        let entry = |&(loss, wait): &(Option<f64>, Option<u64>)| Entry {
            action: Action::Hyper(op, 1.0),
            trigger: Trigger { loss, wait },
            reevaluate: false,
            on_error: OnError::Stop,
            note: None,
            place: String::new(),
        };
        Schedule { entries: triggers.iter().map(|one| Arc::new(entry(one))).collect(), position: Position::default() }
    }

    /// Evaluations by step, and when each operation fires, wherever the run is interrupted.
    #[test]
    fn operations_fire_one_after_the_other() {
        let table: [(&[(Option<f64>, Option<u64>)], &[(u64, f64)], &[u64]); 5] = [
            (&[(None, Some(3)), (None, Some(4)), (None, Some(1))], &[], &[3, 7, 8]),
            (&[(None, Some(0)), (None, Some(0))], &[], &[0, 0]),
            (&[(Some(2.0), Some(6)), (None, Some(2))], &[(4, 1.0)], &[4, 6]),
            (&[(Some(2.0), Some(6)), (Some(1.5), Some(2))], &[(4, 1.0), (8, 9.0)], &[4, 4]),
            (&[(Some(2.0), None), (None, Some(1))], &[(4, 3.0), (8, 1.0)], &[8, 9]),
        ];
        for (triggers, evaluations, expected) in table {
            for interrupted in 0..10 {
                let (mut schedule, mut fired) = (schedule(triggers), Vec::new());
                for step in 0..10 {
                    if step == interrupted {
                        let saved = serde_json::to_string(&schedule.position()).unwrap();
                        schedule.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
                    }
                    let val_loss = evaluations.iter().find(|(at, _)| *at == step).map(|(_, loss)| *loss);
                    while schedule.due(step, val_loss).is_some() {
                        fired.push(step);
                        schedule.fired(step);
                    }
                }
                assert_eq!(fired, expected, "{triggers:?}");
            }
        }
    }

    #[test]
    fn positions_fit_or_not() {
        for (done, last_step, expected) in [(0, 0, true), (1, 3, true), (2, 5, true), (3, 5, false), (0, 1, false)] {
            assert_eq!(fits(Position { done, last_step }, 2).is_ok(), expected, "{done} {last_step}");
        }
        let mut empty = Schedule::default();
        assert!(empty.restore(&Position { done: 1, last_step: 4 }).is_err());
        assert!(empty.restore(&Position::default()).is_ok() && empty.due(1000, None).is_none());
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
