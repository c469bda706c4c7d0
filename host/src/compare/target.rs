//! When a run reaches a target: the first evaluation at or below it.
//! Interpolates nothing, so steps are as fine as `train.eval_every`.

use super::{run::Run, statistics::Summary};

/// When one run reached it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    /// Steps done.
    pub step: u64,
    /// Time spent in those steps; evaluations and checkpoints are not in it.
    pub seconds: f64,
}

/// When `run` was first evaluated at `bpb` or below.
pub fn reached(run: &Run, bpb: f64) -> Option<Reached> {
    let step = run.history.val.iter().find(|point| point.bpb <= bpb)?.step;
    let before = run.history.train.iter().filter(|point| point.step <= step);
    Some(Reached { step, seconds: before.map(|point| point.milliseconds).sum::<f64>() / 1e3 })
}

/// When the runs of an arm reached it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reaching {
    /// Runs that did.
    pub reached: usize,
    /// Of so many; those that have not finished are among them.
    pub of: usize,
    /// Steps; none unless all did, for a mean of the fast ones would flatter.
    pub steps: Option<Summary>,
    /// Seconds, likewise.
    pub seconds: Option<Summary>,
}

impl Reaching {
    /// Of one entry per seed.
    pub fn of(all: &[Option<Reached>]) -> Reaching {
        let reached: Vec<Reached> = all.iter().flatten().copied().collect();
        let every = !all.is_empty() && reached.len() == all.len();
        let summary =
            |value: fn(&Reached) -> f64| Summary::of(&reached.iter().map(value).collect::<Vec<_>>()).filter(|_| every);
        Reaching {
            reached: reached.len(),
            of: all.len(),
            steps: summary(|one| one.step as f64),
            seconds: summary(|one| one.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_only_where_all_arrive() {
        let at = |step| Some(Reached { step, seconds: step as f64 / 2.0 });
        let all = Reaching::of(&[at(10), at(20)]);
        assert_eq!((all.reached, all.of), (2, 2));
        assert_eq!(all.steps.unwrap().mean, 15.0);
        assert_eq!(all.seconds.unwrap().mean, 7.5);
        let some = Reaching::of(&[at(10), None]);
        assert_eq!((some.reached, some.of, some.steps, some.seconds), (1, 2, None, None));
        assert_eq!(Reaching::of(&[]).steps, None);
    }
}
