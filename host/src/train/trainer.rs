//! The loop: operations, step, evaluation, checkpoint, until the last step or a request to stop.
//! Does not know how any of these is done.

use std::{collections::BTreeMap, time::Instant};

use sdk::abi::{Network, NetworkPlan, ParameterPlan};
use tch::{Device, Tensor};

use super::{
    Prepared, Progress,
    ledger::Ledger,
    lineage::Lineage,
    prepare,
    progress::Best,
    step::{self, Step},
};
use crate::{
    checkpoint::Snapshot,
    config::{self, Settings, settings::Format},
    data::Corpus,
    evaluation::{Evaluation, evaluate},
    fault::{Exit, Fault, Faults},
    growth::{self, Applied, Fits, LiveHyper, Schedule},
    metrics::digits::bits,
    model::{self, Architecture, Gpt, Parameter},
    optim::{GroupRow, Optim, non_finite::Guard},
    projection::Projections,
    run::Signals,
    tensor::{device, memory},
};

/// A run with everything it needs, at some step.
pub struct Trainer<'p> {
    pub(super) prepared: &'p Prepared,
    pub(super) settings: &'p Settings,
    device: Device,
    corpus: Corpus,
    pub(super) model: Gpt,
    optim: Optim,
    projections: Projections,
    pub(super) schedule: Schedule,
    guard: Guard,
    pub(super) progress: Progress,
}

impl<'p> Trainer<'p> {
    /// Reads the data, builds the network at step 0, gives every parameter to an optimizer.
    ///
    /// # Errors
    /// All faults of the data, or all of groups, projections and operations.
    pub fn new(prepared: &'p Prepared) -> Result<Trainer<'p>, Faults> {
        let settings = &prepared.resolved.settings;
        // f64 is for checking numbers, on the CPU
        let wanted = if settings.format == Format::F64 { config::settings::Device::Cpu } else { settings.device };
        let device = device::open(wanted)?;
        if device == Device::Cpu {
            memory::keep_freed();
        }
        let corpus = Corpus::load(&settings.data, settings.model.block_size)?;
        let vocabulary = corpus.tokenizer.vocabulary();
        let model = Gpt::new(&settings.model, corpus.tokenizer.vocab_size(), settings.seed, settings.format, device)?;
        let mut faults = Faults::none();
        let takers = prepared.takers();
        let taken = faults.take(takers.of(&model));
        let schedule =
            faults.take(Schedule::plan(settings, &prepared.catalogue, &|key| prepare::place(&prepared.resolved, key)));
        let hyper = LiveHyper::of(settings);
        let fits: &Fits<'_> = &|plan, network| takers.fit(plan, network);
        let rehearsed = schedule.as_ref().map(|schedule| schedule.rehearse(&network(&model), &hyper, settings, fits));
        let schedule = schedule.filter(|_| rehearsed.is_some_and(|planned| faults.take(planned).is_some()));
        let guard = Guard::new(settings.train.non_finite);
        match (taken, schedule) {
            (Some((optim, projections)), Some(schedule)) => {
                let lineage = Lineage::of(prepared, &corpus, &model.architecture(), &optim.table(), device);
                let progress = Progress { vocabulary, lineage, hyper, ..Progress::default() };
                Ok(Trainer { prepared, settings, device, corpus, model, optim, projections, schedule, guard, progress })
            }
            _ => Err(faults),
        }
    }

    /// Who takes which parameter.
    pub fn groups(&self) -> Vec<GroupRow> {
        self.optim.table()
    }

    /// Bytes of optimizer state, as they are allocated.
    pub fn state_bytes(&self) -> u64 {
        self.optim.state_bytes()
    }

    /// The network.
    pub fn model(&self) -> &Gpt {
        &self.model
    }

    /// The text.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// Where tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Goes on from a checkpoint: all of it is checked before any of it is taken over.
    ///
    /// # Errors
    /// Everything in it that does not fit this run.
    pub fn restore(&mut self, snapshot: Snapshot) -> Result<(), Faults> {
        let progress = Progress::from_state(snapshot.state)?;
        if progress.vocabulary != self.progress.vocabulary {
            let fault = Fault::new("D122", Exit::Data, "the vocabulary of the data is not that of the checkpoint");
            return Err(fault.hint("resume with the data the run began with").into());
        }
        self.progress.lineage.check(&progress.lineage)?;
        let architecture = progress.architecture(&self.model.architecture())?;
        let mut grown = None;
        if architecture.facts() != self.model.facts() {
            let model = self.model.grown(&architecture, self.settings.seed, BTreeMap::new())?;
            let (optim, projections) = self.prepared.takers().of(&model)?;
            grown = Some((model, optim, projections));
        }
        let (model, optim) = match &mut grown {
            Some((model, optim, _)) => (model, optim),
            None => (&mut self.model, &mut self.optim),
        };
        let (weights, state) = training_weights(snapshot.model, snapshot.optimizer, &optim.evaluated_elsewhere())?;
        model.check(&weights)?;
        self.schedule.restore(&progress.schedule)?;
        optim.load_state(state, progress.counts.clone())?;
        model.load(&weights)?;
        if let Some((model, optim, projections)) = grown {
            (self.model, self.optim, self.projections) = (model, optim, projections);
        }
        growth::freeze(self.model.parameters_mut(), &progress.frozen);
        self.guard.resume(progress.skipped_in_a_row.clone());
        self.progress = progress;
        Ok(())
    }

    /// All that is needed to go on from here. The parameters in it are those to evaluate at and to sample from; where
    /// training moves others, those are with the optimizer's state.
    ///
    /// # Errors
    /// `N006` where a parameter is not finite: nobody could go on from that.
    pub fn snapshot(&mut self) -> Result<Snapshot, Fault> {
        let parameters = self.model.parameters();
        for parameter in parameters {
            let finite = parameter.tensor.f_isfinite().and_then(|finite| finite.f_all()?.f_int64_value(&[]));
            if finite.map_err(model::refused)? == 0 {
                let text = format!("parameter `{}` is not finite after step {}", parameter.name, self.progress.step);
                return Err(Fault::new("N006", Exit::Diverged, text)
                    .hint("lower the learning rate or clip harder; the last checkpoint is whole"));
            }
        }
        self.progress.counts = self.optim.counts();
        self.progress.architecture = self.changed_facts();
        self.progress.schedule = self.schedule.position();
        self.progress.skipped_in_a_row = self.guard.in_a_row().clone();
        self.progress.frozen = parameters.iter().filter(|p| p.frozen).map(|p| p.name.clone()).collect();
        let mut model: Vec<(String, Tensor)> =
            parameters.iter().map(|parameter| (parameter.name.clone(), parameter.handle())).collect();
        let mut optimizer = self.optim.state();
        for (index, weights) in self.optim.eval_weights(parameters)? {
            let trained = std::mem::replace(&mut model[index].1, weights);
            optimizer.push((format!("{TRAINING}{}", model[index].0), trained));
        }
        Ok(Snapshot { step: self.progress.step, model, optimizer, state: self.progress.to_state() })
    }

    /// Trains to the last step, or to the step in which a stop was requested. Gives the evaluation of the whole
    /// validation text at the end, none where it was stopped.
    ///
    /// # Errors
    /// Whatever ended it; the last checkpoint is whole.
    pub fn run(&mut self, ledger: &mut Ledger, signals: &Signals) -> Result<Option<Evaluation>, Fault> {
        let steps = self.settings.train.steps;
        while self.progress.step < steps {
            if signals.stop_requested() {
                self.save(ledger, false)?;
                return Ok(None);
            }
            self.operate(ledger)?;
            let begun = Instant::now();
            let step = self.step()?;
            let tokens = self.tokens_per_step();
            ledger.step(&mut self.progress, &step, begun.elapsed(), tokens)?;
            // the last step is evaluated on the whole text, below
            let evaluate_now = is_due(self.progress.step, self.progress.hyper.eval_every) && self.progress.step < steps;
            let is_best = if evaluate_now { self.evaluate(self.windows(), ledger)?.1 } else { false };
            let every = self.settings.run.checkpoint_every;
            if every > 0 && (is_best || is_due(self.progress.step, every)) && self.progress.step < steps {
                self.save(ledger, is_best)?;
            }
        }
        let (last, is_best) = self.evaluate(None, ledger)?;
        self.save(ledger, is_best)?;
        self.tell_unfired();
        Ok(Some(last))
    }

    /// One step and nothing else: no operation, no evaluation, no checkpoint.
    ///
    /// # Errors
    /// What the step refuses.
    pub fn step(&mut self) -> Result<Step, Fault> {
        let number = self.progress.step + 1;
        let done = step::run(
            &self.progress,
            self.settings,
            &self.corpus,
            &mut self.model,
            &mut self.guard,
            &mut self.projections,
            &mut self.optim,
        )?;
        self.progress.step = number;
        self.progress.val_loss_bits = None;
        self.progress.tokens += self.tokens_per_step();
        Ok(done)
    }

    fn tokens_per_step(&self) -> u64 {
        let hyper = &self.progress.hyper;
        hyper.grad_accum * hyper.batch_size * self.settings.model.block_size as u64
    }

    /// Validation windows of an evaluation on the way.
    pub(super) fn windows(&self) -> Option<usize> {
        Some(self.progress.hyper.eval_steps as usize)
    }

    /// Saves a checkpoint.
    pub(super) fn save(&mut self, ledger: &mut Ledger, is_best: bool) -> Result<(), Fault> {
        let operations = self.schedule.position().done;
        ledger.checkpoint(&self.snapshot()?, operations, is_best)
    }

    /// Carries out an operation's plan: the network, what trains it, and all state along the lineage of its parameter.
    ///
    /// # Errors
    /// P030 and P031, and what groups and projections object to in the new network; everything is then as it was.
    pub(super) fn grow(&mut self, plan: &NetworkPlan) -> Result<Applied, Fault> {
        let (model, mut applied) = growth::grow(&self.model, plan, self.settings.seed, self.progress.step)?;
        if applied.kept == plan.parameters.len() && model.facts() == self.model.facts() && is_in_place(plan) {
            growth::freeze_as_planned(self.model.parameters_mut(), plan);
            return Ok(applied);
        }
        let (mut optim, projections) = self.prepared.takers().of(&model).map_err(Faults::into_one)?;
        let state = self.settings.growth.state;
        applied.state = optim.carry(&self.optim, (self.model.parameters(), model.parameters()), plan, state)?;
        self.guard.resume(skips_along(self.guard.in_a_row(), plan));
        (self.model, self.optim, self.projections) = (model, optim, projections);
        self.progress.hyper.lora_alpha = self.model.settings().lora_alpha;
        growth::freeze_as_planned(self.model.parameters_mut(), plan);
        Ok(applied)
    }

    /// All numbers of the architecture, where any is not that which the run began with: what one of them is by default
    /// may follow from another.
    fn changed_facts(&self) -> BTreeMap<String, f64> {
        let vocab_size = self.corpus.tokenizer.vocab_size();
        let begun = Architecture { settings: self.settings.model.clone(), vocab_size }.facts();
        let now = self.model.facts();
        if now == begun { BTreeMap::new() } else { now.into_iter().collect() }
    }

    /// Looks at the network with the weights to evaluate at; it has those that are trained again afterwards.
    fn at_eval_weights<T>(&mut self, look: impl FnOnce(&Gpt, &Corpus) -> Result<T, Fault>) -> Result<T, Fault> {
        let weights = self.optim.eval_weights(self.model.parameters())?;
        let swap = |parameters: &[Parameter]| {
            tch::no_grad(|| {
                for (index, other) in &weights {
                    let mut here = parameters[*index].handle();
                    let held = here.copy();
                    here.f_copy_(other)?;
                    other.shallow_clone().f_copy_(&held)?;
                }
                Ok(())
            })
            .map_err(model::refused)
        };
        swap(self.model.parameters())?;
        let seen = look(&self.model, &self.corpus);
        swap(self.model.parameters())?;
        seen
    }

    /// Evaluates, and says whether it is the best so far.
    pub(super) fn evaluate(
        &mut self,
        windows: Option<usize>,
        ledger: &mut Ledger,
    ) -> Result<(Evaluation, bool), Fault> {
        let evaluation = self.at_eval_weights(|model, corpus| evaluate(model, corpus, windows))?;
        if !evaluation.loss.is_finite() {
            let text = format!("the validation loss after step {} is {}", self.progress.step, evaluation.loss);
            return Err(Fault::new("N001", Exit::Diverged, text)
                .hint("lower the learning rate or clip harder; the last checkpoint is whole"));
        }
        let lowest = self.progress.best.as_ref().is_none_or(|best| evaluation.loss < best.val_loss());
        let is_best = lowest && self.progress.step > 0;
        self.progress.val_loss_bits = Some(bits(evaluation.loss));
        if is_best {
            self.progress.best = Some(Best::new(self.progress.step, evaluation.loss));
        }
        ledger.evaluation(&self.progress, &evaluation, windows.is_none())?;
        Ok((evaluation, is_best))
    }
}

/// What weights that training moves are called in a checkpoint, where it is evaluated at others.
const TRAINING: &str = "training:";

/// The parameters to go on with and the optimizer's state, from a checkpoint's parameters and state. `elsewhere` names
/// the parameters that are evaluated at other weights than are trained.
#[allow(clippy::type_complexity)]
fn training_weights(
    mut model: Vec<(String, Tensor)>,
    optimizer: Vec<(String, Tensor)>,
    elsewhere: &[&str],
) -> Result<(Vec<(String, Tensor)>, Vec<(String, Tensor)>), Faults> {
    let (training, state): (Vec<_>, Vec<_>) = optimizer.into_iter().partition(|(key, _)| key.starts_with(TRAINING));
    let mut faults = Faults::none();
    let mut training: BTreeMap<String, Tensor> =
        training.into_iter().map(|(key, tensor)| (key[TRAINING.len()..].to_string(), tensor)).collect();
    for (name, tensor) in &mut model {
        match (elsewhere.contains(&name.as_str()), training.remove(name)) {
            (true, Some(trained)) => *tensor = trained,
            (true, None) => {
                let text = format!("the checkpoint lacks the weights of `{name}` that training goes on with");
                faults.push(Fault::new("D127", Exit::Data, text));
            }
            (false, Some(trained)) => drop(training.insert(name.clone(), trained)),
            (false, None) => {}
        }
    }
    for name in training.keys() {
        let text = format!("the checkpoint has training weights of `{name}`, which this run does not tell from others");
        faults.push(Fault::new("D128", Exit::Data, text).hint("was it saved with another optimizer or model?"));
    }
    faults.check()?;
    Ok((model, state))
}

/// Whether a plan that keeps every parameter keeps each under its own name.
fn is_in_place(plan: &NetworkPlan) -> bool {
    plan.parameters.iter().all(|one| one.name == one.source)
}

/// Skips in a row of the parameters of a plan that are kept, from those of their sources.
fn skips_along(before: &BTreeMap<String, u32>, plan: &NetworkPlan) -> BTreeMap<String, u32> {
    let kept = |one: &ParameterPlan| match growth::Lineage::of(one) {
        growth::Lineage::Kept(source) => before.get(source).map(|skips| (one.name.to_string(), *skips)),
        _ => None,
    };
    plan.parameters.iter().filter_map(kept).collect()
}

/// The network as an operation sees it.
pub(super) fn network(model: &Gpt) -> Network {
    growth::network(model.parameters(), &model.facts())
}

/// Every so many steps; 0 is never.
fn is_due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
