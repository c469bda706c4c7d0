//! What a run writes while it goes: metrics, events for TensorBoard, the bar, checkpoints, its record.
//! Decides nothing about training.

use std::time::Duration;

use super::{Progress, operate::OperationEvent, step::Step};
use crate::{
    checkpoint::{self, Keep, Snapshot},
    evaluation::Evaluation,
    fault::Fault,
    metrics::{self, EvalMetrics, EventWriter, MetricsWriter, StepMetrics, Trajectory, progress::Shown},
    run::{Record, RunDirectory, Screen, clock::Utc},
};

/// The open books of one run.
pub struct Ledger {
    /// The folder, locked.
    pub directory: RunDirectory,
    /// `run.json` as last written.
    pub record: Record,
    keep_last: usize,
    base_lr: Option<f64>,
    bytes_per_token: f64,
    trajectory: Trajectory,
    metrics: MetricsWriter,
    events: EventWriter,
    bar: metrics::Progress,
    /// Steps and operations done at the last checkpoint.
    saved: Option<(u64, usize)>,
}

/// What does not change while a run goes.
pub struct Terms {
    /// Checkpoints kept besides the best.
    pub keep_last: usize,
    /// `lr` of the main optimizer, where it has one.
    pub base_lr: Option<f64>,
    /// Bytes of text per training token, on average.
    pub bytes_per_token: f64,
}

impl Ledger {
    /// Opens the books after `progress.step` steps: what was written of later ones is dropped.
    ///
    /// # Errors
    /// `D105` where the folder cannot be written, `D301` where the metrics are damaged.
    pub fn open(
        directory: RunDirectory,
        record: Record,
        terms: Terms,
        progress: &Progress,
        screen: &Screen,
    ) -> Result<Ledger, Fault> {
        let ledger = Ledger {
            keep_last: terms.keep_last,
            base_lr: terms.base_lr,
            bytes_per_token: terms.bytes_per_token,
            trajectory: Trajectory::from_hex(&progress.trajectory).unwrap_or_default(),
            metrics: MetricsWriter::resume(&directory, progress.step, progress.schedule.done)?,
            events: EventWriter::begin(&directory, progress.step, Utc::now())?,
            bar: metrics::Progress::begin(screen, progress.step, record.steps),
            saved: None,
            directory,
            record,
        };
        ledger.record.write(&ledger.directory)?;
        Ok(ledger)
    }

    /// Books a step.
    ///
    /// # Errors
    /// `D105` where it cannot be written.
    pub fn step(&mut self, progress: &mut Progress, step: &Step, took: Duration, tokens: u64) -> Result<(), Fault> {
        self.trajectory.push(progress.step, step.loss, step.grad_norm);
        progress.trajectory = self.trajectory.hex();
        if !step.skipped.is_empty() {
            tracing::warn!(step = progress.step, tensors = step.skipped.join(", "), "gradients that are not finite");
        }
        let seconds = took.as_secs_f64();
        let bpb = step.loss / (std::f64::consts::LN_2 * self.bytes_per_token);
        let lr = self.base_lr.unwrap_or(1.0) * step.lr_factor;
        let tokens_per_second = tokens as f64 / seconds.max(1e-9);
        let extra: Vec<(String, f64)> = step
            .projections
            .iter()
            .flat_map(|one| {
                one.metrics.iter().map(|(name, value)| (format!("{}/{}/{name}", one.label, one.parameter), *value))
            })
            .collect();
        self.metrics.step(&StepMetrics {
            step: progress.step,
            loss: step.loss,
            bpb: Some(bpb),
            lr,
            grad_norm: step.grad_norm,
            passes: step.passes,
            tokens: progress.tokens,
            tokens_per_second,
            milliseconds: seconds * 1e3,
            skipped: &step.skipped,
            extra: &extra,
        })?;
        let scalars = [("loss/train", step.loss), ("lr", lr), ("grad_norm", step.grad_norm)];
        self.events.scalars(progress.step, Utc::now(), &scalars)?;
        self.bar.step(&Shown { step: progress.step, loss: step.loss, bpb: Some(bpb), tokens_per_second });
        Ok(())
    }

    /// Books an evaluation.
    ///
    /// # Errors
    /// `D105` where it cannot be written.
    pub fn evaluation(&mut self, progress: &Progress, evaluation: &Evaluation, whole: bool) -> Result<(), Fault> {
        let Evaluation { loss, bpb, tokens, bytes } = *evaluation;
        let step = progress.step;
        self.metrics.eval(&EvalMetrics { step, val_loss: loss, val_bpb: bpb, tokens, bytes, whole })?;
        self.events.scalars(step, Utc::now(), &[("loss/val", loss), ("bpb/val", bpb)])?;
        tracing::info!("step {step}: val_loss {loss:.4}  val_bpb {bpb:.4}");
        Ok(())
    }

    /// Books what happened to the scheduled operation of this number, from 0: in the metrics, and in the log.
    ///
    /// # Errors
    /// `D105` where it cannot be written.
    pub fn operation(&mut self, step: u64, number: usize, name: &str, event: &OperationEvent) -> Result<(), Fault> {
        let words = event.name();
        match event {
            OperationEvent::Start { note } => tracing::info!(operation = %name, step, note, "{words}"),
            OperationEvent::Success { old, new, applied: None } => {
                tracing::info!(operation = %name, step, old, new, "{words}");
            }
            OperationEvent::Success { old, new, applied: Some(applied) } => {
                tracing::info!(operation = %name, step, old, new, parameters = %applied, "{words}");
            }
            OperationEvent::Error { reason, skipped: true } => {
                tracing::warn!(operation = %name, step, reason, skipped = true, "{words}");
            }
            OperationEvent::Error { reason, .. } => tracing::error!(operation = %name, step, reason, "{words}"),
            OperationEvent::Reevaluation { val_loss } => tracing::info!(operation = %name, step, val_loss, "{words}"),
        }
        let mut facts = vec![(metrics::writer::OPERATION, number.into()), ("name", name.into())];
        facts.extend(event.facts());
        self.metrics.event(step, words, &facts)
    }

    /// Saves a checkpoint, after so many operations, and says so in the record.
    ///
    /// # Errors
    /// `D105` where it cannot be written; the one before is whole.
    pub fn checkpoint(&mut self, snapshot: &Snapshot, operations: usize, is_best: bool) -> Result<(), Fault> {
        if self.saved == Some((snapshot.step, operations)) && !is_best {
            return Ok(());
        }
        let (trajectory, metrics) = (self.trajectory.hex(), &mut self.metrics);
        let keep = Keep { last: self.keep_last, best: is_best };
        let saved = checkpoint::save(&self.directory, snapshot, keep, &mut |parameter_hash| {
            metrics.hashes(snapshot.step, parameter_hash, &trajectory)?;
            metrics.sync()
        })?;
        tracing::debug!(step = snapshot.step, bytes = saved.bytes, "checkpoint {}", saved.path.display());
        self.record.steps_done = snapshot.step;
        self.record.parameter_hash = Some(saved.parameter_hash.clone());
        self.record.trajectory_hash = Some(trajectory);
        self.record.write(&self.directory)?;
        self.saved = Some((snapshot.step, operations));
        Ok(())
    }

    /// Takes the bar away.
    pub fn close_bar(&self) {
        self.bar.finish();
    }
}
