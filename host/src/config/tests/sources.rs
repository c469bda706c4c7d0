//! What each source can say, beyond single knobs.

use super::*;
use crate::config::{
    Source,
    presets::PRESETS,
    settings::{HyperValue, LrScheduleKind},
    trace,
};

#[test]
fn every_preset_resolves_and_names_an_optimizer() {
    for preset in PRESETS {
        let resolved = Setup::new().flag("preset", preset.name).good();
        assert!(resolved.label().is_some(), "{}", preset.name);
        assert_eq!(resolved.preset, Some(preset.name));
        assert!(preset.text.contains("host train --preset"), "{} has no launch line", preset.name);
        assert!(preset.text.contains("Expected"), "{} has no expected result", preset.name);
        assert!(!preset.summary().is_empty());
    }
}

#[test]
fn presets_are_the_files_of_the_folder() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>());
}

#[test]
fn the_preset_of_nanogpt_is_its_cpu_recipe() {
    let settings = Setup::new().flag("preset", "nanogpt-cpu").good().settings;
    let (model, train, lr) = (&settings.model, &settings.train, &settings.lr_schedule);
    assert_eq!((model.n_layer, model.n_head, model.n_embd, model.block_size), (4, 4, 128, 64));
    assert_eq!((train.batch_size, train.steps, train.grad_clip), (12, 2000, 1.0));
    assert_eq!((model.bias, model.dropout, model.tie_head), (false, 0.0, true));
    assert_eq!((lr.kind, lr.warmup_steps, lr.decay_steps), (LrScheduleKind::Cosine, 100, Some(2000)));
    // 1e-3 → 1e-4
    assert_eq!((settings.optimizer.hyper.get("lr"), lr.min_ratio), (Some(&HyperValue::Number(1e-3)), 0.1));
    assert_eq!(settings.data.val_fraction, 0.1);
    let hyper = |name: &str| settings.optimizer.hyper.get(name).cloned();
    for (name, value) in [("beta1", 0.9), ("beta2", 0.99), ("weight_decay", 0.1)] {
        assert_eq!(hyper(name), Some(HyperValue::Number(value)), "{name}");
    }
    assert!(settings.group.is_empty(), "the default groups spare vectors from decay");
}

#[test]
fn a_file_can_say_everything() {
    let setup = Setup::new().file("x.safetensors", "").config(
        r#"
seed = 3
[data]
train = "text/a.txt"
[optimizer]
label = "sgdm"
lr = 1
nesterov = true
mode = "fast"
offset = -2
[[group]]
roles = ["matrix", "head"]
optimizer = "muon"
lr = 0.5
[[group]]
pattern = "*.bias"
[[projection]]
label = "remove-direction"
strength = 0.5
inputs.direction = "x.safetensors"
[[schedule]]
name = "freeze-layer"
max_wait_steps = 10
note = "first"
layer = 1
[tags]
who = "me"
"a.b" = "dotted"
"#,
    );
    let resolved = setup.good();
    let settings = &resolved.settings;
    assert_eq!(settings.data.train, Some(setup.cwd().join("text/a.txt")));
    assert_eq!(settings.optimizer.label, "sgdm");
    assert_eq!(settings.optimizer.hyper["lr"], HyperValue::Number(1.0));
    assert_eq!(settings.optimizer.hyper["nesterov"], HyperValue::Flag(true));
    assert_eq!(settings.optimizer.hyper["mode"], HyperValue::Choice("fast".into()));
    assert_eq!(settings.optimizer.hyper["offset"], HyperValue::Number(-2.0));
    assert_eq!(settings.group.len(), 2);
    assert_eq!(settings.group[0].roles, ["matrix", "head"]);
    assert_eq!(settings.group[0].optimizer.as_deref(), Some("muon"));
    assert_eq!(settings.group[0].hyper["lr"], HyperValue::Number(0.5));
    assert_eq!(settings.group[1].pattern.as_deref(), Some("*.bias"));
    assert_eq!(settings.projection[0].label, "remove-direction");
    assert_eq!(settings.projection[0].pattern, "*");
    assert_eq!(settings.projection[0].inputs["direction"], setup.cwd().join("x.safetensors"));
    assert_eq!(settings.projection[0].hyper["strength"], HyperValue::Number(0.5));
    assert_eq!(settings.schedule[0].name, "freeze-layer");
    assert_eq!(settings.schedule[0].max_wait_steps, Some(10));
    assert_eq!(settings.schedule[0].note.as_deref(), Some("first"));
    assert_eq!(settings.schedule[0].hyper["layer"], HyperValue::Number(1.0));
    assert_eq!(settings.tags["who"], "me");
    assert_eq!(settings.tags["a.b"], "dotted");
    for (key, line) in [("seed", 2), ("optimizer.mode", 9), ("group.0.lr", 14), ("group.1.pattern", 16)] {
        assert_eq!(resolved.origins.source(key), Some(&Source::File { path: "my.toml".into(), line }), "{key}");
    }
    assert_eq!(resolved.origins.place("group.0.lr").unwrap(), "my.toml:14  group.0.lr = 0.5");
    assert_eq!(resolved.origins.place("optimizer.label").unwrap(), "my.toml:6  optimizer.label = \"sgdm\"");
}

#[test]
fn paths_of_a_file_are_relative_to_it_and_others_to_the_working_directory() {
    let setup = Setup::new()
        .file("configs/deep/my.toml", "[data]\ntrain = \"./a.txt\"\nval = \"/abs/b.txt\"\n")
        .flag("config", "configs/deep/my.toml")
        .flag("run-dir", "runs/x");
    let resolved = setup.good();
    assert_eq!(resolved.settings.data.train, Some(setup.cwd().join("configs/deep/a.txt")));
    assert_eq!(resolved.settings.data.val, Some("/abs/b.txt".into()));
    assert_eq!(resolved.settings.run.dir, Some(setup.cwd().join("runs/x")));
    let setup = setup.variable("TRIOS_TRAIN_PATH", "c.txt");
    assert_eq!(setup.good().settings.data.train, Some(setup.cwd().join("c.txt")));
    let source = setup.good().origins.source("data.val").unwrap().to_string();
    assert_eq!(source, "file:configs/deep/my.toml:3");
}

#[test]
fn set_changes_every_kind_of_key() {
    let text = "[[group]]\nroles = [\"matrix\"]\nlr = 1.0\n[[schedule]]\nname = \"x\"\nmax_wait_steps = 1\n";
    let setup = Setup::new()
        .config(text)
        .set("group.0.lr=0.25")
        .set("group.0.roles=vector,head")
        .set("schedule.0.max_wait_steps=9")
        .set("optimizer.beta2=0.95")
        .set("optimizer.nesterov=true")
        .set("optimizer.mode=fast")
        .set("tags.note=a=b")
        .set("model.bias=true");
    let settings = setup.good().settings;
    assert_eq!(settings.group[0].hyper["lr"], HyperValue::Number(0.25));
    assert_eq!(settings.group[0].roles, ["vector", "head"]);
    assert_eq!(settings.schedule[0].max_wait_steps, Some(9));
    assert_eq!(settings.optimizer.hyper["beta2"], HyperValue::Number(0.95));
    assert_eq!(settings.optimizer.hyper["nesterov"], HyperValue::Flag(true));
    assert_eq!(settings.optimizer.hyper["mode"], HyperValue::Choice("fast".into()));
    assert_eq!(settings.tags["note"], "a=b");
    assert!(settings.model.bias);
    assert_eq!(setup.good().origins.get("group.0.lr").unwrap().overrides.len(), 1);
}

#[test]
fn tags_of_existing_deployments_are_recorded() {
    let setup = Setup::new()
        .variable("TRIOS_CANON_NAME", "lane-3")
        .variable("TRIOS_LANE", "3")
        .variable("TRIOS_EXPERIMENT_ID", "e 7")
        .config("[tags]\nlane = \"file\"\n");
    let resolved = setup.good();
    assert_eq!(resolved.settings.tags["canon_name"], "lane-3");
    assert_eq!(resolved.settings.tags["lane"], "3");
    assert_eq!(resolved.settings.tags["experiment_id"], "e 7");
    let line = trace::line(&resolved, &[]);
    assert!(line.contains("tags.lane=(3, src=TRIOS_*:TRIOS_LANE, overrides file from file:my.toml:2)"), "{line}");
    assert!(line.contains("tags.experiment_id=(\"e 7\", src=TRIOS_*:TRIOS_EXPERIMENT_ID)"), "{line}");
}

#[test]
fn groups_of_a_file_replace_those_of_its_preset_as_a_whole() {
    assert!(Setup::new().flag("preset", "nanogpt-cpu-muon").good().settings.group.len() > 1);
    let text = "preset = \"nanogpt-cpu-muon\"\n[[group]]\npattern = \"*\"\nbeta2 = 0.9\n";
    let settings = Setup::new().config(text).good().settings;
    assert_eq!(settings.group.len(), 1);
    assert_eq!(settings.group[0].hyper.keys().collect::<Vec<_>>(), ["beta2"]);
}

#[test]
fn a_preset_tuned_for_another_optimizer_gives_way_and_says_so() {
    let tuned = Setup::new().flag("preset", "nanogpt-cpu-muon").flag("optimizer", "muon").good();
    assert!(tuned.settings.optimizer.hyper.contains_key("lr") && !tuned.settings.group.is_empty());

    let other =
        Setup::new().flag("preset", "nanogpt-cpu-muon").variable("OPTIMIZER", "sgdm").set("optimizer.momentum=0.5");
    let resolved = other.good();
    assert_eq!(resolved.settings.optimizer.hyper.keys().collect::<Vec<_>>(), ["momentum"]);
    assert!(resolved.settings.group.is_empty());
    assert_eq!(resolved.settings.train.steps, 2000, "the rest of the preset holds");
    let line = trace::line(&resolved, &[]);
    assert!(line.contains("opt=(sgdm, src=alias:OPTIMIZER, overrides muon from preset:nanogpt-cpu-muon)"), "{line}");
    assert!(line.contains("tunes [optimizer] and [[group]] for muon: set aside for sgdm"), "{line}");

    // a file is taken at its word: the plugin's own schema refuses what does not fit
    let file = Setup::new().config("[optimizer]\nlabel = \"adamw\"\nbeta2 = 0.9\n").flag("optimizer", "sgdm").good();
    assert!(file.settings.optimizer.hyper.contains_key("beta2"));
}

#[test]
fn what_a_schedule_cannot_use_gives_way_to_a_higher_source_and_says_so() {
    let setup = Setup::new().flag("preset", "nanogpt-cpu").set("lr_schedule.kind=constant");
    let resolved = setup.good();
    assert_eq!(resolved.settings.lr_schedule.decay_steps, None);
    let line = trace::line(&resolved, &[]);
    let said = "lr_schedule.decay_steps=2000 from preset:nanogpt-cpu has no effect: --set lr_schedule.kind=constant";
    assert!(line.contains(said), "{line}");
}

#[test]
fn the_default_label_is_the_registrys_and_recorded_as_default() {
    let unnamed = Setup::new().good();
    assert_eq!(unnamed.label(), None);
    let named = unnamed.clone().with_default_label(Some("adamw")).unwrap();
    assert_eq!(named.settings.optimizer.label, "adamw");
    assert!(trace::line(&named, &[]).contains("opt=(adamw, src=default)"));
    let faults = unnamed.with_default_label(None).unwrap_err();
    assert_eq!(faults.0[0].code, "C012");
    let chosen = Setup::new().flag("optimizer", "lion").good().with_default_label(Some("adamw")).unwrap();
    assert_eq!(chosen.settings.optimizer.label, "lion");
}

#[test]
fn hyper_parameters_nobody_set_are_filled_from_below() {
    let mut resolved = Setup::new().flag("lr", "0.5").flag("optimizer", "lion").good();
    resolved.fill_hyper("lr", HyperValue::Number(9.0), Source::Plugin);
    resolved.fill_hyper("beta1", HyperValue::Number(0.9), Source::Registry);
    assert_eq!(resolved.settings.optimizer.hyper["lr"], HyperValue::Number(0.5));
    let line = trace::line(&resolved, &[("registry", "registry.toml sha256=ab".into())]);
    assert!(
        line.starts_with("[entrypoint-trace] seed=(1337, src=default) steps=(1000, src=default) lr=(0.5, src=flag)")
    );
    assert!(line.contains(" optimizer.beta1=(0.9, src=registry)"), "{line}");
    assert!(line.ends_with(" registry=registry.toml sha256=ab"), "{line}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn a_schedule_file_replaces_the_entries_of_lower_sources_and_knows_its_lines() {
    let entry = |name: &str| format!("[[schedule]]\nname = \"{name}\"\nmax_wait_steps = 3\n");
    let own = entry("a") + &entry("b");
    let setup = Setup::new()
        .file("deep/s.toml", &format!("\n{}value = 0.5\ntrigger_loss = 2\n", entry("c")))
        .config(&own)
        .flag("schedule", "deep/s.toml")
        .set("schedule.0.reevaluate=true");
    let resolved = setup.good();
    let [operation] = &resolved.settings.schedule[..] else { panic!("{:?}", resolved.settings.schedule) };
    assert_eq!((operation.name.as_str(), operation.value, operation.trigger_loss), ("c", Some(0.5), Some(2.0)));
    assert!(operation.reevaluate);
    assert_eq!(resolved.origins.source("schedule.0.name").unwrap().to_string(), "file:deep/s.toml:3");
    let line = trace::line(&resolved, &[]);
    assert!(line.contains("schedule_file=(") && line.contains("deep/s.toml, src=flag)"), "{line}");
    assert!(line.contains("remark=([[schedule]] of file:my.toml:1 and after gives way to deep/s.toml)"), "{line}");
    // named by the configuration, relative to it
    let setup = Setup::new().file("deep/s.toml", &own).config("schedule_file = \"deep/s.toml\"\n");
    assert_eq!(setup.good().settings.schedule.len(), 2);
}
