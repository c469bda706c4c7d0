//! Runs that something happens to: a full disk, a kill, a damaged checkpoint, a folder that cannot be written, a second
//! process. What was there before stays whole, the message says what to do, and doing it ends at the same bits.

mod support;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use support::{
    Finished, Workshop,
    faulty_disk::{self, Does},
    registry,
};

/// Of `short.toml`: what every change of the disk that belongs to a checkpoint has in its path.
const CHECKPOINTS: &str = "run/checkpoints";

/// A workshop with `short.toml`: six steps, a checkpoint every other one, of which the last and the best are kept.
fn workshop() -> Workshop {
    let shop = Workshop::new();
    shop.tiny_with(
        "short.toml",
        &[
            ("steps = 12", "steps = 6"),
            ("eval_every = 4", "eval_every = 2"),
            ("checkpoint_every = 4", "checkpoint_every = 2\nkeep_last = 1"),
        ],
    );
    shop
}

fn train(run: &str) -> [&str; 5] {
    ["train", "--config", "short.toml", "--run-dir", run]
}

/// Writes a registry beside the configuration, so that none need be named; the libraries stay where they are.
fn own_registry(shop: &Workshop) {
    let text = fs::read_to_string(registry()).unwrap();
    shop.write("registry.toml", format!("plugin-dir = {:?}\n{text}", support::plugins()));
}

/// The parameter hash of a run that nothing happened to.
fn uninterrupted(shop: &Workshop) -> String {
    shop.run(&train("whole"), &[]).expect(0);
    shop.hash("whole")
}

/// Goes on with `run`, and looks whether it ends like the run that nothing happened to.
#[track_caller]
fn resumes(shop: &Workshop, run: &str, whole: &str, what: &str) {
    let finished = shop.run(&["resume", run], &[]);
    assert_eq!(finished.code, Some(0), "{what}: {}", finished.stderr);
    assert_eq!(shop.hash(run), whole, "{what}");
    let unfinished = leftovers(&shop.path().join(run));
    assert!(unfinished.is_empty(), "{what}: {unfinished:?}");
    let log = fs::read_to_string(shop.path().join(run).join("log.jsonl")).unwrap();
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{what}: log.jsonl: {line}");
    }
}

/// Names of unfinished files and folders below a run directory.
fn leftovers(run: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for folder in [run.to_path_buf(), run.join("checkpoints"), run.join("plots")] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        found.extend(names.filter(|name| name.starts_with(".tmp-") || name.starts_with(".old-") || name == "writable"));
    }
    found
}

/// Runs a case for each of these on two threads, as each spends most of its time alone.
fn in_pairs<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for half in [0, 1] {
            let check = &check;
            scope.spawn(move || cases.iter().skip(half).step_by(2).for_each(check));
        }
    });
}

/// Moments of a run's changes to its checkpoints, every `step`th from one that nobody chose: all are met in time, and a
/// failure names its own.
fn moments(shop: &Workshop, step: usize) -> Vec<(usize, String)> {
    let changes = faulty_disk::changes(shop, &train("run"), CHECKPOINTS);
    assert!(changes.len() > 60, "three checkpoints are more than {} changes", changes.len());
    fs::remove_dir_all(shop.path().join("run")).unwrap();
    let first = random(0) as usize % step;
    changes.into_iter().enumerate().map(|(index, change)| (index + 1, change)).skip(first).step_by(step).collect()
}

/// A number that differs from run to run.
fn random(round: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    (now ^ round ^ u64::from(std::process::id())).wrapping_mul(6_364_136_223_846_793_005) >> 40
}

#[test]
fn a_disk_that_is_full_at_any_moment_of_a_checkpoint_leaves_the_one_before() {
    let shop = workshop();
    let whole = uninterrupted(&shop);
    let moments = moments(&shop, 17);
    in_pairs(&moments, |(at, change)| {
        let shop = workshop();
        let what = format!("full at change {at}, {change}");
        let finished = faulty_disk::run(&shop, &train("run"), CHECKPOINTS, *at, Does::Full);
        let names_only = ["rename", "unlink", "rmdir", "truncate"].iter().any(|call| change.starts_with(call));
        if names_only && finished.code == Some(0) {
            // The last changes need no room.
            return assert_eq!(shop.hash("run"), whole, "{what}");
        }
        assert_eq!(finished.code, Some(8), "{what}: {}", finished.stderr);
        finished.says(&["error[D105]: the disk is full", "No space left on device", "hint: free some space"]);
        assert_eq!(shop.record("run")["status"], "failed", "{what}");
        let left = leftovers(&shop.path().join("run"));
        assert!(left.is_empty(), "{what}: {left:?}");
        resumes(&shop, "run", &whole, &what);
    });
}

#[test]
fn a_kill_at_any_moment_of_a_checkpoint_costs_no_bit() {
    let shop = workshop();
    let whole = uninterrupted(&shop);
    let moments = moments(&shop, 9);
    in_pairs(&moments, |(at, change)| {
        let shop = workshop();
        let what = format!("killed at change {at}, {change}");
        let finished = faulty_disk::run(&shop, &train("run"), CHECKPOINTS, *at, Does::Kill);
        assert_eq!(finished.code, None, "{what}: it was not killed: {}", finished.stderr);
        resumes(&shop, "run", &whole, &what);
    });
}

/// The metrics, the log and the events are appended to: half a line is dropped when the run goes on.
#[test]
fn a_kill_in_the_middle_of_a_line_costs_no_line() {
    let shop = workshop();
    let whole = uninterrupted(&shop);
    let cases = [("run/metrics.jsonl", 4), ("run/log.jsonl", 3), ("run/events.out", 5), ("run/run.json", 1)];
    in_pairs(&cases, |(file, at)| {
        let shop = workshop();
        let finished = faulty_disk::run(&shop, &train("run"), file, *at, Does::Kill);
        assert_eq!(finished.code, None, "{file}: it was not killed: {}", finished.stderr);
        if !shop.path().join("run/run.json").exists() {
            // Killed before there was a run: it begins again.
            shop.run(&["resume", "run"], &[]).expect(8).says(&["error[D203]", "hint:"]);
            shop.run(&[&train("run")[..], &["--resume"]].concat(), &[]).expect(0);
            return assert_eq!(shop.hash("run"), whole, "{file}");
        }
        resumes(&shop, "run", &whole, file);
        let steps: Vec<u64> = shop
            .metrics("run")
            .iter()
            .filter(|line| line["kind"] == "train")
            .filter_map(|l| l["step"].as_u64())
            .collect();
        assert_eq!(steps, (1..=6).collect::<Vec<_>>(), "{file}: every step is in the metrics once");
    });
}

/// A real kill, from outside, at moments that nobody chose.
#[test]
fn a_kill_from_outside_at_random_moments_costs_no_bit() {
    let shop = workshop();
    let slow = [("checkpoint_every = 2", "checkpoint_every = 1")];
    let text = fs::read_to_string(shop.path().join("short.toml")).unwrap();
    shop.write("short.toml", text.replace(slow[0].0, slow[0].1).replace("steps = 6", "steps = 40"));
    let whole = uninterrupted(&shop);
    let mut child = shop.spawn(&train("run"));
    let mut kills = 0;
    for round in 0..40u64 {
        // Wait for the run's own marks, so that most kills fall where checkpoints are made.
        let patience = Instant::now() + Duration::from_secs(60);
        let count = || fs::read_to_string(shop.path().join("run/metrics.jsonl")).map_or(0, |text| text.lines().count());
        let before = count();
        while count() < before + 3 && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < patience, "the run stands still");
            thread::sleep(Duration::from_micros(300));
        }
        thread::sleep(Duration::from_micros(random(round) % 6000));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.signal().is_none() {
            assert_eq!(status.code(), Some(0), "it was not killed and did not finish");
            break;
        }
        kills += 1;
        child = shop.spawn(&["resume", "run"]);
        if kills == 6 {
            assert_eq!(child.wait().unwrap().code(), Some(0));
            break;
        }
    }
    assert!(kills > 0, "no kill came in time");
    assert_eq!(shop.hash("run"), whole, "after {kills} kills");
    assert!(leftovers(&shop.path().join("run")).is_empty());
}

/// A file of a checkpoint, what happened to it, and what is said.
const DAMAGE: [(&str, &str, &[&str]); 8] = [
    ("model.safetensors", "flip", &["error[D201]", "wanted: ", "found: "]),
    ("model.safetensors", "cut", &["error[D201]", "wanted: ", "found: "]),
    ("model.safetensors", "empty", &["error[D201]", "wanted: ", "found: "]),
    ("model.safetensors", "gone", &["error[D202]"]),
    ("optimizer.safetensors", "cut", &["error[D201]", "wanted: ", "found: "]),
    ("state.json", "flip", &["error[D201]", "wanted: ", "found: "]),
    ("hash", "cut", &["error[D201]", "reason: "]),
    ("hash", "gone", &["error[D202]"]),
];

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_offered_and_works() {
    let shop = workshop();
    let whole = uninterrupted(&shop);
    let short = fs::read_to_string(shop.path().join("short.toml")).unwrap();
    in_pairs(&DAMAGE, |(name, how, said)| {
        let what = format!("{name} {how}");
        let shop = Workshop::new();
        shop.write("short.toml", short.replace("keep_last = 1", "keep_last = 3"));
        shop.run(&train("run"), &[]).expect(0);
        let file = shop.path().join("run/checkpoints/step-00000006").join(name);
        let mut bytes = fs::read(&file).unwrap();
        match *how {
            "flip" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&file, bytes).unwrap();
            }
            "cut" => fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
            "empty" => fs::write(&file, []).unwrap(),
            _ => fs::remove_file(&file).unwrap(),
        }
        let finished = shop.run(&["resume", "run"], &[]);
        assert_eq!(finished.code, Some(8), "{what}: {}", finished.stderr);
        let finished = finished.says(said).says(&[&format!("step-00000006/{name}"), "hint: "]);
        let offered = command_of(&finished);
        assert_eq!(offered, ["resume", "run/checkpoints/step-00000004"], "{what}");
        shop.run(&offered, &[]).expect(0);
        assert_eq!(shop.hash("run"), whole, "{what}");
        // What was damaged is made anew on the way.
        shop.run(&["sample", "run", "--tokens", "5"], &[]).expect(0);
    });
}

/// The arguments of the command that a hint offers in backquotes, without the program.
#[track_caller]
fn command_of(finished: &Finished) -> Vec<String> {
    let hint = finished.stderr.lines().rfind(|line| line.trim_start().starts_with("hint:")).expect("a hint");
    let command = hint.split('`').find_map(|text| text.strip_prefix("host ")).unwrap_or_else(|| panic!("{hint}"));
    command.split_whitespace().map(str::to_string).collect()
}

#[test]
fn damaged_pointers_and_records_have_a_way_out_that_works() {
    let shop = workshop();
    let whole = uninterrupted(&shop);
    let spoiled = |name: &str| {
        let _ = fs::remove_dir_all(shop.path().join("run"));
        shop.run(&train("run"), &[]).expect(0);
        shop.write(&format!("run/{name}"), "step-0000");
        shop.run(&["resume", "run"], &[])
    };

    let finished = spoiled("checkpoints/latest").expect(8).says(&["error[D203]", "`latest`"]);
    shop.run(&command_of(&finished), &[]).expect(0);
    assert_eq!(shop.hash("run"), whole);

    spoiled("checkpoints/best").expect(8).says(&["error[D203]", "`best`", "hint:", "`rm run/checkpoints/best`"]);
    fs::remove_file(shop.path().join("run/checkpoints/best")).unwrap();
    shop.run(&["resume", "run"], &[]).expect(0);

    own_registry(&shop);
    spoiled("run.json").expect(8).says(&["error[D106]", "run/run.json", "hint:", "`--registry FILE`"]);
    shop.run(&["resume", "run", "--registry", "registry.toml"], &[]).expect(0).says(&["the run record is damaged"]);
    assert_eq!(shop.hash("run"), whole);
}

#[test]
fn a_checkpoint_is_found_from_inside_its_folder() {
    let shop = workshop();
    shop.run(&train("run"), &[]).expect(0);
    for (folder, path) in [("run/checkpoints", "step-00000006"), ("run", "checkpoints/step-00000006"), ("run", ".")] {
        for verb in ["resume", "sample"] {
            let output = shop.command(&[verb, path], &[]).current_dir(shop.path().join(folder)).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{verb} {path} in {folder}: {said}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_for_root_too() {
    let shop = workshop();
    shop.run(&train("run"), &[]).expect(0);
    let before = shop.listing();
    for place in ["text.txt/run", "text.txt", "/proc/run", "/dev/null"] {
        let finished = shop.run(&train(place), &[]);
        assert_eq!(finished.code, Some(8), "{place}: {}", finished.stderr);
        finished.says(&["error[D10", place, "hint:"]);
    }
    assert_eq!(shop.listing(), before);

    // A disk that lets nothing be changed: a run that would begin, one that would go on, one that reads.
    let refused = |args: &[&str]| {
        let finished = faulty_disk::run(&shop, args, shop.path().to_str().unwrap(), 1, Does::ReadOnly);
        finished.expect(8).says(&["error[D105]: cannot write here", "Read-only file system", "hint: make it writable"]);
    };
    let absolute = |name: &str| shop.path().join(name).display().to_string();
    refused(&train(&absolute("new/run")));
    refused(&["resume", &absolute("run")]);
    faulty_disk::run(&shop, &["sample", "run", "--tokens", "5"], "run", 1, Does::ReadOnly).expect(0);
    assert_eq!(shop.listing(), before);
}

#[test]
fn a_disk_that_becomes_read_only_in_the_middle_ends_the_run_with_what_it_had() {
    let shop = workshop();
    let whole = uninterrupted(&shop);
    let moments = moments(&shop, 37);
    in_pairs(&moments, |(at, change)| {
        let shop = workshop();
        let what = format!("read-only at change {at}, {change}");
        let finished = faulty_disk::run(&shop, &train("run"), CHECKPOINTS, *at, Does::ReadOnly);
        assert_eq!(finished.code, Some(8), "{what}: {}", finished.stderr);
        finished.says(&["error[D105]: cannot write here", "hint:"]);
        resumes(&shop, "run", &whole, &what);
    });
}

/// A limit on the size of files is an error of the write, not the end by a signal.
#[test]
fn a_file_that_may_not_grow_is_told() {
    let shop = workshop();
    let whole = uninterrupted(&shop);
    let program = shop.command(&train("run"), &[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 60; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    let output = limited.current_dir(shop.path()).env("OMP_NUM_THREADS", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("error[D105]: a file is larger than the system allows"), "{said}");
    assert!(said.contains("ulimit -f"), "{said}");
    assert!(leftovers(&shop.path().join("run")).is_empty());
    resumes(&shop, "run", &whole, "after the limit");
}

/// The same with file systems of the kernel, where this user may mount some: in a name space of its own.
#[test]
fn a_file_system_that_is_really_full_or_read_only() {
    let probe = Command::new("unshare").args(["-rm", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        let why = probe.map_or_else(|error| error.to_string(), |out| String::from_utf8_lossy(&out.stderr).into_owned());
        eprintln!("skipped: this user may mount nothing here: {}", why.trim());
        return;
    }
    let shop = workshop();
    let whole = uninterrupted(&shop);
    let script = "set -u
        mkdir disk && mount -t tmpfs -o size=400k tmpfs disk || exit 99
        \"$HOST\" train --config short.toml --run-dir disk/run --set run.keep_last=9 2>full.txt
        echo $? >full.code
        ls -A disk/run disk/run/checkpoints >full.list
        mount -o remount,size=64m disk || exit 99
        \"$HOST\" resume disk/run 2>resumed.txt
        echo $? >resumed.code
        mount -o remount,ro disk || exit 99
        \"$HOST\" resume disk/run 2>readonly.txt
        echo $? >readonly.code
        \"$HOST\" train --config short.toml --run-dir disk/other 2>other.txt
        echo $? >other.code
        cp -r disk/run run";
    own_registry(&shop);
    let mut shell = Command::new("unshare");
    shell.args(["-rm", "sh", "-c", script]).current_dir(shop.path());
    shell.env("HOST", env!("CARGO_BIN_EXE_host")).env("OMP_NUM_THREADS", "1");
    let output = shell.output().unwrap();
    let read = |name: &str| fs::read_to_string(shop.path().join(name)).unwrap_or_default();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stderr), read("full.txt"));
    assert_eq!(read("full.code").trim(), "8", "{}", read("full.txt"));
    assert!(read("full.txt").contains("error[D105]: the disk is full"), "{}", read("full.txt"));
    assert!(!read("full.list").contains(".tmp-") && read("full.list").contains("step-"), "{}", read("full.list"));
    assert_eq!(read("resumed.code").trim(), "0", "{}", read("resumed.txt"));
    assert_eq!(shop.hash("run"), whole);
    for name in ["readonly", "other"] {
        assert_eq!(read(&format!("{name}.code")).trim(), "8");
        let said = read(&format!("{name}.txt"));
        assert!(said.contains("error[D105]: cannot write here") && said.contains("hint:"), "{said}");
    }
}

#[test]
fn a_second_process_is_told_who_holds_the_run() {
    let shop = workshop();
    let text = fs::read_to_string(shop.path().join("short.toml")).unwrap();
    shop.write("long.toml", text.replace("steps = 6", "steps = 100000"));
    let mut first = shop.spawn(&["train", "--config", "long.toml", "--run-dir", "run"]);
    let patience = Instant::now() + Duration::from_secs(60);
    while !shop.path().join("run/checkpoints/latest").exists() {
        assert!(Instant::now() < patience && first.try_wait().unwrap().is_none(), "no checkpoint came");
        thread::sleep(Duration::from_millis(2));
    }
    let holder = format!("process: {}", first.id());
    let train = ["train", "--config", "long.toml", "--run-dir", "run"];
    for args in [&train[..], &["resume", "run"], &[&train[..], &["--resume"]].concat(), &["resume", "run/checkpoints"]]
    {
        shop.run(args, &[]).expect(8).says(&["error[D103]", &holder, "hint: wait for it to end"]);
    }
    // Reading does not need the lock, and the first was not disturbed.
    assert!(first.try_wait().unwrap().is_none());
    first.kill().unwrap();
    first.wait().unwrap();
    shop.run(&train, &[]).expect(8).says(&["error[D101]", "--resume"]);
}
