//! Every way a configuration can be wrong: code, place, nearest name, way out; and all of them at once.

use super::*;
use crate::fault::Exit;

/// Texts that the faults must hold.
fn says(setup: Setup, expected: &[&str]) {
    let faults = setup.faults();
    for text in expected {
        assert!(faults.contains(text), "`{text}` is not in:\n{faults}");
    }
    assert!(setup.resolve().is_err());
}

#[test]
fn variables() {
    for (name, value, expected) in [
        ("SEED", "", &["error[C005]: variable SEED is set but empty", "--> SEED=", "`unset SEED`"][..]),
        ("HOST_LR", "", &["error[C005]: variable HOST_LR is set but empty"]),
        ("TRIOS_LANE", "", &["error[C005]: variable TRIOS_LANE is set but empty"]),
        ("CONFIG", "", &["error[C005]"]),
        ("SEED", "abc", &["error[C003]: `abc` cannot be read as `seed`", "--> SEED=abc", "a whole number"]),
        ("SEED", " 7", &["error[C003]", "take the spaces away"]),
        ("SEED", "-1", &["error[C004]: `-1` is out of range for `seed`"]),
        ("HOST_STEPS", "1e3", &["error[C003]: `1e3` cannot be read as `train.steps`", "--> HOST_STEPS=1e3"]),
        ("TRIOS_STEPS", "0", &["error[C004]: `0` is out of range for `train.steps`", "from 1 to"]),
        ("LR", "fast", &["error[C003]: `fast` cannot be read as `optimizer.lr`", "a number, at least 0"]),
        ("LR", "inf", &["error[C003]"]),
        ("LR", "-0.1", &["error[C004]"]),
        ("NUM_ATTN_LAYERS", "two", &["error[C003]: `two` cannot be read as `model.n_layer`"]),
        ("DTYPE", "float32", &["error[C003]: `float32` cannot be read as `format`", "`f32`, `bf16`, `f64`"]),
        ("HOST_FORMAT", "bf61", &["error[C003]", "hint: did you mean `bf16`?"]),
        ("FORMAT", "json", &["error[C003]", "`unset FORMAT` here and use HOST_FORMAT or the flag"]),
        ("CONFIG", "Release", &["error[C008]: configuration file `Release`", "--> CONFIG=Release", "`unset CONFIG`"]),
        (
            "TRIOS_SEDE",
            "1",
            &["error[C006]: variable TRIOS_SEDE is none that is read here", "did you mean TRIOS_SEED?"],
        ),
        ("TRIOS_WHATEVER", "1", &["error[C006]: variable TRIOS_WHATEVER", "known: TRIOS_ATTN_LAYERS, "]),
        ("TRIOS_OPTIMISER", "muon", &["error[C006]", "did you mean TRIOS_OPTIMIZER?"]),
        ("TRIOS_seed", "1", &["error[C006]"]),
        ("HOST_SEDE", "1", &["error[C006]: variable HOST_SEDE is not read", "did you mean HOST_SEED?"]),
        ("HOST_STEP", "1", &["error[C006]", "did you mean HOST_STEPS?"]),
        ("HOST_LRS", "1", &["error[C006]", "did you mean HOST_LR?"]),
        ("HOST_OPTIMIZR", "1", &["error[C006]", "did you mean HOST_OPTIMIZER?"]),
        ("OPTIMISER", "muon", &["error[C006]: variable OPTIMISER is not read", "did you mean OPTIMIZER?"]),
        ("OPTIMZIER", "muon", &["error[C006]", "did you mean OPTIMIZER?"]),
        ("HIDEN_DIM", "64", &["error[C006]", "did you mean HIDDEN_DIM?"]),
        ("NUM_ATTN_LAYER", "4", &["error[C006]", "did you mean NUM_ATTN_LAYERS?"]),
        ("TRAIN_DTA", "x", &["error[C006]", "did you mean TRAIN_DATA?"]),
        ("EVAL_EVRY", "5", &["error[C006]", "did you mean EVAL_EVERY?"]),
        ("STEPSS", "5", &["error[C006]", "did you mean STEPS?"]),
    ] {
        says(Setup::new().variable(name, value), expected);
    }
}

/// Generated from the table: one letter left out of any name of six letters or more is noticed.
#[test]
fn a_letter_left_out_is_noticed_for_every_variable() {
    let names: Vec<String> = crate::config::KNOBS.iter().flat_map(|knob| knob.ranked_variables().concat()).collect();
    for name in &names {
        let typo = &name[..name.len() - 1];
        if typo.len() < 6 || names.iter().any(|known| known == typo) {
            continue;
        }
        says(Setup::new().variable(typo, "1"), &["error[C006]", typo]);
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    let setup = Setup::new()
        .variable("HOST_CC", "gcc")
        .variable("HOST_AR", "ar")
        .variable("HOST_LD", "ld")
        .variable("HOST_CFLAGS", "")
        .variable("HOST_UID", "")
        .variable("HOSTNAME", "")
        .variable("PATH", "/bin")
        .variable("SEEDS", "5")
        .variable("LRS", "")
        .variable("STEP", "")
        .variable("OPTIMIZATION", "2")
        .variable("HOME", "");
    assert!(setup.good().settings == Setup::new().good().settings);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_unicode_is_refused() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};
    let mut setup = Setup::new();
    setup.variables.insert("OPTIMIZER".into(), OsString::from_vec(vec![0x6c, 0xff]));
    setup.variables.insert(OsString::from_vec(vec![0xff]), "of nobody's concern".into());
    says(setup, &["error[C003]: variable OPTIMIZER is not UTF-8"]);
}

#[test]
fn variables_of_one_rank_that_disagree() {
    for (one, other, key) in [
        (("HIDDEN", "64"), ("HIDDEN_DIM", "128"), "model.n_embd"),
        (("FORMAT", "f32"), ("DTYPE", "bf16"), "format"),
        (("ATTN_LAYERS", "2"), ("NUM_ATTN_LAYERS", "4"), "model.n_layer"),
        (("HOST_HIDDEN", "64"), ("HOST_HIDDEN_DIM", "128"), "model.n_embd"),
        (("TRIOS_TRAIN_DATA", "a"), ("TRIOS_TRAIN_PATH", "b"), "data.train"),
    ] {
        let setup = Setup::new().variable(one.0, one.1).variable(other.0, other.1);
        says(setup, &["error[C007]", key, one.0, other.0, "unset one of them"]);
    }
    let agree = Setup::new().variable("HIDDEN", "64").variable("HIDDEN_DIM", "064");
    assert_eq!(agree.good().settings.model.n_embd, 64);
    let ranks = Setup::new().variable("HIDDEN", "64").variable("TRIOS_HIDDEN_DIM", "32");
    assert_eq!(ranks.good().settings.model.n_embd, 32);
}

#[test]
fn files() {
    for (text, expected) in [
        ("sead = 1\n", &["error[C001]: unknown key `sead`", "--> my.toml:1  sead = 1", "did you mean `seed`?"][..]),
        ("\n[train]\nstesp = 1\n", &["unknown key `train.stesp`", "my.toml:3", "did you mean `train.steps`?"]),
        ("lr = 1\n", &["unknown key `lr`", "did you mean `optimizer.lr`?"]),
        ("[model]\nlr = 1\n", &["unknown key `model.lr`", "did you mean `optimizer.lr`?"]),
        ("[model]\nhidden = 1\n", &["did you mean `model.n_embd`?"]),
        ("[optimzer]\nlabel = \"x\"\n", &["unknown key `optimzer`", "--> my.toml:1  [optimzer]", "`optimizer`?"]),
        ("[zzz]\na = 1\n", &["unknown key `zzz`"]),
        ("config = \"other.toml\"\n", &["unknown key `config`"]),
        ("model = 3\n", &["error[C002]: `model` is a section", "write [model]"]),
        ("[group]\nlr = 1\n", &["error[C002]: `group` is a list of tables", "[[group]]"]),
        ("group = [1]\n", &["error[C002]: `group` is a list of tables"]),
        ("[train]\nsteps = \"5\"\n", &["error[C002]: `\"5\"` is not of the type of `train.steps`", "my.toml:2"]),
        ("[train]\nsteps = 5.0\n", &["error[C002]"]),
        ("[train]\nsteps = true\n", &["error[C002]"]),
        ("[train]\nsteps = -5\n", &["error[C004]: `-5` is out of range for `train.steps`"]),
        ("seed = 99999999999999999999\n", &["`99999999999999999999`", "seed"]),
        ("seed = 1979-05-27\n", &["error[C002]"]),
        ("[model]\ndropout = 1.0\n", &["error[C004]: `1.0` is out of range for `model.dropout`", "below 1"]),
        ("[model]\ndropout = nan\n", &["error[C002]"]),
        ("[model]\nbias = 1\n", &["error[C002]", "true or false"]),
        ("[data]\ntrain = \"\"\n", &["error[C002]", "a path"]),
        ("[data]\nval_fraction = 0\n", &["error[C004]"]),
        ("[lr_schedule]\nkind = \"cosin\"\n", &["error[C003]: `\"cosin\"` cannot be read", "did you mean `cosine`?"]),
        ("format = \"F32\"\n", &["error[C003]", "did you mean `f32`?"]),
        ("device = 1\n", &["error[C003]", "one of `auto`, `cpu`, `cuda`"]),
        ("[optimizer]\nlr = inf\n", &["error[C002]"]),
        ("[optimizer]\nbetas = [0.9, 0.99]\n", &["error[C002]", "write beta1 and beta2"]),
        ("[optimizer.adamw]\nlr = 1\n", &["error[C002]", "optimizer.adamw"]),
        ("[optimizer]\n\"a b\" = 1\n", &["error[C001]: unknown key `optimizer.a b`"]),
        ("[tags]\na = 1\n", &["error[C002]", "tags.a"]),
        (
            "[[group]]\nlr = 1\n",
            &["error[C013]: entry 0 of [[group]] has no `pattern`", "my.toml:1", "pattern = \"*\""],
        ),
        ("[[group]]\nroles = [\"matrx\"]\n", &["error[C003]", "group.0.roles", "did you mean `matrix`?"]),
        ("[[group]]\nroles = []\n", &["error[C003]", "group.0.roles"]),
        ("[[group]]\nroles = \"matrix\"\n", &["group.0.roles", "a list of matrix"]),
        ("[[projection]]\n", &["error[C013]: entry 0 of [[projection]] has no `label`", "--list-projections"]),
        ("[[projection]]\nlabel = \"x\"\ninputs = 3\n", &["error[C002]: `projection.0.inputs` is a section"]),
        ("[[projection]]\nlabel = \"x\"\ninputs.a = 3\n", &["error[C002]", "projection.0.inputs.a"]),
        ("[[schedule]]\n", &["has no `name`", "has no `trigger_loss` and no `max_wait_steps`", "--list-arch-ops"]),
        ("[[schedule]]\nname = \"x\"\nmax_wait_steps = -1\n", &["error[C004]", "schedule.0.max_wait_steps"]),
        ("[[schedule]]\nname = \"x\"\ntrigger_loss = 0.0\n", &["error[C004]", "schedule.0.trigger_loss", "above 0"]),
        ("[[schedule]]\nname = \"x\"\nvalue = \"2\"\n", &["error[C002]", "schedule.0.value", "a number, finite"]),
        ("[[schedule]]\nname = \"x\"\nreevaluate = 1\n", &["error[C002]", "true or false"]),
        ("[[schedule]]\nname = \"x\"\non_error = \"skp\"\n", &["error[C003]", "did you mean `skip`?"]),
        (
            "preset = \"nanogpt-cpi\"\n",
            &["error[C011]: there is no preset `nanogpt-cpi`", "my.toml:1", "`nanogpt-cpu`?"],
        ),
        ("preset = 3\n", &["error[C002]"]),
        ("seed = \n", &["error[C009]: not TOML", "--> my.toml:1"]),
        ("seed = 1\nseed = 2\n", &["error[C009]", "my.toml:2"]),
        (
            "[model]\nn_head = 3\n",
            &["error[C014]: 3 heads do not divide a width of 128", "--> my.toml:2  model.n_head = 3"],
        ),
        ("[model]\nn_head = 3\n", &["with: default  model.n_embd = 128", "hint: 2 heads would do"]),
        ("[model]\nlora_rank = 500\n", &["error[C014]: a LoRA adapter of rank 500"]),
        (
            "[growth]\nstate = \"reset\"\n",
            &["error[C014]", "`growth.state` would have no effect", "no operation of the schedule changes the network"],
        ),
        ("[model]\nattn_lora_divisor = 0\n", &["error[C004]", "model.attn_lora_divisor", "above 0"]),
        ("[model]\nvocab_lora_divisor = 200.0\n", &["error[C014]: a width of 128 divided by 200 is a LoRA rank of 0"]),
        ("[model]\nattn_lora_divisor = 0.5\n", &["error[C014]", "is a LoRA rank of 256", "model.n_embd"]),
        ("[model]\nlora_alpha = 8.0\n", &["error[C014]: `model.lora_alpha` would have no effect", "model.lora_rank"]),
        ("[lr_schedule]\ndecay_fraction = 0.5\n", &["error[C014]: `lr_schedule.decay_fraction` would have no effect"]),
        ("[lr_schedule]\nkind = \"constant\"\nmin_ratio = 0.5\n", &["`lr_schedule.min_ratio` would have no effect"]),
        ("[lr_schedule]\ndecay_steps = 50\n", &["error[C014]: the decay ends at step 50", "warmup_steps = 100"]),
        ("device = \"cuda\"\nformat = \"f64\"\n", &["error[C014]: f64 is for the CPU"]),
        ("[data]\nval = \"v\"\n", &["error[C014]: validation text is given, but no training text"]),
        ("[data]\ntrain = \"t\"\nval = \"v\"\nval_fraction = 0.2\n", &["error[C014]: `data.val_fraction` would"]),
    ] {
        says(Setup::new().config(text), expected);
    }
}

#[test]
fn command_lines() {
    for (set, expected) in [
        ("train.steps", &["error[C010]: `--set train.steps` has no `=`"][..]),
        ("train.stesp=1", &["error[C001]: unknown key `train.stesp`", "--> --set train.stesp=1", "`train.steps`?"]),
        ("=1", &["error[C001]"]),
        ("config=a.toml", &["error[C001]", "use `--config`"]),
        ("train.steps=x", &["error[C003]: `x` cannot be read as `train.steps`", "--> --set train.steps=x"]),
        ("train.steps=", &["error[C003]"]),
        ("train.steps= 5", &["error[C003]", "take the spaces away"]),
        ("model.dropout=1", &["error[C004]"]),
        ("optimizer.beta1=", &["error[C003]"]),
        ("optimizer.beta1=nan", &["error[C003]"]),
        ("group.0.lr=1", &["error[C010]: [[group]] has 0 entries"]),
        ("group.x.lr=1", &["error[C001]"]),
        ("group.lr=1", &["error[C001]"]),
        ("preset=nope", &["error[C011]: there is no preset `nope`", "known: default, "]),
    ] {
        says(Setup::new().set(set), expected);
    }
    says(Setup::new().set("seed=1").set("seed=2"), &["error[C010]: `--set seed` is given twice: 1 and 2"]);
    assert_eq!(Setup::new().set("seed=1").set("seed=1").good().settings.seed, 1);
    says(Setup::new().flag("preset", "nope"), &["error[C011]", "--> --preset nope"]);
    let missing = Setup::new().flag("config", "none.toml");
    says(missing, &["error[C008]: configuration file `none.toml`: No such file", "--> --config none.toml"]);
    let folder = Setup::new().file("folder/x", "").flag("config", "folder");
    says(folder, &["error[C008]: configuration file `folder`: "]);
}

#[test]
fn all_faults_are_found_together_in_a_stable_order() {
    let setup = Setup::new()
        .config("sead = 1\n[train]\nsteps = -1\n[model]\nn_head = 3\nzzz = 0\n")
        .variable("LR", "")
        .variable("OPTIMISER", "muon")
        .set("oops");
    let (_, faults) = examine(&setup.flags, &setup.variables, setup.cwd());
    let codes: Vec<&str> = faults.0.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["C010", "C005", "C006", "C001", "C004", "C001", "C014"]);
    assert_eq!(faults.exit(), Exit::Config);
    let again = examine(&setup.flags, &setup.variables, setup.cwd()).1;
    assert_eq!(faults.to_string(), again.to_string());
}

#[test]
fn schedule_files() {
    let entry = "[[schedule]]\nname = \"change_lr\"\nvalue = 0.5\nmax_wait_steps = 3\n";
    for (text, expected) in [
        ("", &["error[C013]: schedule file `s.toml` holds no operation", "--> --schedule s.toml"][..]),
        ("[train]\nsteps = 5\n", &["error[C001]: unknown key `train`", "s.toml:1", "[[schedule]] entries alone"]),
        ("[[schedule]]\nname = \"x\"\nmax_wait = 3\n", &["has no `trigger_loss`", "s.toml:1"]),
        ("[[schedule]\n", &["error[C009]: not TOML", "s.toml:1"]),
        ("[[schedule]]\nname = 3\nmax_wait_steps = 3\n", &["error[C002]", "s.toml:2", "schedule.0.name"]),
    ] {
        says(Setup::new().file("s.toml", text).flag("schedule", "s.toml"), expected);
    }
    says(
        Setup::new().flag("schedule", "none.toml"),
        &["error[C008]: schedule file `none.toml`", "--schedule none.toml"],
    );
    let twice = format!("schedule_file = \"s.toml\"\n{entry}");
    let setup = Setup::new().file("s.toml", entry).config(&twice);
    says(setup, &["error[C014]: two schedules", "my.toml:1", "file:my.toml:2", "keep one of them"]);
}
