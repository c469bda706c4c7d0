//! `run.json`: what ran, from what, how far, and how it ended.
//! Does not measure or decide anything; the training loop fills it in.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{clock::Utc, cost::Cost, directory::RunDirectory, groups::GroupRecord};
use crate::{
    fault::{Exit, Fault},
    metrics::digits::{Digits, bits},
};

/// Name of the file in the run directory.
pub const FILE: &str = "run.json";

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It trains, or its process died without a word.
    Running,
    /// All steps are done.
    Finished,
    /// Stopped on request; it can be resumed.
    Stopped,
    /// Ended by a fault.
    Failed,
}

/// What ran, from what, how far, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// How far it has come.
    pub status: Status,
    /// The command line, program first.
    pub argv: Vec<String>,
    /// Versions of what computed it.
    pub versions: Versions,
    /// The registry it was resolved with.
    pub registry: RegistryRecord,
    /// Every label that runs: optimizers, projections, arch-ops.
    pub labels: Vec<LabelRecord>,
    /// Parameter groups as they were dealt out. Versions before it was kept wrote none, here and in `cost`.
    #[serde(default)]
    pub groups: Vec<GroupRecord>,
    /// Decides initial weights, batches and dropout.
    pub seed: u64,
    /// Where tensors live, as used: `cpu`, `cuda:0`.
    pub device: String,
    /// Element type of the parameters.
    pub format: String,
    /// What was read, with its hash.
    pub data: String,
    /// RFC 3339, UTC.
    pub started: String,
    /// RFC 3339, UTC; none while it runs.
    pub ended: Option<String>,
    /// Every later start of the same run.
    pub resumed: Vec<Resumption>,
    /// Steps wanted.
    pub steps: u64,
    /// Steps done and recorded so far.
    pub steps_done: u64,
    /// The last evaluation, over the whole validation text.
    pub result: Option<ResultRecord>,
    /// Of the parameters at `steps_done`.
    pub parameter_hash: Option<String>,
    /// Over step, loss and gradient norm of every step so far.
    pub trajectory_hash: Option<String>,
    /// What it took; none until it ends.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// What the process ended with; none while it runs.
    pub exit_code: Option<u8>,
    /// What went wrong, where something did.
    pub faults: Vec<String>,
    /// Recorded, not interpreted.
    pub tags: BTreeMap<String, String>,
    /// The line that said what every knob is and where it came from.
    pub trace: String,
}

/// Versions of what computed a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Of this program.
    pub host: String,
    /// Of the sdk it was built with.
    pub sdk: String,
    /// Of the libtorch it runs on.
    pub libtorch: String,
    /// Of the compiler it was built with.
    pub rustc: String,
}

impl Versions {
    /// Those of this process.
    pub fn of_this_program() -> Versions {
        Versions {
            host: env!("CARGO_PKG_VERSION").into(),
            sdk: sdk::VERSION.into(),
            libtorch: env!("HOST_LIBTORCH_VERSION").into(),
            rustc: env!("HOST_RUSTC_VERSION").into(),
        }
    }
}

/// The registry a run was resolved with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRecord {
    /// Where it is.
    pub path: String,
    /// Of the file.
    pub sha256: String,
    /// `locked`, or `unlocked` where no lock was there to enforce.
    pub lock: String,
}

/// One label that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRecord {
    /// `optimizer`, `projection` or `arch-op`.
    pub kind: String,
    /// As it was asked for.
    pub asked: String,
    /// As the loaded plugin reports it about itself.
    pub reported: String,
    /// Where the label came from.
    pub source: String,
    /// The library that holds it.
    pub library: String,
    /// Of that library.
    pub sha256: String,
    /// Of the rule.
    pub fingerprint: Option<String>,
}

/// A later start of the same run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    /// RFC 3339, UTC.
    pub time: String,
    /// The checkpoint's step.
    pub step: u64,
    /// The command line, program first.
    pub argv: Vec<String>,
}

/// The last evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Nats per token.
    pub val_loss: Digits,
    /// Its bits.
    pub val_loss_bits: String,
    /// Bits per byte.
    pub val_bpb: Digits,
    /// Its bits.
    pub val_bpb_bits: String,
    /// Bits per byte that no model can beat, where that is known.
    pub floor_bpb: Option<Digits>,
    /// Lowest loss of all evaluations, an extra column that is not the result.
    pub best_val_loss: Option<Digits>,
    /// The step after which it was seen.
    pub best_step: Option<u64>,
}

impl ResultRecord {
    /// From the numbers.
    pub fn new(val_loss: f64, val_bpb: f64, floor_bpb: Option<f64>, best: Option<(u64, f64)>) -> ResultRecord {
        ResultRecord {
            val_loss: Digits(val_loss),
            val_loss_bits: bits(val_loss),
            val_bpb: Digits(val_bpb),
            val_bpb_bits: bits(val_bpb),
            floor_bpb: floor_bpb.map(Digits),
            best_val_loss: best.map(|(_, loss)| Digits(loss)),
            best_step: best.map(|(step, _)| step),
        }
    }
}

impl Record {
    /// Replaces `run.json` in one step.
    ///
    /// # Errors
    /// D105 it cannot be written; the one before stays.
    pub fn write(&self, run: &RunDirectory) -> Result<(), Fault> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| {
            Fault::new("D106", Exit::Data, "the run record cannot be written").note("reason", error.to_string())
        })?;
        text.push('\n');
        run.write(FILE, text.as_bytes()).map(drop)
    }

    /// Reads `run.json` of the run directory `folder`.
    ///
    /// # Errors
    /// D107 it is not there · D106 it is not what this program wrote.
    pub fn read(folder: &Path) -> Result<Record, Fault> {
        let path = folder.join(FILE);
        let place = path.display().to_string();
        let text = fs::read(&path).map_err(|error| {
            Fault::new("D107", Exit::Data, "the run record cannot be read")
                .at(place.clone())
                .note("system", error.to_string())
                .hint("give the folder of a run, which holds run.json; `--registry FILE` goes on without it")
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            Fault::new("D106", Exit::Data, "the run record is damaged")
                .at(place)
                .note("reason", error.to_string())
                .hint("the checkpoints beside it do not depend on it: `host resume` with `--registry FILE` begins it anew")
        })
    }

    /// Notes that it goes on from a checkpoint's step.
    pub fn resume(&mut self, step: u64, argv: Vec<String>) {
        self.resumed.push(Resumption { time: Utc::now().rfc3339(), step, argv });
        self.status = Status::Running;
        self.steps_done = step;
        self.ended = None;
        self.exit_code = None;
        self.result = None;
        self.parameter_hash = None;
        self.trajectory_hash = None;
        self.cost = None;
        self.faults.clear();
    }

    /// Notes how it ended; the status follows from the exit code.
    pub fn end(&mut self, exit: Exit) {
        self.status = match exit {
            Exit::Ok => Status::Finished,
            Exit::Stopped => Status::Stopped,
            _ => Status::Failed,
        };
        self.exit_code = Some(exit as u8);
        self.ended = Some(Utc::now().rfc3339());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Purpose, groups::HyperRecord};

    fn record() -> Record {
        Record {
            status: Status::Running,
            argv: vec!["host".into(), "train".into()],
            versions: Versions { host: "0.1.0".into(), sdk: "0.1.0".into(), libtorch: "2".into(), rustc: "1".into() },
            registry: RegistryRecord { path: "registry.toml".into(), sha256: "00".into(), lock: "unlocked".into() },
            labels: vec![LabelRecord {
                kind: "optimizer".into(),
                asked: "Lion".into(),
                reported: "lion".into(),
                source: "flag".into(),
                library: "libsign.so".into(),
                sha256: "00".into(),
                fingerprint: Some("00".into()),
            }],
            groups: vec![GroupRecord {
                takes: "*".into(),
                optimizer: "lion".into(),
                tensors: 2,
                parameters: 12,
                state_bytes: 48,
                state_format: None,
                hyper: vec![HyperRecord { name: "lr".into(), value: "0.1".into(), source: "flag".into() }],
            }],
            seed: u64::MAX,
            device: "cpu".into(),
            format: "f32".into(),
            data: "synthetic".into(),
            started: Utc::now().rfc3339(),
            ended: None,
            resumed: Vec::new(),
            steps: 10,
            steps_done: 0,
            result: Some(ResultRecord::new(0.1, f64::NAN, Some(1.5), None)),
            parameter_hash: None,
            trajectory_hash: None,
            cost: Some(Cost {
                threads: 2,
                milliseconds_per_step: Some(Digits(1.5)),
                state_bytes: 48,
                peak_memory_bytes: Some(4096),
                peak_device_bytes: None,
            }),
            exit_code: None,
            faults: Vec::new(),
            tags: BTreeMap::from([("lane".into(), "7".into())]),
            trace: "[entrypoint-trace] seed=(1, src=default)".into(),
        }
    }

    #[test]
    fn written_read_and_written_the_same() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(root.path(), Purpose::New).unwrap();
        record().write(&run).unwrap();
        let text = fs::read_to_string(root.path().join(FILE)).unwrap();
        assert!(text.contains("\"val_loss\": 1.0000000000000001e-1"), "{text}");
        assert!(text.contains("\"val_loss_bits\": \"3fb999999999999a\""), "{text}");
        assert!(text.contains("\"val_bpb\": null"), "{text}");
        let read = Record::read(root.path()).unwrap();
        assert_eq!(read.seed, u64::MAX);
        read.write(&run).unwrap();
        assert_eq!(fs::read_to_string(root.path().join(FILE)).unwrap(), text);
    }

    #[test]
    fn the_status_follows_from_the_exit_code() {
        for (exit, status) in [
            (Exit::Ok, Status::Finished),
            (Exit::Stopped, Status::Stopped),
            (Exit::Diverged, Status::Failed),
            (Exit::Bug, Status::Failed),
        ] {
            let mut record = record();
            record.end(exit);
            assert_eq!((record.status, record.exit_code), (status, Some(exit as u8)));
            assert!(record.ended.is_some());
            (record.trajectory_hash, record.parameter_hash) = (Some("00".into()), Some("00".into()));
            record.resume(4, vec!["host".into(), "resume".into()]);
            assert_eq!((&record.trajectory_hash, &record.parameter_hash), (&None, &None), "they are of a later step");
            assert_eq!((record.status, record.steps_done, record.exit_code), (Status::Running, 4, None));
            assert_eq!(record.resumed.len(), 1);
        }
    }

    #[test]
    fn a_record_of_a_version_without_groups_and_cost_is_read() {
        let root = tempfile::tempdir().unwrap();
        let mut json = serde_json::to_value(record()).unwrap();
        for name in ["groups", "cost"] {
            assert!(json.as_object_mut().unwrap().remove(name).is_some(), "{name}");
        }
        fs::write(root.path().join(FILE), json.to_string()).unwrap();
        let read = Record::read(root.path()).unwrap();
        assert_eq!((read.groups, read.cost), (Vec::new(), None));
    }

    #[test]
    fn a_missing_or_damaged_record_is_named() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(root.path()).unwrap_err().code, "D107");
        fs::write(root.path().join(FILE), "{\"status\": \"run").unwrap();
        let fault = Record::read(root.path()).unwrap_err();
        assert_eq!((fault.code, fault.exit), ("D106", Exit::Data));
    }
}
