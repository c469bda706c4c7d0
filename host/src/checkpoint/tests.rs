//! Crash-safety of checkpoints: what is killed, cut, flipped or full never takes the previous checkpoint along.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tch::{Kind, Tensor};

use super::{save::save_with, *};
use crate::{
    fault::{Exit, Fault},
    run::{Purpose, RunDirectory},
};

const KEEP: Keep = Keep { last: 2, best: false };

fn save(run: &RunDirectory, snapshot: &Snapshot, keep: Keep) -> Result<Saved, Fault> {
    super::save(run, snapshot, keep, &mut |_| Ok(()))
}

fn snapshot(step: u64) -> Snapshot {
    let values: Vec<f32> = (0..12).map(|i| i as f32 * 0.1 + step as f32).collect();
    let weight = Tensor::from_slice(&values);
    let state = json!({ "seed": u64::MAX, "best": 0.1 + step as f64, "trajectory": "00" });
    Snapshot {
        step,
        model: vec![
            ("w.weight".into(), weight.reshape([3, 4]).transpose(0, 1)),
            ("b.bias".into(), weight.to_kind(Kind::BFloat16)),
        ],
        optimizer: vec![("w.weight/exp_avg".into(), weight.to_kind(Kind::Double))],
        state: state.as_object().unwrap().clone(),
    }
}

fn run(root: &Path) -> RunDirectory {
    RunDirectory::open(root, Purpose::Auto).unwrap()
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Opens files until `whole` of them are written, then a device without space.
fn full_after(whole: usize) -> impl Fn(&Path) -> io::Result<File> {
    let opened = std::cell::Cell::new(0);
    move |path| {
        opened.set(opened.get() + 1);
        let file = File::create_new(path)?;
        if opened.get() <= whole { Ok(file) } else { File::options().write(true).open("/dev/full") }
    }
}

fn assert_same(a: &Snapshot, b: &Snapshot) {
    assert_eq!(a.step, b.step);
    assert_eq!(a.state, b.state);
    assert_eq!(parameter_hash(&a.model).unwrap(), parameter_hash(&b.model).unwrap());
    assert_eq!(parameter_hash(&a.optimizer).unwrap(), parameter_hash(&b.optimizer).unwrap());
}

#[test]
fn what_is_saved_is_loaded() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path());
    assert_eq!(latest(&run).unwrap(), None);
    let snapshot = snapshot(1234);
    let saved = save(&run, &snapshot, KEEP).unwrap();
    assert_eq!(saved.path, root.path().join("checkpoints/step-00001234"));
    assert_eq!(saved.parameter_hash, parameter_hash(&snapshot.model).unwrap());
    assert_eq!(latest(&run).unwrap(), Some(saved.path.clone()));
    assert_eq!(best(&run).unwrap(), None);
    assert_eq!(entries(&saved.path), ["hash", "model.safetensors", "optimizer.safetensors", "state.json"]);
    let loaded = load(&saved.path).unwrap();
    assert_same(&loaded, &snapshot);
    assert_eq!(loaded.model[0].0, "b.bias", "sorted by name");
    for path in [root.path().to_owned(), root.path().join("checkpoints"), saved.path.clone()] {
        assert_eq!(find(&path).unwrap(), saved.path);
    }
    assert_eq!(find(&root.path().join("elsewhere")).unwrap_err().code, "D203");
}

#[test]
fn the_hash_is_announced_before_the_checkpoint_stands() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path());
    let mut announced = None;
    let saved = super::save(&run, &snapshot(5), KEEP, &mut |hash| {
        assert_eq!(latest(&run).unwrap(), None);
        announced = Some(hash.to_owned());
        Ok(())
    });
    assert_eq!(announced, Some(saved.unwrap().parameter_hash));
    let refused =
        super::save(&run, &snapshot(6), KEEP, &mut |_| Err(Fault::new("D105", Exit::Data, "the disk is full")));
    assert_eq!(refused.unwrap_err().code, "D105");
    assert_eq!(entries(&run.checkpoints()), ["latest", "step-00000005"], "and nothing half written");
}

#[test]
fn nothing_to_save_is_saved_too() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path());
    let empty = Snapshot { step: 0, model: snapshot(0).model, optimizer: Vec::new(), state: serde_json::Map::new() };
    let saved = save(&run, &empty, KEEP).unwrap();
    assert_same(&load(&saved.path).unwrap(), &empty);
}

#[test]
fn the_same_snapshot_gives_the_same_files() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut reversed = snapshot(7);
    reversed.model.reverse();
    let one = save(&run(one.path()), &snapshot(7), KEEP).unwrap();
    let hash = fs::read_to_string(one.path.join("hash")).unwrap();
    let other = save(&run(other.path()), &reversed, KEEP).unwrap();
    assert_eq!(fs::read_to_string(other.path.join("hash")).unwrap(), hash);
}

#[test]
fn the_last_and_the_best_stay() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path());
    for step in [10, 20, 30, 40] {
        let saved = save(&run, &snapshot(step), Keep { last: 2, best: step == 10 }).unwrap();
        assert_eq!(saved.pruned.len(), usize::from(step == 40));
    }
    assert_eq!(entries(&run.checkpoints()), ["best", "latest", "step-00000010", "step-00000030", "step-00000040"]);
    assert_eq!(best(&run).unwrap(), Some(run.checkpoints().join("step-00000010")));
    assert_eq!(latest(&run).unwrap(), Some(run.checkpoints().join("step-00000040")));
}

#[test]
fn a_step_saved_again_replaces_itself() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path());
    save(&run, &snapshot(10), KEEP).unwrap();
    let mut other = snapshot(10);
    other.state.insert("elapsed".into(), 7.into());
    let saved = save(&run, &other, KEEP).unwrap();
    assert_same(&load(&saved.path).unwrap(), &other);
    assert_eq!(entries(&run.checkpoints()), ["latest", "step-00000010"]);
}

#[test]
fn a_full_disk_leaves_the_previous_checkpoint() {
    for whole in 0..4 {
        let root = tempfile::tempdir().unwrap();
        let run = run(root.path());
        let before = save(&run, &snapshot(10), KEEP).unwrap();
        for step in [10, 20] {
            let fault = save_with(&run, &snapshot(step), KEEP, &mut |_| Ok(()), &full_after(whole)).unwrap_err();
            assert_eq!((fault.code, fault.exit), ("D105", Exit::Data));
            assert_eq!(fault.message, "the disk is full");
            assert_eq!(entries(&run.checkpoints()), ["latest", "step-00000010"], "after {whole} files");
            assert_eq!(latest(&run).unwrap(), Some(before.path.clone()));
            assert_same(&load(&before.path).unwrap(), &snapshot(10));
        }
    }
}

#[test]
fn killed_while_writing_leaves_a_folder_that_the_next_start_clears() {
    let root = tempfile::tempdir().unwrap();
    let first = run(root.path());
    let saved = save(&first, &snapshot(10), KEEP).unwrap();
    drop(first);
    let half = root.path().join("checkpoints/.tmp-step-00000020");
    fs::create_dir(&half).unwrap();
    fs::write(half.join(MODEL), "half").unwrap();
    let second = run(root.path());
    assert_eq!(entries(&second.checkpoints()), ["latest", "step-00000010"]);
    assert_eq!(latest(&second).unwrap(), Some(saved.path));
}

#[test]
fn killed_while_replacing_brings_the_old_one_back() {
    let root = tempfile::tempdir().unwrap();
    let first = run(root.path());
    let saved = save(&first, &snapshot(10), KEEP).unwrap();
    drop(first);
    fs::rename(&saved.path, root.path().join("checkpoints/.old-step-00000010")).unwrap();
    let second = run(root.path());
    assert_same(&load(&latest(&second).unwrap().unwrap()).unwrap(), &snapshot(10));
}

#[test]
fn killed_before_the_first_was_named_still_finds_it() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path());
    let saved = save(&run, &snapshot(10), KEEP).unwrap();
    fs::remove_file(run.checkpoints().join("latest")).unwrap();
    assert_eq!(latest(&run).unwrap(), Some(saved.path));
}

#[test]
fn a_pointer_to_nothing_is_named() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path());
    save(&run, &snapshot(10), KEEP).unwrap();
    for text in ["step-00000099\n", "step-1\n", "../step-00000010\n", ""] {
        fs::write(run.checkpoints().join("latest"), text).unwrap();
        let fault = latest(&run).unwrap_err();
        assert_eq!((fault.code, fault.exit), ("D203", Exit::Data), "{text}");
        assert!(fault.hint.unwrap().contains("step-00000010"), "{text}");
    }
}

type Damage = fn(&Path, &str) -> PathBuf;

fn flipped(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    file
}

fn cut(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    file
}

fn missing(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    fs::remove_file(&file).unwrap();
    file
}

#[test]
fn every_damage_is_found_named_and_the_one_before_offered() {
    let cases: [(&str, Damage, &str); 3] =
        [("flipped", flipped, "D201"), ("cut", cut, "D201"), ("missing", missing, "D202")];
    for (what, damage, code) in cases {
        for name in ["model.safetensors", "optimizer.safetensors", "state.json", "hash"] {
            let root = tempfile::tempdir().unwrap();
            let run = run(root.path());
            let before = save(&run, &snapshot(10), KEEP).unwrap();
            let newer = save(&run, &snapshot(20), KEEP).unwrap();
            let place = damage(&newer.path, name);
            let fault = load(&latest(&run).unwrap().unwrap()).unwrap_err();
            assert_eq!((fault.code, fault.exit), (code, Exit::Data), "{what} {name}: {fault}");
            // A flip in the list of hashes shows at the file it belongs to.
            if name != "hash" {
                assert_eq!(fault.place.as_deref(), place.to_str(), "{what}: {fault}");
            }
            if code == "D201" && name != "hash" {
                for note in ["wanted", "found"] {
                    assert!(fault.notes.iter().any(|(n, text)| *n == note && text.len() == 64), "{fault}");
                }
            }
            let hint = fault.hint.unwrap();
            assert!(hint.contains(before.path.to_str().unwrap()), "{what} {name}: {hint}");

            damage(&before.path, name);
            let hint = load(&newer.path).unwrap_err().hint.unwrap();
            assert!(!hint.contains(before.path.to_str().unwrap()), "a damaged one is not offered: {hint}");
        }
    }
}

#[test]
fn every_byte_of_the_hashes_counts() {
    let root = tempfile::tempdir().unwrap();
    let saved = save(&run(root.path()), &snapshot(10), KEEP).unwrap();
    let file = saved.path.join("hash");
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_eq!(load(&saved.path).unwrap_err().code, "D201", "byte {at}");
    }
}

/// Every hash fits, and still it is not this step's state.
#[test]
fn a_checkpoint_under_another_name_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let run = run(root.path());
    let saved = save(&run, &snapshot(10), KEEP).unwrap();
    let moved = run.checkpoints().join("step-00000011");
    fs::rename(&saved.path, &moved).unwrap();
    assert_eq!(load(&moved).unwrap_err().code, "D201");
    let elsewhere = root.path().join("exported");
    fs::rename(&moved, &elsewhere).unwrap();
    assert_same(&load(&elsewhere).unwrap(), &snapshot(10));
}

#[test]
fn names_of_folders() {
    for (name, step) in [
        ("step-00000000", Some(0)),
        ("step-00001234", Some(1234)),
        ("step-123456789", Some(123_456_789)),
        ("step-1234", None),
        ("step-+0001234", None),
        ("step-0123456789", None),
        (".tmp-step-00001234", None),
        ("latest", None),
    ] {
        assert_eq!(step_of(name), step, "{name}");
    }
}

const CHILD: &str = "HOST_TEST_CHECKPOINTS";

#[test]
#[ignore = "runs as a child of the test below"]
fn child_saves_until_killed() {
    let root = PathBuf::from(std::env::var(CHILD).unwrap());
    let run = run(&root);
    let done = latest(&run).unwrap().map_or(0, |path| load(&path).unwrap().step);
    for step in done + 1.. {
        save(&run, &snapshot(step), Keep { last: 2, best: step % 3 == 0 }).unwrap();
        // Saved again with other contents, so that a replacement is interrupted too.
        let mut again = snapshot(step);
        again.state.insert("again".into(), true.into());
        save(&run, &again, KEEP).unwrap();
    }
}

/// A real process, really killed, at whatever it was doing; meanwhile nobody else can open its run.
#[test]
fn killed_at_any_moment_the_last_checkpoint_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let checkpoints = root.path().join("checkpoints");
    let mut last = 0;
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoint::tests::child_saves_until_killed", "--ignored"])
            .env(CHILD, root.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !pointer::steps(&checkpoints).is_ok_and(|steps| steps.last().is_some_and(|&step| step > last + 2)) {
            assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        let fault = RunDirectory::open(root.path(), Purpose::Auto).unwrap_err();
        assert_eq!(fault.code, "D103");
        assert!(fault.notes.contains(&("process", child.id().to_string())), "{fault}");
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();

        let run = run(root.path());
        let loaded = load(&latest(&run).unwrap().unwrap()).unwrap();
        let mut expected = snapshot(loaded.step);
        if loaded.state.contains_key("again") {
            expected.state.insert("again".into(), true.into());
        }
        assert_same(&loaded, &expected);
        assert!(entries(&checkpoints).iter().all(|name| !name.starts_with('.')), "{:?}", entries(&checkpoints));
        assert!(loaded.step > last);
        last = loaded.step;
    }
}
