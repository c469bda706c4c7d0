//! Trainers with one fault each, put where the gate expects `host`: the check meant for a fault finds it, and no other.
//!
//! This program is both: with a fault's name before the verb it is that trainer, and trains with the library under test;
//! without, it is the tests. The faults are not reachable in `host`.

mod support;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use host::{
    config::{Flags, Variables},
    fault::Exit,
    preflight::{self, GateRecord, Order, Program, Talk, Via},
    registry::{Kind, Registry},
};
use serde_json::{Value, json};
use support::Workshop;

/// A trainer's command line and environment, before the library sees them.
struct Start {
    args: Vec<String>,
    variables: Variables,
}

/// A way to be wrong.
struct Fault {
    name: &'static str,
    /// Breaks what the trainer was told.
    break_it: fn(&mut Start),
    /// Whether the record says what was asked for all the same.
    lies: bool,
    /// The check that must find it; none for a trainer without a fault.
    found_by: Option<(u8, &'static str)>,
}

const FAULTS: [Fault; 9] = [
    Fault { name: "sound", break_it: |_| {}, lies: false, found_by: None },
    Fault {
        name: "unknown-labels-are-adamw",
        break_it: |start| {
            if !start.knows(&start.variable("OPTIMIZER")) {
                start.set("OPTIMIZER", "adamw");
            }
        },
        lies: true,
        found_by: Some((3, "G003")),
    },
    Fault {
        name: "every-label-is-adamw",
        break_it: |start| {
            if start.knows(&start.variable("OPTIMIZER")) {
                start.set("OPTIMIZER", "adamw");
            }
        },
        lies: true,
        found_by: Some((2, "G002")),
    },
    Fault {
        name: "every-label-is-adamw-and-says-so",
        break_it: |start| {
            if start.knows(&start.variable("OPTIMIZER")) {
                start.set("OPTIMIZER", "adamw");
            }
        },
        lies: false,
        found_by: Some((2, "G008")),
    },
    Fault {
        name: "the-seed-is-dead",
        break_it: |start| start.set("SEED", "7"),
        lies: true,
        found_by: Some((1, "G001")),
    },
    Fault {
        name: "the-learning-rate-is-dead",
        break_it: |start| start.args.retain(|arg| !arg.starts_with("--lr")),
        lies: false,
        found_by: Some((5, "G005")),
    },
    Fault {
        name: "the-schedule-is-dead",
        break_it: |start| {
            let is_schedule = |arg: &String| arg.starts_with("lr_schedule.");
            while let Some(at) = start.args.iter().position(is_schedule) {
                start.args.drain(at - 1..=at);
            }
        },
        lies: false,
        found_by: Some((5, "G005")),
    },
    Fault {
        name: "no-two-runs-are-the-same",
        break_it: |start| {
            // Another seed in every run, and the same ones in every gate: what else the gate finds must not be chance.
            let run = start.after("--run-dir").unwrap_or_default();
            let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let of_run = name.bytes().fold(7_u64, |all, byte| (all * 31 + u64::from(byte)) % 9973);
            let seed = start.variable("SEED");
            start.set("SEED", &format!("{seed}{of_run}"));
        },
        lies: true,
        found_by: Some((4, "G004")),
    },
    Fault {
        name: "lion-never-learns",
        break_it: |start| {
            if start.variable("OPTIMIZER") == "lion" {
                let changed = start.args.iter().any(|arg| arg.starts_with("--lr"));
                start.args.retain(|arg| !arg.starts_with("--lr"));
                start.args.push(format!("--lr={}", if changed { 0.5 } else { 1.0 }));
            }
        },
        lies: false,
        found_by: Some((2, "G006")),
    },
];

impl Start {
    fn variable(&self, name: &str) -> String {
        self.variables
            .get(std::ffi::OsStr::new(name))
            .map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.into(), value.into());
    }

    fn after(&self, flag: &str) -> Option<PathBuf> {
        let at = self.args.iter().position(|arg| arg == flag)?;
        self.args.get(at + 1).map(PathBuf::from)
    }

    fn knows(&self, label: &str) -> bool {
        let registry = Registry::open(&self.after("--registry").expect("the gate names it")).unwrap();
        registry.entry(Kind::Optimizer, label).is_some()
    }
}

/// The trainer.
fn train(fault: &Fault, args: Vec<String>) -> Exit {
    let mut start = Start { args, variables: env::vars_os().collect() };
    let (label, seed) = (start.variable("OPTIMIZER"), start.variable("SEED"));
    let is_run = start.args.first().is_some_and(|verb| verb == "train");
    if is_run {
        (fault.break_it)(&mut start);
    }
    let args = std::iter::once("host".to_string()).chain(start.args.iter().cloned()).map(OsString::from);
    let exit = host::cli::main(args, start.variables.clone().into_iter());
    if let Some(folder) = start.after("--run-dir").filter(|_| is_run && fault.lies && exit == Exit::Ok) {
        say_what_was_asked(&folder.join("run.json"), &label, &seed);
    }
    exit
}

fn say_what_was_asked(path: &Path, label: &str, seed: &str) {
    let mut record: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    record["seed"] = json!(seed.parse::<u64>().unwrap());
    for one in record["labels"].as_array_mut().unwrap() {
        one["asked"] = json!(label);
        one["reported"] = json!(label);
    }
    fs::write(path, record.to_string()).unwrap();
}

/// A gate in this folder whose runs are this program with the word `leading` before the verb.
fn gate(shop: &Workshop, leading: &str, jobs: Option<usize>) -> Result<GateRecord, host::fault::Fault> {
    // long enough for every label to get away from where it began, also at a tenth of adamw's rate
    let config = shop.tiny_with(
        "fleet.toml",
        &[("steps = 12", "steps = 30"), ("[optimizer]", "[lr_schedule]\nwarmup_steps = 4\n\n[optimizer]")],
    );
    let variables: Variables = [("OMP_NUM_THREADS", "1")].map(|(name, value)| (name.into(), value.into())).into();
    let order = Order {
        program: Program { path: env::current_exe().unwrap(), leading: vec![leading.into()] },
        optimizers: ["adamw", "lion"].map(String::from).to_vec(),
        via: Via::Env,
        flags: Flags::default().with("config", config.to_str().unwrap()).unwrap(),
        registry: Some(support::registry()),
        plugin_dir: Some(support::plugins().to_path_buf()),
        variables,
        cwd: shop.path().to_path_buf(),
        jobs,
        limit: Duration::from_secs(120),
        keep_checkpoints: false,
        argv: Vec::new(),
    };
    let plan = preflight::plan(order).unwrap_or_else(|faults| panic!("{faults}"));
    let work = shop.path().join("work");
    fs::create_dir(&work).unwrap();
    let talk = Talk { line: &|_| {}, stop: &|| false };
    preflight::pass(&plan, &work, &talk)
}

/// What is wrong with what the gate made of a fault.
fn complaint(fault: &Fault) -> Option<String> {
    let record = gate(&Workshop::new(), fault.name, None).unwrap_or_else(|fault| panic!("{fault}"));
    let failing: Vec<u8> = record.checks.iter().filter(|check| !check.holds).map(|check| check.number).collect();
    let codes: Vec<&str> =
        record.checks.iter().flat_map(|check| check.failures.iter().map(|failure| failure.code)).collect();
    let as_expected = match fault.found_by {
        None => record.passed && failing.is_empty(),
        Some((number, code)) => !record.passed && failing == [number] && codes.contains(&code),
    };
    (!as_expected).then(|| format!("{:?} is expected; failing: {failing:?}\n{}", fault.found_by, record.faults()))
}

/// Stands before the verb of a trainer of which one run is in another's way, and one comes to no end.
const IN_THE_WAY: &str = "in-the-way";

/// That trainer. Where the folder for another run's log is taken, that run cannot be started.
fn in_the_way(args: Vec<String>) -> Exit {
    let start = Start { args, variables: env::vars_os().collect() };
    let run = start.after("--run-dir").unwrap_or_default();
    let beside = |name: &str| run.with_file_name(name);
    match run.file_name().and_then(|name| name.to_str()) {
        Some("adamw-s8") => fs::create_dir(beside("adamw-s9.log")).map_or(Exit::Bug, |()| Exit::Ok),
        Some("adamw-s7") => {
            std::thread::sleep(Duration::from_secs(60));
            fs::write(beside("late"), "").map_or(Exit::Bug, |()| Exit::Ok)
        }
        _ => {
            let args = std::iter::once("host".to_string()).chain(start.args).map(OsString::from);
            host::cli::main(args, start.variables.into_iter())
        }
    }
}

fn a_run_that_cannot_start_stops_the_others() -> Option<String> {
    let shop = Workshop::new();
    let fault = match gate(&shop, IN_THE_WAY, Some(2)) {
        Ok(record) => return Some(format!("a gate without all of its runs came to its end: {}", record.to_json())),
        Err(fault) => fault,
    };
    if fault.code != "E120" {
        return Some(format!("E120 is expected: {fault}"));
    }
    shop.path().join("work/late").exists().then(|| "a run went on to its end".to_string())
}

fn a_number_of_threads_is_no_filter() -> Option<String> {
    let tables: [(&[&str], Option<&str>); 4] = [
        (&["--test-threads", "1"], None),
        (&["--test-threads=1", "--nocapture"], None),
        (&["--test-threads", "1", "seed"], Some("seed")),
        (&["seed", "--skip", "lion"], Some("seed")),
    ];
    let wrong = tables.into_iter().find(|(args, expected)| {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        filter(&args) != *expected
    });
    wrong.map(|(args, expected)| format!("{args:?}: {expected:?} is expected"))
}

/// What a test of this program does.
enum Run {
    Gate(&'static Fault),
    Test(fn() -> Option<String>),
}

/// Tests that are no fault's.
type Test = (&'static str, fn() -> Option<String>);
const OTHERS: [Test; 2] = [
    ("a-run-that-cannot-start-stops-the-others", a_run_that_cannot_start_stops_the_others),
    ("a-number-of-threads-is-no-filter", a_number_of_threads_is_no_filter),
];

/// The filter on names in the arguments of cargo's own harness.
fn filter(args: &[String]) -> Option<&str> {
    const WITH_A_VALUE: [&str; 7] =
        ["--test-threads", "--skip", "--format", "--color", "--logfile", "--shuffle-seed", "-Z"];
    let is_value = |at: usize| at > 0 && WITH_A_VALUE.contains(&args[at - 1].as_str());
    (0..args.len()).find(|&at| !args[at].starts_with('-') && !is_value(at)).map(|at| args[at].as_str())
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    if let Some(fault) = FAULTS.iter().find(|fault| args.get(1).is_some_and(|arg| arg == fault.name)) {
        return ExitCode::from(train(fault, args[2..].to_vec()) as u8);
    }
    if args.get(1).is_some_and(|arg| arg == IN_THE_WAY) {
        return ExitCode::from(in_the_way(args[2..].to_vec()) as u8);
    }
    tests(&args[1..])
}

/// One test per fault, and the others; told as cargo's own harness does.
fn tests(args: &[String]) -> ExitCode {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let filter = filter(args);
    let chosen = |name: &str| !has("--ignored") && filter.is_none_or(|filter| name.contains(filter));
    let faults = FAULTS.iter().map(|fault| (fault.name, Run::Gate(fault)));
    let all: Vec<(&str, Run)> = faults.chain(OTHERS.map(|(name, test)| (name, Run::Test(test)))).collect();
    let count = all.len();
    let chosen: Vec<(&str, Run)> = all.into_iter().filter(|(name, _)| chosen(name)).collect();
    if has("--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let mut failed = 0;
    for (name, run) in &chosen {
        // a panic is a failure of its own test
        let complaint = std::panic::catch_unwind(|| match run {
            Run::Gate(fault) => complaint(fault),
            Run::Test(test) => test(),
        });
        let complaint = complaint.unwrap_or(Some("it panicked".into()));
        println!("test {name} ... {}", if complaint.is_none() { "ok" } else { "FAILED" });
        if let Some(text) = complaint {
            failed += 1;
            println!("{text}");
        }
    }
    let (result, passed) = (if failed == 0 { "ok" } else { "FAILED" }, chosen.len() - failed);
    let out = count - chosen.len();
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out\n");
    ExitCode::from(u8::from(failed > 0) * 101)
}
