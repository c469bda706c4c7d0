//! One optimizer step, from batch to new parameters. Evaluates nothing and writes nothing.

use tch::Device;

use crate::{
    config::Settings,
    data::Corpus,
    fault::{Exit, Fault},
    model::Gpt,
    optim::{Optim, clip, lr_schedule},
    projection::{ProjectionReport, Projections},
};

/// What a step showed.
pub struct Step {
    /// Mean training loss over the step's batches, in nats per token.
    pub loss: f64,
    /// L2 norm of the raw gradient over all parameters.
    pub grad_norm: f64,
    /// What the schedule multiplied each group's learning rate by.
    pub lr_factor: f64,
    /// Tensors left untouched because their gradient was not finite.
    pub skipped: Vec<String>,
    /// What the projections measured.
    pub projections: Vec<ProjectionReport>,
}

/// Runs step `step` (from 1).
///
/// # Errors
/// `N001` where the loss is not finite; what the optimizer, its plugin or a projection refuses.
pub fn run(
    step: u64,
    settings: &Settings,
    device: Device,
    corpus: &Corpus,
    model: &mut Gpt,
    projections: &mut Projections,
    optim: &mut Optim,
) -> Result<Step, Fault> {
    let train = &settings.train;
    let mut loss = 0.0;
    for micro in 0..train.grad_accum {
        let (tokens, targets) =
            corpus.batch(settings.seed, step, micro, train.batch_size, settings.model.block_size, device);
        let mean = model.loss(&tokens, &targets, Some(dropout_seed(settings.seed, step, micro)));
        loss += mean.double_value(&[]) / train.grad_accum as f64;
        let share = if train.grad_accum == 1 { mean } else { mean / train.grad_accum as f64 };
        share.backward();
    }
    if !loss.is_finite() {
        return Err(Fault::new("N001", Exit::Diverged, format!("the training loss of step {step} is {loss}"))
            .hint("lower the learning rate, clip harder, or resume from the last checkpoint with another setting"));
    }

    let lr_factor = lr_schedule::factor(&settings.lr_schedule, step, train.steps);
    let norm = clip::measure(model.parameters());
    if train.grad_clip > 0.0 {
        clip::scale(model.parameters_mut(), train.grad_clip, &norm);
    }
    let reports = projections.apply(model.parameters_mut())?;
    let report = optim.step(model.parameters_mut(), lr_factor, &norm)?;
    for parameter in model.parameters_mut() {
        parameter.tensor.zero_grad();
    }
    Ok(Step { loss, grad_norm: norm.norm, lr_factor, skipped: report.skipped, projections: reports })
}

/// Dropout depends on these three alone, so a resumed run draws the same masks.
fn dropout_seed(seed: u64, step: u64, micro: usize) -> u64 {
    crate::data::counter::mix(&[seed, step, micro as u64])
}
