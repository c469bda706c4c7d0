//! One optimizer step, from batch to new parameters. Evaluates nothing and writes nothing.

use crate::{
    config::Settings,
    data::Corpus,
    fault::{Exit, Fault},
    growth::LiveHyper,
    model::{Gpt, dropout_seed},
    optim::{Optim, clip, non_finite::Guard},
    projection::{ProjectionReport, Projections},
};

use super::Progress;

/// What a step showed.
pub struct Step {
    /// Mean training loss over the step's batches, in nats per token.
    pub loss: f64,
    /// L2 norm of the raw gradient over all parameters.
    pub grad_norm: f64,
    /// What the schedule and the operations so far multiplied each group's learning rate by.
    pub lr_factor: f64,
    /// Backward passes done.
    pub passes: u64,
    /// Tensors left untouched because their gradient was not finite.
    pub skipped: Vec<String>,
    /// What the projections measured.
    pub projections: Vec<ProjectionReport>,
}

/// Runs the step after those of `progress`.
///
/// # Errors
/// `N001` where the loss is not finite; what the optimizer, its plugin or a projection refuses.
pub fn run(
    progress: &Progress,
    settings: &Settings,
    corpus: &Corpus,
    model: &mut Gpt,
    guard: &mut Guard,
    projections: &mut Projections,
    optim: &mut Optim,
) -> Result<Step, Fault> {
    let train = &settings.train;
    let step = progress.step + 1;
    let (loss, passes) = backward(step, &progress.hyper, settings, corpus, model)?;
    if !loss.is_finite() {
        return Err(Fault::new("N001", Exit::Diverged, format!("the training loss of step {step} is {loss}"))
            .hint("lower the learning rate or clip harder; the last checkpoint is whole"));
    }

    let norm = clip::measure(model.parameters())?;
    let skipped = guard.check(model.parameters(), &norm, step)?;
    clip::scale(model.parameters(), clip::factor(norm.norm, train.grad_clip))?;
    let projections = projections.apply(model.parameters_mut(), &norm.non_finite)?;
    let lr_factor = progress.hyper.lr_factor(&settings.lr_schedule, step, train.steps);
    optim.step(model.parameters_mut(), lr_factor, norm.norm, &norm.non_finite)?;
    for parameter in model.parameters_mut() {
        parameter.tensor.zero_grad();
    }
    Ok(Step { loss, grad_norm: norm.norm, lr_factor, passes, skipped, projections })
}

/// Adds the gradients of the mean loss over all micro-batches to the parameters; gives that loss in nats per token, and
/// how many there were.
fn backward(
    step: u64,
    hyper: &LiveHyper,
    settings: &Settings,
    corpus: &Corpus,
    model: &Gpt,
) -> Result<(f64, u64), Fault> {
    let (seed, block_size) = (settings.seed, settings.model.block_size);
    let (mut sum, mut passes) = (0.0, 0);
    for micro in 0..hyper.grad_accum {
        let (tokens, targets) =
            corpus.batch(seed, step, micro, hyper.batch_size as usize, block_size, model.device())?;
        let share = 1.0 / hyper.grad_accum as f64;
        sum += model.backward(&tokens, &targets, Some(dropout_seed(seed, step, micro)), share)?;
        passes += 1;
    }
    Ok((sum / passes as f64, passes))
}
