//! Labels: exactly the named rule runs, or nothing does. One row per abort, seen from outside: exit code, message, and
//! that nothing was written.

mod support;

use std::fs;

use support::{Workshop, library, registry};

/// A fault, and how a user runs into it.
struct Abort {
    name: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    code: i32,
    says: &'static [&'static str],
}

const ABORTS: &[Abort] = &[
    Abort {
        name: "unknown label by flag",
        args: &["--optimizer", "lionn"],
        env: &[],
        code: 4,
        says: &[
            "error[R",
            "optimizer label `lionn` is not in the registry",
            "--optimizer",
            "adamw, adan, ademamix",
            "did you mean `lion`?",
            "--list-optimizers",
        ],
    },
    Abort {
        name: "unknown label by variable",
        args: &[],
        env: &[("OPTIMIZER", "shampooo")],
        code: 4,
        says: &["`shampooo` is not in the registry", "OPTIMIZER", "adamw, adan, ademamix"],
    },
    Abort {
        name: "unknown label by --set",
        args: &["--set", "optimizer.label=adam8bit"],
        env: &[],
        code: 4,
        says: &["`adam8bit` is not in the registry"],
    },
    Abort {
        name: "unknown hyper-parameter",
        args: &["--set", "optimizer.beta3=0.9"],
        env: &[],
        code: 4,
        says: &["beta3", "adamw", "beta2"],
    },
    Abort {
        name: "hyper-parameter out of range",
        args: &["--set", "optimizer.beta1=1.5"],
        env: &[],
        code: 4,
        says: &["beta1", "1.5"],
    },
    Abort { name: "lr out of range", args: &["--lr", "-1"], env: &[], code: 2, says: &["lr", "-1"] },
    Abort {
        name: "unknown projection",
        args: &["--config", "projection.toml"],
        env: &[],
        code: 4,
        says: &[
            "projection label `remove-directoin` is not in the registry",
            "did you mean `remove-direction`?",
            "projection.toml:",
        ],
    },
    Abort {
        name: "unknown operation",
        args: &["--config", "operation.toml"],
        env: &[],
        code: 4,
        says: &[
            "operation `freeze-layr` is neither the host's nor an arch-op label of the registry",
            "did you mean `freeze-layer`?",
            "operation.toml:",
        ],
    },
    Abort {
        name: "unknown label in a group",
        args: &["--config", "group.toml"],
        env: &[],
        code: 4,
        says: &["optimizer label `sgdn` is not in the registry", "group.toml:", "did you mean `sgdm`?"],
    },
    Abort {
        name: "several faults at once",
        args: &["--optimizer", "lionn", "--set", "model.n_hed=3"],
        env: &[("OPTIMISER", "lion"), ("TRIOS_SEEDS", "3")],
        code: 4,
        says: &["lionn", "n_hed", "OPTIMISER", "TRIOS_SEEDS"],
    },
    Abort {
        name: "misspelt variable",
        args: &[],
        env: &[("OPTIMISER", "lion")],
        code: 3,
        says: &["OPTIMISER", "OPTIMIZER"],
    },
    Abort { name: "empty variable", args: &[], env: &[("SEED", "")], code: 3, says: &["SEED", "empty"] },
    Abort { name: "unparseable value", args: &[], env: &[("STEPS", "1e")], code: 3, says: &["STEPS", "1e"] },
    Abort {
        name: "unknown TRIOS variable",
        args: &[],
        env: &[("TRIOS_OPTIM", "lion")],
        code: 3,
        says: &["TRIOS_OPTIM"],
    },
    Abort {
        name: "HOST variable one edit from a knob",
        args: &[],
        env: &[("HOST_SEEDS", "3")],
        code: 3,
        says: &["HOST_SEEDS", "HOST_SEED"],
    },
    Abort {
        name: "two aliases that disagree",
        args: &[],
        env: &[("HIDDEN", "16"), ("HIDDEN_DIM", "32")],
        code: 3,
        says: &["HIDDEN", "HIDDEN_DIM"],
    },
    Abort {
        name: "unknown key in the file",
        args: &["--config", "typo.toml"],
        env: &[],
        code: 3,
        says: &["typo.toml:", "batch_sise", "batch_size"],
    },
    Abort {
        name: "unknown flag",
        args: &["--optimiser", "lion"],
        env: &[],
        code: 2,
        says: &["--optimiser", "--optimizer"],
    },
    Abort { name: "missing data file", args: &["--data", "nowhere.txt"], env: &[], code: 8, says: &["nowhere.txt"] },
];

#[test]
fn every_abort_says_why_and_writes_nothing() {
    let shop = Workshop::new();
    shop.write(
        "projection.toml",
        format!("{}\n[[projection]]\nlabel = \"remove-directoin\"\npattern = \"*\"\n", support::TINY),
    );
    shop.write(
        "operation.toml",
        format!("{}\n[[schedule]]\nname = \"freeze-layr\"\nmax_wait_steps = 2\n", support::TINY),
    );
    shop.write("group.toml", format!("{}\n[[group]]\nroles = [\"matrix\"]\noptimizer = \"sgdn\"\n", support::TINY));
    shop.tiny_with("typo.toml", &[("batch_size", "batch_sise")]);
    let before = shop.listing();
    let mut wrong = Vec::new();
    for abort in ABORTS {
        let mut args = vec!["train"];
        if !abort.args.contains(&"--config") {
            args.extend(["--config", "tiny.toml"]);
        }
        args.extend(abort.args);
        let finished = shop.run(&args, abort.env);
        let missing: Vec<_> = abort.says.iter().filter(|text| !finished.stderr.contains(**text)).collect();
        if finished.code != Some(abort.code) || !missing.is_empty() {
            wrong.push(format!("{}: {:?}, lacks {missing:?}:\n{}", abort.name, finished.code, finished.stderr));
        }
        assert_eq!(finished.stdout, "", "{}: stdout is for data", abort.name);
        assert_eq!(shop.listing(), before, "{}: something was written", abort.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_unknown_label_is_refused_before_data_is_read() {
    let shop = Workshop::new();
    // data that could not be read would be reported, if it were looked at
    let finished = shop.run(&["train", "--config", "tiny.toml", "--data", "nowhere.txt", "--optimizer", "lionn"], &[]);
    let finished = finished.expect(4).says(&["lionn"]);
    assert!(!finished.stderr.contains("nowhere.txt: "), "{}", finished.stderr);
}

#[test]
fn an_existing_run_does_not_hide_an_unknown_label() {
    let shop = Workshop::new();
    shop.train("run", &[]).expect(0);
    shop.train("run", &["--optimizer", "lionn"]).expect(4).says(&["lionn", "already holds a run"]);
}

/// A registry of one plugin, written for a test.
fn one_plugin(shop: &Workshop, library: &str, label: &str) {
    shop.write(
        "registry.toml",
        format!("[plugins]\nit = {library:?}\n\n[[optimizer]]\nlabel = {label:?}\nplugin = \"it\"\n"),
    );
}

#[test]
fn every_plugin_that_does_not_fit_is_refused() {
    let shop = Workshop::new();
    let whole = fs::read(library("adaptive")).unwrap();
    shop.write("truncated.so", &whole[..whole.len() / 2]);
    shop.write("text.so", "not a library");
    let fixture = |name: &str| library(name).display().to_string();
    let this_host = format!("this host has 1.{}", sdk::abi::MINOR);
    let rows: &[(&str, String, &str, &[&str])] = &[
        ("missing", "./missing.so".into(), "adamw", &["missing.so", "adamw"]),
        ("truncated", "./truncated.so".into(), "adamw", &["truncated.so"]),
        ("not a library", "./text.so".into(), "adamw", &["text.so"]),
        ("future ABI", fixture("future"), "future", &["1.999", &*this_host]),
        ("wrong label", fixture("mislabelled"), "lion", &["lion", "another"]),
        ("panics when probed", fixture("panics"), "panics-whole", &["panics at step 3", ".rs:"]),
        ("links libtorch", fixture("links_libtorch"), "links-libtorch", &["libtorch"]),
    ];
    for (name, library, label, says) in rows {
        one_plugin(&shop, library, label);
        let before = shop.listing();
        let finished = shop.run(&["train", "--config", "tiny.toml", "--optimizer", label], &[]);
        assert_eq!(finished.code, Some(4), "{name}:\n{}", finished.stderr);
        for text in *says {
            assert!(finished.stderr.contains(text), "{name}: stderr lacks `{text}`:\n{}", finished.stderr);
        }
        assert_eq!(shop.listing(), before, "{name}: something was written");
    }
}

#[test]
fn identical_rules_are_refused_unless_declared() {
    let shop = Workshop::new();
    let (lion, twin) = (library("sign").display().to_string(), library("twin").display().to_string());
    let registry = |declared: &str| {
        format!(
            "[plugins]\nlion = {lion:?}\ntwin = {twin:?}\n\n[[optimizer]]\nlabel = \"lion\"\nplugin = \"lion\"\n\n\
             [[optimizer]]\nlabel = \"lion-twin\"\nplugin = \"twin\"\n{declared}\n"
        )
    };
    shop.write("registry.toml", registry(""));
    shop.train("refused", &["--optimizer", "lion", "--lr", "1e-3"]).expect(4).says(&[
        "lion",
        "lion-twin",
        "same_rule_as",
    ]);
    assert!(!shop.path().join("refused").exists());
    shop.write("registry.toml", registry("same_rule_as = \"lion\""));
    shop.train("lion", &["--optimizer", "lion", "--lr", "1e-3"]).expect(0);
    shop.train("twin", &["--optimizer", "lion-twin", "--lr", "1e-3"]).expect(0);
    assert_eq!(shop.hash("lion"), shop.hash("twin"), "declared twins are twins");
}

#[test]
fn a_lock_is_enforced_before_a_library_is_opened() {
    let shop = Workshop::new();
    fs::copy(library("sign"), shop.path().join("libsign.so")).unwrap();
    one_plugin(&shop, "./libsign.so", "lion");
    shop.run(&["registry", "lock"], &[]).expect(0);
    shop.train("locked", &["--optimizer", "lion", "--lr", "1e-3"]).expect(0);
    assert!(shop.record("locked")["registry"]["lock"].as_str().unwrap().starts_with("locked"));
    let mut bytes = fs::read(library("sign")).unwrap();
    bytes.push(0); // trailing bytes do not matter to the loader, only to the hash
    shop.write("libsign.so", bytes);
    shop.train("changed", &["--optimizer", "lion", "--lr", "1e-3"]).expect(4).says(&[
        "libsign.so",
        "registry.lock",
        "sha256",
    ]);
    assert!(!shop.path().join("changed").exists());
}

#[test]
fn registry_faults_are_found_together_with_their_lines() {
    let shop = Workshop::new();
    shop.write(
        "registry.toml",
        "[plugins]\nsign = \"sign\"\n\n[[optimizer]]\nlabel = \"lion\"\nplugin = \"sign\"\n\n[[optimizer]]\nlabel = \"lion\"\n\
         plugin = \"sing\"\n\n[[optimizer]]\nlabel = \"x\"\nplugin = \"sign\"\naliases = [\"lion\"]\ndefualts = {}\n",
    );
    shop.train("run", &["--optimizer", "lion"]).expect(4).says(&[
        "registry.toml:9",
        "sing",
        "defualts",
        "defaults",
        "registry.toml:16",
    ]);
    assert!(!shop.path().join("run").exists());
}

#[test]
fn labels_train_what_they_name() {
    let shop = Workshop::new();
    let mut hashes = std::collections::BTreeMap::new();
    for label in ["adamw", "sgdm", "lion", "muon"] {
        shop.train(label, &["--optimizer", label, "--lr", "1e-3"]).expect(0);
        assert_eq!(shop.optimizer(label, label)["reported"], label, "the plugin says it is what was asked for");
        if let Some(other) = hashes.insert(shop.hash(label), label) {
            panic!("{label} and {other} ended at the same parameters");
        }
    }
}

#[test]
fn the_repository_registry_is_sound() {
    let shop = Workshop::new();
    shop.run(&["registry", "check", "--registry", registry().to_str().unwrap()], &[]).expect(0);
}
