//! Whether runs that should differ are one run in disguise: at which step their bits part, if they ever do.
//! Does not look at averages.

use super::run::Run;

/// Where two runs part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The first step whose loss or gradient norm has other bits.
    Step(u64),
    /// After the last step that both have: every step is the same, what they end with is not.
    End,
    /// Nowhere.
    Never,
}

/// What two runs have in common, in bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Steps that both have metrics of.
    pub steps: u64,
    /// Where they part.
    pub parting: Parting,
    /// What they share at the end, in words; of runs of the same length that have finished.
    pub ends: Vec<&'static str>,
}

impl Shared {
    /// Compares two runs bit by bit.
    pub fn between(a: &Run, b: &Run) -> Shared {
        let (one, other) = (&a.history.train, &b.history.train);
        let steps = one.len().min(other.len());
        let bits = |run: &Run, at: usize| {
            let point = &run.history.train[at];
            (point.step, point.loss.to_bits(), point.grad_norm.to_bits())
        };
        let apart = (0..steps).find(|&at| bits(a, at) != bits(b, at));
        let finished = a.bpb().is_some() && b.bpb().is_some() && a.record.steps == b.record.steps;
        let (first, second) = (&a.record, &b.record);
        let loss = |run: &Run| run.record.result.as_ref().map(|result| result.val_loss_bits.clone());
        let same = [
            ("the final loss bits", loss(a) == loss(b)),
            ("the parameter hash", first.parameter_hash.is_some() && first.parameter_hash == second.parameter_hash),
            ("the trajectory hash", first.trajectory_hash.is_some() && first.trajectory_hash == second.trajectory_hash),
        ];
        let ends = same.into_iter().filter(|(_, same)| finished && *same).map(|(what, _)| what).collect();
        let parting = match apart {
            Some(at) => Parting::Step(one[at].step.min(other[at].step)),
            None if differs_later(a, b, finished) => Parting::End,
            None => Parting::Never,
        };
        Shared { steps: steps as u64, parting, ends }
    }

    /// Whether one of the two says nothing that the other does not.
    pub fn is_one_run(&self) -> bool {
        self.steps > 0 && self.parting == Parting::Never || !self.ends.is_empty()
    }

    /// Whether they go the same way for longer than the first step, whose loss is of the untrained network, and the first
    /// update, which many rules share.
    pub fn begins_alike(&self) -> bool {
        match self.parting {
            Parting::Step(step) => step > 2,
            Parting::End | Parting::Never => self.steps > 0,
        }
    }

    /// In words, as what follows "they".
    pub fn words(&self) -> String {
        let ends = match self.ends.as_slice() {
            [] => String::new(),
            ends => format!("; they end with the same {}", ends.join(", ").replace("the ", "")),
        };
        match self.parting {
            Parting::Never => {
                format!("never separate: every loss and gradient norm of {} steps has the same bits{ends}", self.steps)
            }
            Parting::End => format!("share the loss bits of all {} steps and separate after them{ends}", self.steps),
            Parting::Step(1) => format!("separate at step 1{ends}"),
            Parting::Step(step) => {
                let steps = if step == 2 { "step 1".into() } else { format!("steps 1 to {}", step - 1) };
                format!("share the loss bits of {steps} and separate at step {step}{ends}")
            }
        }
    }
}

/// Whether what is known beyond the common steps is different: the parameters at a step that both have, or the result.
fn differs_later(a: &Run, b: &Run, finished: bool) -> bool {
    let loss = |run: &Run| run.record.result.as_ref().map(|result| result.val_loss_bits.clone());
    let hash = |run: &Run, step: u64| {
        let known = run.history.hashes.iter().rev().find(|point| point.step == step);
        known.map(|point| point.parameter_hash.clone())
    };
    let steps = a.history.hashes.iter().map(|point| point.step);
    let parameters = steps.into_iter().any(|step| hash(b, step).is_some_and(|other| Some(other) != hash(a, step)));
    parameters || finished && (loss(a) != loss(b) || a.record.parameter_hash != b.record.parameter_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_two_runs() {
        let all = vec!["the final loss bits", "the parameter hash"];
        for (parting, ends, one_run, alike, words) in [
            (
                Parting::Never,
                all.clone(),
                true,
                true,
                "never separate: every loss and gradient norm of 9 steps has the same \
             bits; they end with the same final loss bits, parameter hash",
            ),
            (
                Parting::Never,
                vec![],
                true,
                true,
                "never separate: every loss and gradient norm of 9 steps has the same bits",
            ),
            (Parting::End, vec![], false, true, "share the loss bits of all 9 steps and separate after them"),
            (Parting::Step(1), vec![], false, false, "separate at step 1"),
            (Parting::Step(2), vec![], false, false, "share the loss bits of step 1 and separate at step 2"),
            (Parting::Step(7), vec![], false, true, "share the loss bits of steps 1 to 6 and separate at step 7"),
            (
                Parting::Step(7),
                all[1..].to_vec(),
                true,
                true,
                "share the loss bits of steps 1 to 6 and separate at step 7; \
             they end with the same parameter hash",
            ),
        ] {
            let shared = Shared { steps: 9, parting, ends };
            assert_eq!((shared.is_one_run(), shared.begins_alike()), (one_run, alike), "{words}");
            assert_eq!(shared.words(), words);
        }
        let nothing = Shared { steps: 0, parting: Parting::Never, ends: vec![] };
        assert!(!nothing.is_one_run() && !nothing.begins_alike(), "of nothing nothing is said");
    }
}
