//! The hyper-parameters of a run that operations change while it goes; part of every checkpoint.
//! Does not know the operations; those are `hyper_ops.rs`.

use serde::{Deserialize, Serialize};

use crate::{
    config::{
        Settings,
        settings::{HyperValue, LrScheduleSettings},
    },
    optim::lr_schedule,
};

/// What is in force from the coming step on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveHyper {
    /// `lr` of the main optimizer as the run began with it; none where its rule has none.
    pub main_lr: Option<f64>,
    /// Factor on the result of the learning-rate schedule.
    pub lr_scale: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Factor on the length of the decay.
    pub decay_scale: f64,
    /// Steps done when the learning-rate schedule last began.
    pub lr_begun: u64,
    /// Sequences per backward pass.
    pub batch_size: u64,
    /// Backward passes per step.
    pub grad_accum: u64,
    /// Validation windows per evaluation.
    pub eval_steps: u64,
    /// Steps between evaluations; 0 is none but the last.
    pub eval_every: u64,
    /// LoRA's α.
    pub lora_alpha: f64,
}

impl LiveHyper {
    /// As the settings say, before any operation. The hyper-parameters of the main optimizer are complete.
    pub fn of(settings: &Settings) -> LiveHyper {
        let main_lr = match settings.optimizer.hyper.get("lr") {
            Some(HyperValue::Number(lr)) => Some(*lr),
            _ => None,
        };
        LiveHyper {
            main_lr,
            lr_scale: 1.0,
            warmup_steps: settings.lr_schedule.warmup_steps,
            decay_scale: 1.0,
            lr_begun: 0,
            batch_size: settings.train.batch_size as u64,
            grad_accum: settings.train.grad_accum as u64,
            eval_steps: settings.train.eval_steps as u64,
            eval_every: settings.train.eval_every,
            lora_alpha: settings.model.lora_alpha,
        }
    }

    /// What every group's `lr` is multiplied by in one step, counted from 1, of a run of `steps`.
    ///
    /// The schedule is [`lr_schedule::factor`] with `lr_begun` steps less on its clock, its own warm-up, and a decay
    /// that ends `⌊D · decay_scale⌋` steps after it began, where D is `decay_steps`, else what was left of the run.
    pub fn lr_factor(&self, schedule: &LrScheduleSettings, step: u64, steps: u64) -> f64 {
        let decay = schedule.decay_steps.unwrap_or(steps.saturating_sub(self.lr_begun));
        let shape = LrScheduleSettings {
            warmup_steps: self.warmup_steps,
            decay_steps: Some((decay as f64 * self.decay_scale) as u64),
            ..schedule.clone()
        };
        self.lr_scale * lr_schedule::factor(&shape, step.saturating_sub(self.lr_begun), steps)
    }

    /// Learning rate of the main group before the schedule.
    pub fn lr(&self) -> f64 {
        self.main_lr.unwrap_or(1.0) * self.lr_scale
    }
}
