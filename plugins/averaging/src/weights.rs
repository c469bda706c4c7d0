//! The weights of the iterates in the average that schedule-free rules keep: wₜ = tʳ·(largest η)^weight_lr_power.

use sdk::*;

/// What is kept of each tensor: W, the sum of the weights, and the largest η to its power.
#[derive(Record)]
pub struct Memory<T> {
    weight_sum: T,
    lr_power: T,
}

/// Before the first step.
pub fn none() -> Memory<Slot> {
    Memory { weight_sum: Slot::zeros(), lr_power: Slot::zeros() }
}

/// The hyper-parameters that decide the weights.
pub struct Weights<L: Lane> {
    /// Step size after the warm-up.
    pub lr: Scalar<L>,
    /// Steps until lr is reached.
    pub warmup_steps: Scalar<L>,
    /// Power of the step.
    pub r: Scalar<L>,
    /// Power of the largest η.
    pub weight_lr_power: Scalar<L>,
}

impl<L: Lane> Weights<L> {
    /// η = lr·min(1, t/warmup_steps).
    pub fn rate(&self, step: Step<L>) -> Scalar<L> {
        let warmth = self.warmup_steps.gt(0.0).select((step.t / self.warmup_steps.max(1.0)).min(1.0), 1.0);
        self.lr * warmth
    }

    /// The memory with the weight of this step.
    pub fn advance(&self, step: Step<L>, memory: Memory<Scalar<L>>) -> Memory<Scalar<L>> {
        let lr_power = memory.lr_power.max(self.rate(step).pow(self.weight_lr_power));
        Memory { weight_sum: memory.weight_sum + step.t.pow(self.r) * lr_power, lr_power }
    }

    /// c = w/W, the share of this step in the average, with the memory after it. 0 where all weights are.
    pub fn share(&self, step: Step<L>, memory: Memory<Scalar<L>>) -> Scalar<L> {
        let weight = step.t.pow(self.r) * memory.lr_power;
        memory.weight_sum.gt(0.0).select(weight / memory.weight_sum, 0.0)
    }
}
