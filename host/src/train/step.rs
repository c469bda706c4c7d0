//! One optimizer step, from batch to new parameters. Evaluates nothing and writes nothing.

use crate::{
    config::Settings,
    data::Corpus,
    fault::{Exit, Fault},
    model::{Gpt, dropout_seed},
    optim::{Optim, clip, lr_schedule, non_finite::Guard},
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
    corpus: &Corpus,
    model: &mut Gpt,
    guard: &mut Guard,
    projections: &mut Projections,
    optim: &mut Optim,
) -> Result<Step, Fault> {
    let train = &settings.train;
    let loss = backward(step, settings, corpus, model)?;
    if !loss.is_finite() {
        return Err(Fault::new("N001", Exit::Diverged, format!("the training loss of step {step} is {loss}"))
            .hint("lower the learning rate or clip harder; the last checkpoint is whole"));
    }

    let norm = clip::measure(model.parameters())?;
    let skipped = guard.check(model.parameters(), &norm, step)?;
    clip::scale(model.parameters(), clip::factor(norm.norm, train.grad_clip))?;
    let projections = projections.apply(model.parameters_mut(), &norm.non_finite)?;
    let lr_factor = lr_schedule::factor(&settings.lr_schedule, step, train.steps);
    optim.step(model.parameters_mut(), lr_factor, norm.norm, &norm.non_finite)?;
    for parameter in model.parameters_mut() {
        parameter.tensor.zero_grad();
    }
    Ok(Step { loss, grad_norm: norm.norm, lr_factor, skipped, projections })
}

/// Adds the gradients of the mean loss over all micro-batches to the parameters; gives that loss in nats per token.
fn backward(step: u64, settings: &Settings, corpus: &Corpus, model: &Gpt) -> Result<f64, Fault> {
    let Settings { seed, train, .. } = settings;
    let mut sum = 0.0;
    for micro in 0..train.grad_accum as u64 {
        let (tokens, targets) =
            corpus.batch(*seed, step, micro, train.batch_size, settings.model.block_size, model.device())?;
        let share = 1.0 / train.grad_accum as f64;
        sum += model.backward(&tokens, &targets, Some(dropout_seed(*seed, step, micro)), share)?;
    }
    Ok(sum / train.grad_accum as f64)
}
