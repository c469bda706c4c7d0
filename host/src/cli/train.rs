//! `host train` and `host resume`: from what was asked to a finished run and its report.
//! Does not train; that is `train/`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use comfy_table::{Table, presets};
use tracing::Level;

use super::{
    Invocation,
    args::{Resume, ResumeFlags, TrainFlags},
    stdout,
};
use crate::{
    checkpoint, config,
    config::write::{CONFIG, config_toml},
    evaluation::Evaluation,
    fault::{Exit, Fault},
    metrics::{self, History, LossPlot, Report, digits::Digits, pace, terminal_plot},
    optim::GroupRow,
    registry::Kind,
    rules::threads,
    run::{
        Cost, Purpose, Record, RunDirectory, Screen, Signals, Status,
        clock::Utc,
        cost::peak_memory_bytes,
        groups::{self, GroupRecord},
        log::Log,
        record::{LabelRecord, RegistryRecord, ResultRecord, Versions},
    },
    sample::{Sampling, generate},
    train::{Ledger, Prepared, Terms, Trainer, forecast, prepare},
};

/// Where a run directory is made if none is named.
pub(super) const RUNS: &str = "runs";

/// What a run starts from.
enum Start {
    /// Step 0, in this folder or a new one.
    New(Option<PathBuf>),
    /// The run in this directory: the checkpoint that was named, else its latest, else step 0.
    From { directory: PathBuf, named: Option<PathBuf> },
}

/// `host train`.
///
/// # Errors
/// All that is wrong before work begins at once, or what ended the run.
pub fn train(flags: &TrainFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let mut told = config::examine(&flags.knobs.0, &invocation.variables, &invocation.cwd);
    let start = told.1.take(start(flags.resume.as_ref(), told.0.settings.run.dir.as_deref()));
    if let Some(Start::From { directory, .. }) = &start {
        told = config::unchanged(told, &directory.join(CONFIG), &invocation.cwd);
    }
    let prepared = prepare(told, flags.registry.registry.as_deref(), flags.registry.plugin_dir.as_deref())?;
    // without a start there is a fault, and then nothing is prepared
    let start = start.unwrap_or(Start::New(None));
    if flags.dry_run {
        return dry_run(&prepared, &start);
    }
    run(&prepared, start, invocation)
}

/// `host resume`.
///
/// # Errors
/// As [`train`].
pub fn resume(flags: &ResumeFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let start = start(Some(&Resume::Path(flags.run_dir.clone())), None)?;
    let Start::From { directory, .. } = &start else { unreachable!("a path is a place to go on from") };
    // The registry of the record; one that is named is looked in even where the record is damaged.
    let registry = match &flags.registry.registry {
        Some(registry) => registry.clone(),
        None => PathBuf::from(Record::read(directory)?.registry.path),
    };
    let told = config::for_resume(&directory.join(CONFIG), &invocation.variables, &invocation.cwd);
    let prepared = prepare(told, Some(&registry), flags.registry.plugin_dir.as_deref())?;
    run(&prepared, start, invocation)
}

/// Where to begin, without writing anything.
fn start(resume: Option<&Resume>, directory: Option<&Path>) -> Result<Start, Fault> {
    match (resume, directory) {
        (None, directory) => {
            if let Some(directory) = directory {
                RunDirectory::check(directory, Purpose::New)?;
            }
            Ok(Start::New(directory.map(Path::to_owned)))
        }
        (Some(Resume::Auto), None) => Err(Fault::new("U002", Exit::Usage, "`--resume` does not say what to resume")
            .hint("name the run with `--run-dir DIR`, or its folder with `--resume=DIR`")),
        (Some(Resume::Auto), Some(directory)) => match RunDirectory::holds_a_run(directory) {
            true => Ok(Start::From { directory: directory.to_owned(), named: None }),
            false => Ok(Start::New(Some(directory.to_owned()))),
        },
        (Some(Resume::Path(path)), directory) => {
            let (run, named) = match RunDirectory::holds_a_run(path) {
                true => (path.clone(), None),
                false => {
                    let checkpoint = checkpoint::find(path)?;
                    (checkpoint::run_of(&checkpoint), Some(checkpoint))
                }
            };
            let same = |other: &Path| matches!((other.canonicalize(), run.canonicalize()), (Ok(a), Ok(b)) if a == b);
            match directory.filter(|other| !same(other)) {
                None => Ok(Start::From { directory: run, named }),
                Some(other) => Err(Fault::new("U003", Exit::Usage, "a run goes on in its own directory")
                    .note("resumed", run.display().to_string())
                    .note("named", other.display().to_string())
                    .hint("leave the run directory away, or copy the run there and resume the copy")),
            }
        }
    }
}

/// Where a run goes on; none is step 0.
fn checkpoint_of(directory: &Path, named: Option<&PathBuf>) -> Result<Option<PathBuf>, Fault> {
    named.map_or_else(|| checkpoint::find_latest(directory), |named| Ok(Some(named.clone())))
}

/// Checks all that a run checks, shows what would run, and writes nothing.
fn dry_run(prepared: &Prepared, start: &Start) -> anyhow::Result<Exit> {
    let screen = Screen::stderr();
    screen.line(&prepared.trace);
    let mut trainer = Trainer::new(prepared)?;
    if let Start::From { directory, named } = start
        && let Some(checkpoint) = checkpoint_of(directory, named.as_ref())?
    {
        trainer.restore(checkpoint::load(&checkpoint)?)?;
    }
    announce(prepared, &trainer, &trainer.groups(), &screen)?;
    stdout::print(&config_toml(&prepared.resolved.settings)).map(|()| Exit::Ok)
}

fn run(prepared: &Prepared, start: Start, invocation: &Invocation) -> anyhow::Result<Exit> {
    let screen = Screen::stderr();
    screen.line(&prepared.trace);
    let log = Log::install(screen.clone(), Level::INFO)?;
    tracing::debug!("{}", prepared.trace);
    let signals = Signals::install()?;

    let mut trainer = Trainer::new(prepared)?;
    let (directory, record) = match &start {
        Start::New(path) => {
            announce(prepared, &trainer, &trainer.groups(), &screen)?;
            begin(prepared, &trainer, &trainer.groups(), path.as_deref(), invocation)?
        }
        Start::From { directory, named } => {
            // locked and cleared of what a killed process left, before its checkpoints are looked at
            let directory = RunDirectory::open(directory, Purpose::Resume)?;
            // Asked for when the first checkpoint is made; a fault of it is told before that.
            checkpoint::best(&directory)?;
            let mut record = Record::read(directory.path()).unwrap_or_else(|fault| {
                tracing::warn!("{}: it begins anew", fault.message);
                record(prepared, &trainer, &trainer.groups(), invocation)
            });
            if let Some(checkpoint) = checkpoint_of(directory.path(), named.as_ref())? {
                trainer.restore(checkpoint::load(&checkpoint)?)?;
                checkpoint::go_on_from(&directory, trainer.progress().step)?;
            }
            record.resume(trainer.progress().step, invocation.argv.clone());
            announce(prepared, &trainer, &trainer.groups(), &screen)?;
            (directory, record)
        }
    };
    log.attach(directory.stream("log.jsonl")?)?;
    let terms = Terms {
        keep_last: prepared.resolved.settings.run.keep_last,
        base_lr: main_lr(prepared),
        bytes_per_token: trainer.corpus().bytes_per_training_token(),
    };
    let mut ledger = Ledger::open(directory, record, terms, trainer.progress(), &screen)?;
    let outcome = trainer.run(&mut ledger, &signals).and_then(|last| match log.failure() {
        Some(fault) => Err(fault),
        None => Ok(last),
    });
    ledger.close_bar();
    ledger.record.cost = Some(cost(&trainer, &ledger));
    match outcome {
        Ok(Some(last)) => match finish(prepared, &trainer, &mut ledger, &last) {
            Ok(text) => {
                end(&mut ledger, Exit::Ok)?;
                stdout::print(&text).map(|()| Exit::Ok)
            }
            Err(fault) => failed(&mut ledger, fault),
        },
        Ok(None) => {
            let path = ledger.directory.path().display().to_string();
            tracing::warn!(
                "stopped by {} after step {}",
                signals.name().unwrap_or("a signal"),
                trainer.progress().step
            );
            screen.line(&format!("hint: `host resume {path}` goes on"));
            end(&mut ledger, Exit::Stopped)?;
            Ok(Exit::Stopped)
        }
        Err(fault) => failed(&mut ledger, fault),
    }
}

/// What training took, up to here.
fn cost(trainer: &Trainer, ledger: &Ledger) -> Cost {
    // metrics that cannot be read are a fault where a report is made of them
    let history = History::read(ledger.directory.path()).ok();
    Cost {
        threads: threads::count() as u64,
        milliseconds_per_step: history.and_then(|history| pace::milliseconds_per_step(&history.train)).map(Digits),
        state_bytes: trainer.state_bytes(),
        peak_memory_bytes: peak_memory_bytes(),
        peak_device_bytes: crate::tensor::device::peak_bytes(trainer.device()),
    }
}

/// Says in the record what ended the run.
fn failed(ledger: &mut Ledger, fault: Fault) -> anyhow::Result<Exit> {
    ledger.record.faults.push(fault.to_string());
    // the fault that ended the run is what is reported, also where the record cannot be written
    let _ = end(ledger, fault.exit);
    Err(fault.into())
}

fn end(ledger: &mut Ledger, exit: Exit) -> Result<(), Fault> {
    ledger.record.end(exit);
    ledger.record.write(&ledger.directory)
}

/// Opens the run directory and the record of a run that begins. The first thing that is written.
fn begin(
    prepared: &Prepared,
    trainer: &Trainer,
    groups: &[GroupRow],
    path: Option<&Path>,
    invocation: &Invocation,
) -> anyhow::Result<(RunDirectory, Record)> {
    let settings = &prepared.resolved.settings;
    let directory = match path {
        Some(path) => RunDirectory::open(path, Purpose::New)?,
        None => RunDirectory::make_under(Path::new(RUNS), &settings.optimizer.label, settings.seed, Utc::now())?,
    };
    directory.write(CONFIG, config_toml(settings).as_bytes())?;
    let origins = serde_json::to_string_pretty(&prepared.resolved.origins.to_json()).context("origins as JSON")?;
    directory.write("config.origin.json", origins.as_bytes())?;
    Ok((directory, record(prepared, trainer, groups, invocation)))
}

fn record(prepared: &Prepared, trainer: &Trainer, groups: &[GroupRow], invocation: &Invocation) -> Record {
    let settings = &prepared.resolved.settings;
    let asked = |kind: Kind, label: &str| {
        let keys = match kind {
            Kind::Optimizer => "optimizer.label",
            Kind::Projection => "projection",
            Kind::ArchOp => "schedule",
        };
        let main = kind == Kind::Optimizer
            && prepared.catalogue.get(kind, &settings.optimizer.label).is_some_and(|loaded| loaded.label == label);
        match main {
            true => (settings.optimizer.label.clone(), prepare::source(&prepared.resolved, keys)),
            false => (label.to_string(), if kind == Kind::Optimizer { "group".into() } else { keys.to_string() }),
        }
    };
    let labels = prepared.catalogue.iter().map(|loaded| {
        let (asked, source) = asked(loaded.kind, &loaded.label);
        LabelRecord {
            kind: loaded.kind.name().into(),
            asked,
            reported: loaded.descriptor.label.to_string(),
            source,
            library: loaded.library.path.display().to_string(),
            sha256: loaded.library.sha256.clone(),
            fingerprint: loaded.fingerprint().map(str::to_string),
        }
    });
    Record {
        status: Status::Running,
        argv: invocation.argv.clone(),
        versions: Versions::of_this_program(),
        registry: RegistryRecord {
            path: std::path::absolute(&prepared.registry.path)
                .unwrap_or_else(|_| prepared.registry.path.clone())
                .display()
                .to_string(),
            sha256: prepared.registry.sha256.clone(),
            lock: prepared.registry.lock_state().to_string(),
        },
        labels: labels.collect(),
        groups: groups.iter().map(GroupRecord::of).collect(),
        seed: settings.seed,
        device: crate::tensor::device::name(trainer.device()),
        format: config::choice::Choice::name(settings.format).to_string(),
        data: format!("{} sha256={}", trainer.corpus().description, trainer.corpus().sha256),
        started: Utc::now().rfc3339(),
        ended: None,
        resumed: Vec::new(),
        steps: settings.train.steps,
        steps_done: 0,
        result: None,
        parameter_hash: None,
        trajectory_hash: None,
        cost: None,
        exit_code: None,
        faults: Vec::new(),
        tags: settings.tags.clone(),
        trace: prepared.trace.clone(),
    }
}

/// What will be trained, before it is.
fn announce(prepared: &Prepared, trainer: &Trainer, groups: &[GroupRow], screen: &Screen) -> anyhow::Result<()> {
    let corpus = trainer.corpus();
    let sizes = trainer.model().settings();
    screen.line(&format!(
        "data: {}; {} training and {} validation tokens, vocabulary {}",
        corpus.description,
        corpus.train.len(),
        corpus.val.len(),
        corpus.tokenizer.vocab_size()
    ));
    screen.line(&format!(
        "model: {} layers, {} heads, width {}, context {}: {} parameters on {} in {}",
        sizes.n_layer,
        sizes.n_head,
        sizes.n_embd,
        sizes.block_size,
        trainer.model().parameter_count(),
        crate::tensor::device::name(trainer.device()),
        config::choice::Choice::name(prepared.resolved.settings.format),
    ));
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(groups::HEAD);
    for row in group_rows(groups) {
        table.add_row(row);
    }
    screen.line(&table.to_string());
    if !prepared.resolved.settings.schedule.is_empty() {
        let rows = trainer.forecast()?.iter().map(forecast::Stage::row).collect();
        screen.line(&format!("schedule:\n{}", stdout::table(&forecast::HEAD, rows).trim_end()));
    }
    Ok(())
}

/// Every operation of the run that was done or failed.
fn operation_table(history: &History) -> metrics::Table {
    let row =
        |one: &metrics::history::OperationPoint| vec![one.step.to_string(), one.name.clone(), one.outcome.clone()];
    let head = ["after step", "operation", "outcome"].map(String::from).to_vec();
    metrics::Table { head, rows: history.operations.iter().map(row).collect() }
}

fn group_rows(groups: &[GroupRow]) -> Vec<Vec<String>> {
    groups.iter().map(|group| GroupRecord::of(group).cells()).collect()
}

/// `lr` of the main optimizer after all sources, where its rule has one.
fn main_lr(prepared: &Prepared) -> Option<f64> {
    match prepared.resolved.settings.optimizer.hyper.get("lr") {
        Some(config::settings::HyperValue::Number(lr)) => Some(*lr),
        _ => None,
    }
}

/// Results, plots, report, sample; gives what people are shown.
fn finish(prepared: &Prepared, trainer: &Trainer, ledger: &mut Ledger, last: &Evaluation) -> Result<String, Fault> {
    let settings = &prepared.resolved.settings;
    let floor = trainer.corpus().floor_bpb;
    let best = trainer.progress().best.as_ref();
    ledger.record.result =
        Some(ResultRecord::new(last.loss, last.bpb, floor, best.map(|best| (best.step, best.val_loss()))));
    let history = History::read(ledger.directory.path())?;
    let (train_loss, val_loss) = (history.train_loss(), history.val_loss());
    let title = format!("{}, seed {}, {} steps", settings.optimizer.label, settings.seed, settings.train.steps);
    // the floor in the unit of the plot, nats per token
    let floor_loss = floor.map(|bpb| bpb * std::f64::consts::LN_2 * last.bytes as f64 / last.tokens as f64);
    let marks = history.marks();
    let plot = LossPlot { title: &title, train: &train_loss, val: &val_loss, floor: floor_loss, marks: &marks }.svg();
    if let Some(svg) = &plot {
        ledger.directory.write("plots/loss.svg", svg.as_bytes())?;
    }
    let sample = match settings.run.sample_tokens {
        0 => None,
        tokens => Some(generate(
            trainer.model(),
            &trainer.corpus().tokenizer,
            &Sampling { prompt: "\n", tokens, temperature: 0.8, top_k: None, seed: settings.seed },
        )?),
    };
    let results = results(trainer, ledger, last);
    let report = Report {
        title,
        results: results.clone(),
        plot,
        sample: sample.clone(),
        operations: operation_table(&history),
        groups: metrics::Table { head: groups::HEAD.map(String::from).to_vec(), rows: group_rows(&trainer.groups()) },
        settings: prepared
            .resolved
            .origins
            .iter()
            .map(|(key, origin)| {
                let value = origin.value.as_ref().map_or_else(|| "none".into(), ToString::to_string);
                [key.to_string(), value, origin.source.to_string()]
            })
            .collect(),
        facts: facts(&ledger.record),
        trace: prepared.trace.clone(),
    };
    ledger.directory.write("report.html", report.html().as_bytes())?;

    let mut text = format!("training loss, nats per token\n{}\n\n", terminal_plot(&train_loss, 72, 12));
    if let Some(sample) = sample {
        text.push_str(&format!("sample:\n{}\n\n", sample.trim_end()));
    }
    for (name, value) in results {
        text.push_str(&format!("{name:<16}{value}\n"));
    }
    Ok(text)
}

fn results(trainer: &Trainer, ledger: &Ledger, last: &Evaluation) -> Vec<(String, String)> {
    let mut rows = vec![
        ("run".to_string(), ledger.directory.path().display().to_string()),
        ("val_loss".to_string(), format!("{:.4} nats per token", last.loss)),
        ("val_bpb".to_string(), format!("{:.4}", last.bpb)),
    ];
    if let Some(floor) = trainer.corpus().floor_bpb {
        rows.push((
            "floor_bpb".to_string(),
            format!("{floor:.4} (what the generator of this text needs; no model can beat it)"),
        ));
    }
    if let Some(best) = &trainer.progress().best {
        rows.push(("best_val_loss".to_string(), format!("{:.4} after step {}", best.val_loss(), best.step)));
    }
    let record = &ledger.record;
    rows.extend(record.parameter_hash.clone().map(|hash| ("parameters".to_string(), hash)));
    rows.extend(record.trajectory_hash.clone().map(|hash| ("trajectory".to_string(), hash)));
    rows
}

fn facts(record: &Record) -> Vec<(String, String)> {
    let mut facts = vec![
        ("command".to_string(), record.argv.join(" ")),
        ("host".to_string(), record.versions.host.clone()),
        ("libtorch".to_string(), record.versions.libtorch.clone()),
        ("device".to_string(), record.device.clone()),
        ("data".to_string(), record.data.clone()),
        (
            "registry".to_string(),
            format!("{} sha256={} {}", record.registry.path, record.registry.sha256, record.registry.lock),
        ),
    ];
    for label in &record.labels {
        let text =
            format!("{} sha256={} rule={}", label.library, label.sha256, label.fingerprint.as_deref().unwrap_or("-"));
        facts.push((format!("{} {}", label.kind, label.reported), text));
    }
    facts
}
