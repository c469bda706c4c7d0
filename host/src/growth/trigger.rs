//! When an operation fires, as a function of steps and evaluations.
//! Keeps nothing; where a schedule stands is `schedule.rs`.

/// What an operation waits for. One of the two is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trigger {
    /// An evaluation below this, in nats per token.
    pub loss: Option<f64>,
    /// So many steps since the operation before it, exactly, whether the run is evaluated then or not.
    pub wait: Option<u64>,
}

impl Trigger {
    /// Whether it fires `since` steps after the operation before it. `val_loss` is that of the evaluation at this very
    /// step, where there was one: an older one fires nothing.
    pub fn fires(self, since: u64, val_loss: Option<f64>) -> bool {
        let below = self.loss.zip(val_loss).is_some_and(|(trigger, loss)| loss < trigger);
        below || self.wait.is_some_and(|wait| since >= wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_and_waits() {
        for (loss, wait, since, val_loss, expected) in [
            (Some(2.0), None, 9, None, false),
            (Some(2.0), None, 0, Some(1.9), true),
            (Some(2.0), None, 9, Some(2.0), false),
            (Some(2.0), None, 9, Some(f64::NAN), false),
            (None, Some(3), 2, Some(0.0), false),
            (None, Some(3), 3, None, true),
            (None, Some(3), 4, None, true),
            (None, Some(0), 0, None, true),
            (Some(2.0), Some(3), 2, Some(1.0), true),
            (Some(2.0), Some(3), 3, Some(5.0), true),
            (Some(2.0), Some(3), 2, Some(5.0), false),
            (None, None, u64::MAX, Some(0.0), false),
        ] {
            let found = Trigger { loss, wait }.fires(since, val_loss);
            assert_eq!(found, expected, "{loss:?} {wait:?} {since} {val_loss:?}");
        }
    }
}
