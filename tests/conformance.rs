//! `host plugin check`: bad plugins fail exactly their own check, whatever they do to the process; all labels of all
//! plugins of this repository pass.

mod support;

use std::{collections::BTreeSet, process::Command, time::Instant};

use host::registry::{Kind, Registry};
use serde_json::Value;
use support::{library, plugins, registry};

/// The findings about a library, and the exit code.
fn check(library: &std::path::Path, more: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["plugin", "check"])
        .arg(library)
        .arg("--json")
        .arg("--registry")
        .arg(registry())
        .arg("--plugin-dir")
        .arg(plugins())
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["passed"] == true, output.status.code() == Some(0), "{report:#}");
    (report["findings"].as_array().unwrap().clone(), output.status.code())
}

fn is_bad(finding: &Value) -> bool {
    finding["verdict"] == "failed" || finding["verdict"] == "crashed"
}

/// `label level check verdict` of what is bad.
fn bad(findings: &[Value]) -> Vec<String> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_string();
    let bad = findings.iter().filter(|finding| is_bad(finding));
    bad.map(|f| format!("{} {} {} {}", text(f, "label"), f["level"], text(f, "check"), text(f, "verdict"))).collect()
}

fn details(findings: &[Value]) -> String {
    findings.iter().filter(|finding| is_bad(finding)).map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn every_bad_plugin_fails_its_own_check_alone() {
    let (findings, code) = check(&library("misbehaves"), &["--time-limit", "15"]);
    let expected = [
        "aborts 3 repeats crashed",
        "blends 4 own elements failed",
        "boasts 1 words failed",
        "climbs 5 problems failed",
        "couples 4 properties failed",
        "creeps 2 lr = 0 failed",
        "dozes 4 properties failed",
        "excuses 1 words failed",
        "exits 3 repeats crashed",
        "hangs 3 repeats crashed",
        "ignores 4 hyper-parameters failed",
        "leans 4 properties failed",
        "looks-back 2 lr = 0 failed",
        "misdeclares 4 degrees failed",
        "panics-in-pass 3 repeats crashed",
        "panics-late 3 repeats crashed",
        "pretends 6 expression failed",
        "swells 4 properties failed",
        "worries 4 own elements failed",
    ];
    assert_eq!(bad(&findings), expected, "{}", details(&findings));
    assert_eq!(code, Some(6));
    let said = |label: &str, words: &str| {
        let found = findings.iter().find(|finding| finding["label"] == label && is_bad(finding)).unwrap();
        assert!(found.to_string().contains(words), "{found} says `{words}`");
    };
    said("aborts", "signal 6 (abort)");
    said("exits", "exit code 0");
    said("hangs", "within 15 s");
    said("panics-late", "panicked: a long tensor");
    said("panics-in-pass", "panicked: a large matrix");
    said("looks-back", "a pass put a result in its place");
    said("ignores", "eps");
    said("misdeclares", "buffer");
    said("leans", "sign symmetric");
    said("couples", "the state differs");
    said("dozes", "no step moves a parameter");
    said("swells", "gradient scale invariant");
    said("blends", "buffer");
    said("worries", "buffer");
    said("creeps", "seed\":11");

    let table = [
        ("overruns", vec!["overruns 3 stays inside failed"]),
        ("twin", vec!["lion-twin 7 fingerprint failed"]),
        ("future", vec!["* 1 loads failed"]),
        ("future_major", vec!["* 1 loads failed"]),
        ("links_libtorch", vec!["* 1 loads failed"]),
    ];
    for (name, expected) in table {
        let (findings, code) = check(&library(name), &[]);
        assert_eq!((bad(&findings), code), (expected.iter().map(|s| s.to_string()).collect(), Some(6)), "{name}");
    }
}

#[test]
fn every_label_of_every_plugin_passes() {
    let registry = Registry::open(&registry()).unwrap().with_plugin_dir(plugins());
    let started = Instant::now();
    let mut passed = BTreeSet::new();
    let mut failures = String::new();
    for plugin in registry.plugins() {
        if registry.entries(Kind::Optimizer).all(|entry| entry.plugin != plugin.id) {
            continue;
        }
        let (findings, _) = check(&registry.library_path(plugin), &["--time-limit", "120"]);
        failures += &details(&findings);
        // Levels 1 to 3 are never skipped.
        for finding in &findings {
            let early = finding["level"].as_u64().is_some_and(|level| level <= 3);
            assert!(!(early && finding["verdict"] == "skipped"), "{finding}");
            passed.insert((finding["label"].as_str().unwrap().to_string(), finding["level"].as_u64().unwrap()));
        }
    }
    println!("{} labels and levels in {:.0} s", passed.len(), started.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{failures}");
    for label in registry.labels(Kind::Optimizer) {
        assert!((1..=7).all(|level| passed.contains(&(label.to_string(), level))), "{label} ran every level");
    }
}

#[test]
fn what_is_not_there_is_an_error_and_no_findings_are_no_pass() {
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_host")).args(args).output().unwrap();
    let missing = run(&["plugin", "check", "no-such-library.so"]);
    assert_eq!(missing.status.code(), Some(4));
    let lion = library("sign").display().to_string();
    let unknown = run(&["plugin", "check", &lion, "--label", "lionn"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", String::from_utf8_lossy(&unknown.stderr));
    let arch = library("arch_ops").display().to_string();
    assert_eq!(run(&["plugin", "check", &arch]).status.code(), Some(6), "a library without optimizers");
    let inspected = run(&["plugin", "inspect", &lion, "--json"]);
    assert!(String::from_utf8_lossy(&inspected.stdout).contains("\"lion\""));
}
