//! `host compare` as a user sees it: what is averaged, what is tested, what is warned of, and what is refused.

mod support;

use std::{fs, path::Path};

use serde_json::Value;
use support::{Workshop, library};

fn json(shop: &Workshop, args: &[&str]) -> Value {
    let all: Vec<&str> = ["compare"].iter().chain(args).chain(&["--json"]).copied().collect();
    serde_json::from_str(&shop.run(&all, &[]).expect(0).stdout).unwrap()
}

fn text(shop: &Workshop, args: &[&str]) -> String {
    let all: Vec<&str> = ["compare"].iter().chain(args).copied().collect();
    shop.run(&all, &[]).expect(0).stdout
}

fn arm<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let arms = answer["arms"].as_array().unwrap();
    arms.iter().find(|arm| arm["arm"] == name).unwrap_or_else(|| panic!("no arm `{name}` in {arms:#?}"))
}

/// Texts of all remarks about something, with their weight.
fn remarks(answer: &Value, about: &str) -> Vec<String> {
    let all = answer["remarks"].as_array().unwrap().iter().filter(|remark| remark["about"] == about);
    all.map(|remark| format!("{}: {}", remark["weight"].as_str().unwrap(), remark["text"].as_str().unwrap())).collect()
}

fn bpb(shop: &Workshop, run: &str) -> f64 {
    shop.record(run)["result"]["val_bpb"].as_f64().unwrap()
}

fn train_seeds(shop: &Workshop, folder: &str, seeds: &[&str], more: &[&str]) -> Vec<String> {
    let run = |seed: &&str| {
        let run = format!("{folder}-s{seed}");
        let args: Vec<&str> = more.iter().chain(&["--seed", seed]).copied().collect();
        shop.train(&run, &args).expect(0);
        run
    };
    seeds.iter().map(run).collect()
}

/// Replaces text in a file; it must be there.
fn edit(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(old), "{} has no `{old}`", path.display());
    fs::write(path, text.replace(old, new)).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["run.json", "config.toml", "config.origin.json", "metrics.jsonl"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn seeds_are_averaged_and_arms_are_tested_in_pairs() {
    let shop = Workshop::new();
    let seeds = ["1", "2", "3"];
    let adamw = train_seeds(&shop, "runs/adamw", &seeds, &[]);
    let lion = train_seeds(&shop, "runs/lion", &seeds, &["--optimizer", "lion", "--lr", "1e-3"]);
    let answer = json(&shop, &["runs"]);

    for (name, runs) in [("adamw", &adamw), ("lion", &lion)] {
        let values: Vec<f64> = runs.iter().map(|run| bpb(&shop, run)).collect();
        let mean = values.iter().sum::<f64>() / 3.0;
        let std = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
        let found = arm(&answer, name);
        assert_eq!(found["bpb"]["n"], 3);
        assert!((found["bpb"]["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
        assert!((found["bpb"]["std"].as_f64().unwrap() - std).abs() < 1e-12);
        assert_eq!(
            (&found["to_target"]["reached"], &found["to_target"]["of"]),
            (&3.into(), &3.into()),
            "by default all do"
        );
        assert!(found["milliseconds_per_step"]["mean"].as_f64().unwrap() > 0.0);
        assert!(found["peak_memory_bytes"].as_u64().unwrap() > 10 << 20);
        let groups = shop.record(&runs[0])["groups"].as_array().unwrap().clone();
        let state: u64 = groups.iter().map(|group| group["state_bytes"].as_u64().unwrap()).sum();
        assert_eq!(found["state_bytes"], state);
    }
    let (one, other) = (arm(&answer, "adamw")["state_bytes"].as_u64(), arm(&answer, "lion")["state_bytes"].as_u64());
    assert_eq!(one, other.map(|bytes| 2 * bytes), "two moments and one");
    let origins = &arm(&answer, "lion")["knobs"];
    assert_eq!(origins["optimizer.label"][0], serde_json::json!({ "value": "lion", "origin": "flag" }));
    assert_eq!(origins["optimizer.lr"][0], serde_json::json!({ "value": "0.001", "origin": "flag" }));
    let told = arm(&answer, "adamw")["knobs"]["optimizer.lr"][0]["origin"].as_str().unwrap().to_string();
    assert!(told.starts_with("file:tiny.toml:"), "{told}");

    // Three pairs by hand; Student's t with two degrees of freedom has a closed form.
    let differences: Vec<f64> = adamw.iter().zip(&lion).map(|(a, b)| bpb(&shop, a) - bpb(&shop, b)).collect();
    let mean = differences.iter().sum::<f64>() / 3.0;
    let std = (differences.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let t = mean / (std / 3.0_f64.sqrt());
    let p = 1.0 - t.abs() / (t * t + 2.0).sqrt();
    let test = &answer["tests"][0];
    assert_eq!(test["pairs"], 3);
    let sign = if test["arm"] == "adamw" { 1.0 } else { -1.0 };
    assert!((test["difference"].as_f64().unwrap() - sign * mean).abs() < 1e-12);
    assert!((test["p"].as_f64().unwrap() - p).abs() < 1e-9);
    assert_eq!(test["p"], test["p_holm"], "one test needs no correction");
    assert_eq!(test["significant"], p < 0.05);
    assert_eq!(answer["remarks"], serde_json::json!([]), "nothing to warn of");

    let table = text(&shop, &["runs"]);
    let best = answer["arms"][0]["arm"].as_str().unwrap();
    let row =
        |label: &str| table.find(&format!("\n {label} ")).unwrap_or_else(|| panic!("no row of {label} in\n{table}"));
    assert!(row(best) < row(if best == "lion" { "adamw" } else { "lion" }), "{table}");
    let verdict = if p < 0.05 { "is lower" } else { "not significant" };
    for part in ["final BPB", "optimizer.label", "p (Holm)", verdict] {
        assert!(table.contains(part), "no `{part}` in\n{table}");
    }
}

#[test]
fn hashes_stand_at_every_checkpoint_and_at_the_end() {
    let shop = Workshop::new();
    shop.train("run", &[]).expect(0);
    let lines: Vec<Value> = shop.metrics("run").into_iter().filter(|line| line["kind"] == "hash").collect();
    let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [4, 8, 12]);
    let record = shop.record("run");
    for hash in ["parameter_hash", "trajectory_hash"] {
        assert_eq!(lines[2][hash], record[hash]);
        assert_ne!(lines[1][hash], record[hash]);
    }
}

#[test]
fn two_labels_that_are_one_rule_never_separate() {
    let shop = Workshop::new();
    let (lion, twin) = (library("sign").display().to_string(), library("twin").display().to_string());
    shop.write(
        "registry.toml",
        format!(
            "[plugins]\nlion = {lion:?}\ntwin = {twin:?}\n\n[[optimizer]]\nlabel = \"lion\"\nplugin = \"lion\"\n\n\
             [[optimizer]]\nlabel = \"lion-twin\"\nplugin = \"twin\"\nsame_rule_as = \"lion\"\n"
        ),
    );
    for label in ["lion", "lion-twin"] {
        train_seeds(&shop, &format!("runs/{label}"), &["1", "2"], &["--optimizer", label, "--lr", "1e-3"]);
    }
    let answer = json(&shop, &["runs"]);
    let warnings = remarks(&answer, "identity");
    assert_eq!(warnings.len(), 1, "one remark for both seeds: {warnings:#?}");
    for part in ["warning: ", "`lion` and `lion-twin` never separate", "12 steps", "seed 1, seed 2", "parameter hash"] {
        assert!(warnings[0].contains(part), "no `{part}` in {}", warnings[0]);
    }
    assert_eq!(answer["remarks"][0]["parting"], "never");
    assert_eq!(answer["tests"][0]["verdict"], "equal in every pair");
    assert!(
        text(&shop, &["runs"]).starts_with("warning: `lion` and `lion-twin` never separate"),
        "warnings come first"
    );
    shop.run(&["compare", "runs", "--json"], &[]).expect(0).says(&["warning: `lion`"]);
}

#[test]
fn the_step_at_which_arms_separate_is_named() {
    let shop = Workshop::new();
    for fraction in ["0.25", "0.5"] {
        let set = format!("lr_schedule.decay_fraction={fraction}");
        let wsd = ["--set", "lr_schedule.kind=wsd", "--set", "lr_schedule.warmup_steps=0", "--set", &set];
        shop.train(&format!("runs/{fraction}"), &wsd).expect(0);
    }
    let bits = |run: &str| -> Vec<(Value, Value)> {
        let steps = shop.metrics(run).into_iter().filter(|line| line["kind"] == "train");
        steps.map(|line| (line["loss_bits"].clone(), line["grad_norm_bits"].clone())).collect()
    };
    let (one, other) = (bits("runs/0.25"), bits("runs/0.5"));
    let parting = 1 + (0..12).find(|&at| one[at] != other[at]).unwrap();
    assert!(parting > 4, "the decay begins in the second half: {parting}");
    let answer = json(&shop, &["runs"]);
    let notes = remarks(&answer, "identity");
    assert_eq!(notes.len(), 1, "{notes:#?}");
    assert!(notes[0].starts_with("note: "), "the ends differ: {}", notes[0]);
    assert!(notes[0].contains(&format!("steps 1 to {} and separate at step {parting}", parting - 1)), "{}", notes[0]);
    assert_eq!(answer["remarks"][0]["parting"], parting);
    assert_eq!(answer["differing"], serde_json::json!(["lr_schedule.decay_fraction"]));
    assert!(answer["arms"][0]["arm"].as_str().unwrap().starts_with("adamw lr_schedule.decay_fraction=0."));
    assert_eq!(answer["tests"][0]["verdict"], "not enough seeds");
}

#[test]
fn a_seed_that_does_nothing_is_noticed() {
    let shop = Workshop::new();
    shop.train("runs/a", &[]).expect(0);
    copy(&shop.path().join("runs/a"), &shop.path().join("runs/b"));
    edit(&shop.path().join("runs/b/run.json"), "\"seed\": 7", "\"seed\": 8");
    let warnings = remarks(&json(&shop, &["runs"]), "seed");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("warning: seeds 7 and 8 of `adamw` never separate"), "{}", warnings[0]);
}

#[test]
fn a_run_counts_once_however_often_it_is_given() {
    let shop = Workshop::new();
    train_seeds(&shop, "runs/a", &["1", "2"], &[]);
    let alone = json(&shop, &["runs"]);
    let twice = json(&shop, &["runs", "runs/a-s1", "./runs/../runs/a-s2"]);
    assert_eq!(twice["arms"], alone["arms"]);
    assert_eq!(remarks(&twice, "twice").len(), 2, "{twice:#}");
    assert_eq!(remarks(&alone, "one arm").len(), 1);

    copy(&shop.path().join("runs/a-s1"), &shop.path().join("copy"));
    let copied = json(&shop, &["runs", "copy"]);
    assert_eq!(copied["arms"][0]["bpb"], alone["arms"][0]["bpb"], "a copy is no further seed");
    let repeats = remarks(&copied, "repeat");
    assert!(repeats.len() == 1 && repeats[0].contains("counts once"), "{repeats:?}");
}

#[test]
fn what_cannot_be_read_is_refused_all_at_once() {
    let shop = Workshop::new();
    shop.train("good", &[]).expect(0);
    let good = shop.path().join("good");
    for name in ["cut", "changed", "untold", "unrecorded"] {
        copy(&good, &shop.path().join(name));
    }
    fs::create_dir(shop.path().join("empty")).unwrap();
    let metrics = fs::read_to_string(good.join("metrics.jsonl")).unwrap();
    let third = metrics.lines().nth(2).unwrap();
    edit(&shop.path().join("cut/metrics.jsonl"), third, &third[..20]);
    edit(&shop.path().join("changed/metrics.jsonl"), &format!("{third}\n"), "");
    fs::remove_file(shop.path().join("untold/config.origin.json")).unwrap();
    fs::write(shop.path().join("unrecorded/run.json"), "{").unwrap();
    let all = ["compare", "good", "missing", "empty", "cut", "changed", "untold", "unrecorded"];
    let finished = shop.run(&all, &[]).expect(8);
    finished.says(&[
        "error[D320]: there is no run\n  --> missing",
        "error[D320]: a folder without a run\n  --> empty",
        "error[D301]: a line of the metrics is damaged\n  --> cut/metrics.jsonl:3",
        "error[D321]",
        "--> changed",
        "error[D322]",
        "untold/config.origin.json",
        "error[D106]",
        "--> unrecorded/run.json",
        "hint:",
    ]);
    shop.run(&["compare"], &[]).expect(2).says(&["RUN"]);
    shop.run(&["compare", "good", "--target", "nan"], &[]).expect(2).says(&["--target"]);
    let nowhere = shop.run(&["compare", "good", "--html", "no/such/page.html"], &[]).expect(8);
    nowhere.says(&["error[D324]", "no/such/page.html", "hint:"]);
}

#[test]
fn a_record_that_its_metrics_do_not_bear_out_is_refused() {
    let shop = Workshop::new();
    shop.train("good", &[]).expect(0);
    let (good, metrics) = (shop.path().join("good"), shop.metrics("good"));
    let line = |kind: &str| {
        let last = metrics.iter().rfind(|line| line["kind"] == kind).unwrap();
        let text = fs::read_to_string(good.join("metrics.jsonl")).unwrap();
        text.lines().rfind(|text| serde_json::from_str::<Value>(text).unwrap() == *last).unwrap().to_string() + "\n"
    };
    let record = |key: &str| match key {
        "val_bpb_bits" | "val_loss_bits" => shop.record("good")["result"][key].as_str().unwrap().to_string(),
        key => shop.record("good")[key].as_str().unwrap().to_string(),
    };
    let other = |text: &str| format!("{}{}", &text[..text.len() - 1], if text.ends_with('0') { '1' } else { '0' });
    // file, what is in it, what is put there, what is named
    let bits = |key: &str| ("run.json", record(key), other(&record(key)));
    let rows = [
        (bits("val_bpb_bits"), "val_bpb_bits: recorded"),
        (bits("val_loss_bits"), "val_loss_bits: recorded"),
        (bits("parameter_hash"), "parameter hash: recorded"),
        (bits("trajectory_hash"), "trajectory hash: recorded"),
        (
            ("run.json", format!("\"{}\"", record("trajectory_hash")), "null".into()),
            "trajectory hash: recorded nothing",
        ),
        (("metrics.jsonl", line("eval"), String::new()), "val_bpb_bits: recorded"),
        (("metrics.jsonl", line("hash"), String::new()), "parameter hash: recorded"),
    ];
    for ((file, old, new), says) in rows {
        copy(&good, &shop.path().join("changed"));
        edit(&shop.path().join("changed").join(file), &old, &new);
        shop.run(&["compare", "good", "changed"], &[]).expect(8).says(&["error[D321]", "--> changed", says, "hint:"]);
    }
}

#[test]
fn a_page_replaces_a_page_and_nothing_else() {
    let shop = Workshop::new();
    shop.train("runs/a", &[]).expect(0);
    shop.write("notes.html", "<!DOCTYPE html>\n<html>");
    std::os::unix::fs::symlink(shop.path().join("runs/a"), shop.path().join("link")).unwrap();
    let files = || -> Vec<(std::path::PathBuf, Option<Vec<u8>>)> {
        shop.listing().into_iter().map(|path| (path.clone(), fs::read(path).ok())).collect()
    };
    let before = files();
    for (place, says) in [
        ("runs/a/run.json", "is a run directory"),
        ("runs/a/page.html", "is a run directory"),
        ("link/page.html", "is a run directory"),
        ("notes.html", "no page of a comparison"),
        ("text.txt", "no page of a comparison"),
        ("link", "no page of a comparison"),
    ] {
        let finished = shop.run(&["compare", "runs", "--html", place], &[]).expect(8);
        finished.says(&["error[D324]", says, place, "hint:"]);
        assert_eq!(files(), before, "{place}");
    }
    for _ in 0..2 {
        shop.run(&["compare", "runs", "--html", "page.html"], &[]).expect(0);
    }
}

#[test]
fn other_texts_are_refused_and_other_budgets_are_said() {
    let shop = Workshop::new();
    let short = train_seeds(&shop, "runs/short", &["1", "2"], &["--steps", "6"]);
    train_seeds(&shop, "runs/long", &["1", "2"], &[]);
    let answer = json(&shop, &["runs"]);
    let budgets = remarks(&answer, "budget");
    assert!(budgets.len() == 1 && budgets[0].starts_with("warning: "), "{budgets:?}");
    assert!(
        budgets[0].contains("6 steps, 384 tokens") && budgets[0].contains("12 steps, 768 tokens"),
        "{}",
        budgets[0]
    );
    assert_eq!(answer["tests"][0]["verdict"], "not tested: other budgets");
    assert_eq!(answer["tests"][0]["p"], Value::Null);
    let meant = json(&shop, &["runs", "--by", "steps"]);
    assert!(remarks(&meant, "budget").is_empty());
    assert_eq!(meant["tests"][0]["pairs"], 2, "asked for, it is tested");
    let mut names: Vec<&str> =
        meant["arms"].as_array().unwrap().iter().map(|arm| arm["arm"].as_str().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["steps=12", "steps=6"]);

    shop.write("text.txt", support::text(6000).replace('a', "b"));
    shop.train("other", &[]).expect(0);
    let refused = shop.run(&["compare", &short[0], &short[1], "other"], &[]).expect(6);
    refused.says(&["error[D323]", "runs/short-s1, runs/short-s2: sha256=", "other: sha256=", "hint:"]);
    let split = ["--set", "data.val_fraction=0.2"];
    shop.train("split", &split).expect(0);
    shop.run(&["compare", "other", "split"], &[]).expect(6).says(&["last 0.1 validates", "last 0.2 validates"]);
}

/// Trains with a schedule in a file of its own.
fn train_scheduled(shop: &Workshop, run: &str, schedule: &str, more: &[&str]) {
    let file = format!("{}.toml", run.replace('/', "-"));
    shop.write(&file, schedule);
    shop.train(run, &[&["--schedule", &file], more].concat()).expect(0);
}

#[test]
fn runs_whose_batches_grew_have_another_budget() {
    let shop = Workshop::new();
    for seed in ["1", "2"] {
        shop.train(&format!("runs/even-s{seed}"), &["--seed", seed]).expect(0);
        let schedule = "[[schedule]]\nname = \"set_batch_size\"\nvalue = 8\nmax_wait_steps = 3\n";
        train_scheduled(&shop, &format!("runs/grown-s{seed}"), schedule, &["--seed", seed]);
    }
    let answer = json(&shop, &["runs"]);
    assert_eq!(answer["tests"][0]["verdict"], "not tested: other budgets");
    let budgets = remarks(&answer, "budget");
    assert!(
        budgets.len() == 1
            && budgets[0].contains("12 steps, 768 tokens")
            && budgets[0].contains("12 steps, 1344 tokens"),
        "{budgets:?}"
    );
}

#[test]
fn a_schedule_is_its_operations_and_evaluations_count_where_one_waits_for_a_loss() {
    let shop = Workshop::new();
    let operation = |trigger: &str, note: &str| {
        format!("[[schedule]]\nname = \"change_lr\"\nvalue = 0.5\n{trigger}\nnote = \"{note}\"\n")
    };
    let (steps, loss) = ("max_wait_steps = 3", "trigger_loss = 100");
    let inline = operation(steps, "as meant");
    shop.tiny_with("inline.toml", &[("[optimizer]", &format!("{inline}\n[optimizer]"))]);
    shop.run(&["train", "--config", "inline.toml", "--run-dir", "steps/a", "--seed", "1"], &[]).expect(0);
    train_scheduled(&shop, "steps/b", &operation(steps, "copied"), &["--seed", "2", "--eval-every", "3"]);
    let one = json(&shop, &["steps"]);
    assert_eq!(arm(&one, "adamw")["bpb"]["n"], 2, "{one:#}");
    let notes = remarks(&one, "evaluations");
    assert!(notes.len() == 1 && notes[0].contains("note: ") && notes[0].contains("train.eval_every=3|4"), "{notes:?}");

    train_scheduled(&shop, "loss/a", &operation(loss, "as meant"), &["--seed", "1"]);
    train_scheduled(&shop, "loss/b", &operation(loss, "copied"), &["--seed", "1", "--eval-every", "3"]);
    let two = json(&shop, &["loss"]);
    assert_eq!(two["arms"].as_array().unwrap().len(), 2);
    assert_eq!(two["differing"], serde_json::json!(["train.eval_every"]));
    assert!(remarks(&two, "evaluations").is_empty());
}

#[test]
fn runs_without_a_result_are_shown_and_in_no_mean() {
    let shop = Workshop::new();
    train_seeds(&shop, "runs/wild", &["1"], &["--optimizer", "sgdm", "--lr", "0.1"]);
    shop.train("runs/calm", &[]).expect(0);
    copy(&shop.path().join("runs/wild-s1"), &shop.path().join("runs/dead-s2"));
    let dead = shop.path().join("runs/dead-s2/run.json");
    for (old, new) in
        [("\"finished\"", "\"failed\""), ("\"seed\": 1", "\"seed\": 2"), ("\"exit_code\": 0", "\"exit_code\": 7")]
    {
        edit(&dead, old, new);
    }
    edit(&dead, "\"faults\": []", "\"faults\": [\"error[N001]: the training loss is NaN\\n  hint: lower\"]");
    let answer = json(&shop, &["runs"]);
    let wild = arm(&answer, "sgdm");
    assert_eq!((&wild["bpb"]["n"], &wild["seeds"]), (&1.into(), &2.into()));
    assert_eq!(wild["bpb"]["mean"].as_f64(), Some(bpb(&shop, "runs/wild-s1")));
    assert_eq!(
        (&wild["to_target"]["reached"], &wild["to_target"]["steps"]),
        (&1.into(), &Value::Null),
        "no mean of some"
    );
    let open = remarks(&answer, "unfinished");
    assert_eq!(open.len(), 1);
    for part in ["warning: `sgdm`: 1 of 2 runs", "runs/dead-s2", "failed after step 12 of 12 with exit code 7", "N001"]
    {
        assert!(open[0].contains(part), "no `{part}` in {}", open[0]);
    }
    let table = text(&shop, &["runs"]);
    assert!(table.contains("1 of 2") && !table.contains("hint: lower"), "{table}");
}

#[test]
fn arms_by_one_knob_are_paired_by_the_others() {
    let shop = Workshop::new();
    for label in ["adamw", "lion"] {
        for lr in ["1e-3", "1e-2"] {
            train_seeds(&shop, &format!("runs/{label}-{lr}"), &["1"], &["--optimizer", label, "--lr", lr]);
        }
    }
    let all = json(&shop, &["runs"]);
    assert_eq!(all["arms"].as_array().unwrap().len(), 4);
    assert_eq!(all["tests"].as_array().unwrap().len(), 6);
    arm(&all, "adamw lr=0.001");
    let answer = json(&shop, &["runs", "--by", "lr"]);
    assert_eq!(answer["arms"].as_array().unwrap().len(), 2);
    assert_eq!(arm(&answer, "lr=0.01")["bpb"]["n"], 2);
    assert_eq!(answer["tests"][0]["pairs"], 2, "one pair per label");
    assert!(answer["paired_by"].as_array().unwrap().contains(&"optimizer.label".into()));
    assert_eq!(remarks(&answer, "mixed").len(), 2);
    assert_eq!(remarks(&answer, "confounded"), [] as [&str; 0], "every label has every rate");
    let some = json(&shop, &["runs/adamw-1e-3-s1", "runs/lion-1e-2-s1", "--by", "lr"]);
    let confounded = remarks(&some, "confounded");
    assert!(
        confounded.len() == 1
            && confounded[0].starts_with("warning: arms by lr")
            && confounded[0].contains("opt (adamw|lion)"),
        "{confounded:?}"
    );
    let labels =
        remarks(&json(&shop, &["runs/adamw-1e-3-s1", "runs/lion-1e-2-s1", "--by", "optimizer.label"]), "confounded");
    assert!(
        labels.len() == 1 && labels[0].ends_with(": lr (0.001|0.01)"),
        "what comes with a label is not told: {labels:?}"
    );
    let unknown = shop.run(&["compare", "runs", "--by", "optimizer.lrr"], &[]).expect(2);
    unknown.says(&["error[U022]", "--by optimizer.lrr", "differing: ", "did you mean `optimizer.lr`?"]);
}

#[test]
fn an_alias_is_its_label() {
    let shop = Workshop::new();
    let sign = library("sign").display().to_string();
    let entry = "label = \"lion\"\naliases = [\"evolved\"]\nplugin = \"it\"\n";
    shop.write("registry.toml", format!("[plugins]\nit = {sign:?}\n\n[[optimizer]]\n{entry}"));
    train_seeds(&shop, "runs/a", &["1"], &["--optimizer", "lion"]);
    train_seeds(&shop, "runs/b", &["2"], &["--optimizer", "evolved"]);
    let answer = json(&shop, &["runs"]);
    assert_eq!(arm(&answer, "lion")["bpb"]["n"], 2);
}

#[test]
fn runs_of_versions_that_recorded_less_are_compared() {
    let shop = Workshop::new();
    shop.train("old", &[]).expect(0);
    let folder = shop.path().join("old");
    let mut record = shop.record("old");
    for name in ["cost", "groups"] {
        assert!(record.as_object_mut().unwrap().remove(name).is_some());
    }
    fs::write(folder.join("run.json"), record.to_string()).unwrap();
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines: Vec<&str> = metrics.lines().filter(|line| !line.contains("\"kind\":\"hash\"")).collect();
    fs::write(folder.join("metrics.jsonl"), lines.join("\n") + "\n").unwrap();
    let answer = json(&shop, &["old"]);
    let arm = arm(&answer, "adamw");
    assert_eq!((&arm["state_bytes"], &arm["peak_memory_bytes"]), (&Value::Null, &Value::Null));
    assert!(arm["milliseconds_per_step"]["mean"].as_f64().unwrap() > 0.0, "from the metrics");
    shop.run(&["compare", "old", "--html", "page.html"], &[]).expect(0);
}

#[test]
fn colour_only_where_it_is_wanted() {
    let shop = Workshop::new();
    shop.train("run", &[]).expect(0);
    let escapes = |env: &[(&str, &str)]| shop.run(&["compare", "run"], env).expect(0).stdout.contains('\u{1b}');
    assert!(!escapes(&[]), "stdout is no terminal");
    assert!(escapes(&[("CLICOLOR_FORCE", "1")]));
    assert!(!escapes(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}
