//! Mistakes of the trainer this house comes from, each as a test that would have caught it.

use super::*;
use crate::config::{for_resume, trace, unchanged, write};

#[test]
fn num_attn_layers_4_builds_4_not_2() {
    let resolved = Setup::new().variable("NUM_ATTN_LAYERS", "4").variable("HOST_CC", "gcc").good();
    assert_eq!(resolved.settings.model.n_layer, 4);
    let three = Setup::new().variable("NUM_ATTN_LAYERS", "3").good();
    assert_eq!(three.settings.model.n_layer, 3);
    assert!(trace::line(&three, &[]).contains("attn_layers=(3, src=alias:NUM_ATTN_LAYERS)"));
}

/// The seed in the trace is the seed in the settings, whoever else says something; and what is written for later is
/// the same, so nothing downstream can find another.
#[test]
fn a_seed_variable_does_not_override_the_traced_one() {
    let setup = Setup::new()
        .flag("seed", "1")
        .variable("SEED", "2")
        .variable("TRIOS_SEED", "3")
        .variable("HOST_SEED", "4")
        .config("seed = 5\n");
    let resolved = setup.good();
    assert_eq!(resolved.settings.seed, 1);
    assert!(trace::line(&resolved, &[]).starts_with("[entrypoint-trace] seed=(1, src=flag, overrides 4 from HOST_*"));
    assert!(write::config_toml(&resolved.settings).starts_with("seed = 1\n"));
}

/// The launcher did not read the variable that carried the label.
#[test]
fn the_label_arrives_by_every_variable_of_the_fleet() {
    for name in ["OPTIMIZER", "TRIOS_OPTIMIZER", "HOST_OPTIMIZER"] {
        for file in ["", "[optimizer]\nlabel = \"adamw\"\n"] {
            let resolved = Setup::new().config(file).variable(name, "shampoo").good();
            assert_eq!(resolved.label(), Some("shampoo"), "{name} over {file:?}");
        }
    }
}

#[test]
fn a_label_is_never_changed_on_the_way() {
    for label in ["AdamW", "lionn", "muon cwd", "默认", "adamw "] {
        let resolved = Setup::new().variable("OPTIMIZER", label).good();
        assert_eq!(resolved.settings.optimizer.label, label);
    }
}

#[test]
fn no_environment_is_read_but_the_one_handed_in() {
    // the process has a PATH and a HOME; an empty map must mean no variables
    assert_eq!(Setup::new().good().origins.iter().filter(|(_, origin)| origin.source.rank() < 9).count(), 0);
    for file in ["resolve.rs", "variables.rs", "file.rs", "command_line.rs", "check.rs", "layers.rs"] {
        let text = std::fs::read_to_string(format!("{}/src/config/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(!text.contains("env::var"), "{file}");
    }
}

#[test]
fn a_resumed_run_keeps_its_settings_and_refuses_variables_that_disagree() {
    let started = Setup::new().flag("seed", "5").flag("optimizer", "lion").flag("steps", "50").good();
    let setup = Setup::new().file("run/config.toml", &write::config_toml(&started.settings));
    let config = setup.cwd().join("run/config.toml");
    let variables = |pairs: &[(&str, &str)]| -> Variables {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    for agreeing in [&[][..], &[("SEED", "5")], &[("OPTIMIZER", "lion"), ("STEPS", "50"), ("HOST_CC", "gcc")]] {
        let (resumed, faults) = for_resume(&config, &variables(agreeing), setup.cwd());
        assert!(faults.0.is_empty(), "{faults}");
        assert_eq!(resumed.settings, started.settings);
    }
    for (name, value, said) in [
        ("SEED", "6", "error[C015]: the run has seed=5 and cannot be resumed with 6"),
        ("OPTIMIZER", "muon", "the run has optimizer.label=lion and cannot be resumed with muon"),
        ("LR", "0.5", "the run has optimizer.lr=not set and cannot be resumed with 0.5"),
        ("SEED", "x", "error[C003]"),
        ("OPTIMISER", "lion", "error[C006]"),
    ] {
        let faults = for_resume(&config, &variables(&[(name, value)]), setup.cwd()).1.to_string();
        assert!(faults.contains(said) && faults.contains(&format!("--> {name}={value}")), "{faults}");
    }

    let missing = setup.cwd().join("none/config.toml");
    assert!(for_resume(&missing, &Variables::new(), setup.cwd()).1.to_string().contains("error[C008]"));
}

/// `host train … --resume` repeats the command line of the run; what it changes is refused, whatever the key.
#[test]
fn flags_beside_resume_may_repeat_but_not_change_the_run() {
    let first = || Setup::new().flag("optimizer", "lion").set("optimizer.beta2=0.95").set("lr_schedule.kind=linear");
    let written = write::config_toml(&first().good().settings);
    let told = |setup: Setup| {
        let setup = setup.file("run/config.toml", &written).flag("run-dir", "run");
        let told = examine(&setup.flags, &setup.variables, setup.cwd());
        let (resolved, faults) = unchanged(told, &setup.cwd().join("run/config.toml"), setup.cwd());
        assert_eq!(resolved.settings.optimizer, first().good().settings.optimizer);
        faults.to_string()
    };
    assert_eq!(told(first()), "");
    for (setup, said) in [
        (first().set("optimizer.beta1=0.5"), "the run has optimizer.beta1=not set and cannot be resumed with 0.5"),
        (first().flag("steps", "7"), "the run has train.steps=1000 and cannot be resumed with 7"),
        (first().flag("data", "x.txt"), "the run has data.train=not set"),
        (first().flag("config", "none.toml"), "error[C008]"),
    ] {
        let faults = told(setup);
        assert!(faults.contains(said), "{said} in {faults}");
    }
}
