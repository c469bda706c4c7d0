//! The registry as a fleet meets it: locked, compared with its lock, checked.

mod support;

use std::fs;

use serde_json::Value;
use support::{Workshop, library, registry};

/// A shop with its own copies of two libraries and a registry of them; `more` is put behind the entry of `lion`.
fn shop(more: &str) -> Workshop {
    let shop = Workshop::new();
    for name in ["sign", "momentum"] {
        fs::copy(library(name), shop.path().join(format!("lib{name}.so"))).unwrap();
    }
    write_registry(&shop, more);
    shop
}

fn write_registry(shop: &Workshop, more: &str) {
    shop.write(
        "registry.toml",
        format!(
            "[plugins]\nsign = \"./libsign.so\"\nmomentum = \"./libmomentum.so\"\n\n[[optimizer]]\nlabel = \"lion\"\n\
             plugin = \"sign\"\n{more}\n[[optimizer]]\nlabel = \"sgdm\"\nplugin = \"momentum\"\n"
        ),
    );
}

/// Trailing bytes do not matter to the loader, only to the hash.
fn change(shop: &Workshop, name: &str) {
    let mut bytes = fs::read(library(name)).unwrap();
    bytes.push(0);
    shop.write(&format!("lib{name}.so"), bytes);
}

fn lock_text(shop: &Workshop) -> String {
    fs::read_to_string(shop.path().join("registry.lock")).unwrap()
}

#[test]
fn a_lock_holds_what_the_libraries_are() {
    let shop = shop("");
    let before = shop.listing();
    let said = shop.run(&["registry", "lock"], &[]).expect(0).stdout;
    assert!(said.contains("registry.lock: 2 labels in 2 libraries for x86_64"), "{said}");
    let new: Vec<_> = shop.listing().difference(&before).cloned().collect();
    assert_eq!(new, [shop.path().join("registry.lock")], "written whole: nothing else stays");
    let lock: toml::Table = lock_text(&shop).parse().unwrap();
    let libraries = lock["library"].as_array().unwrap();
    assert_eq!(libraries.len(), 2);
    for (library, plugin) in libraries.iter().zip(["momentum", "sign"]) {
        assert_eq!(library["plugin"].as_str(), Some(plugin));
        assert_eq!(library["sha256"].as_str().unwrap().len(), 64);
        for key in ["target", "abi", "sdk", "rustc"] {
            assert!(!["", "unknown"].contains(&library[key].as_str().unwrap()), "{key}: {library}");
        }
        let label = &library["label"].as_array().unwrap()[0];
        assert_eq!(label["fingerprint"].as_str().unwrap().len(), 32);
        assert_eq!((label["state-bytes"].as_str(), label["conformance"].as_str()), (Some("4"), Some("not run")));
    }
    // Locking again changes nothing.
    let first = lock_text(&shop);
    shop.run(&["registry", "lock"], &[]).expect(0);
    assert_eq!(lock_text(&shop), first);
}

#[test]
fn the_record_says_whether_the_registry_was_locked() {
    let shop = shop("");
    let lock_of = |run: &str| shop.record(run)["registry"]["lock"].as_str().unwrap().to_string();
    shop.train("free", &["--optimizer", "lion"]).expect(0);
    assert_eq!(lock_of("free"), "unlocked");
    shop.run(&["registry", "lock"], &[]).expect(0);
    shop.train("locked", &["--optimizer", "lion"]).expect(0);
    assert!(lock_of("locked").starts_with("locked by "), "{}", lock_of("locked"));
}

#[test]
fn every_way_in_refuses_a_changed_library_and_names_all_of_them() {
    let shop = shop("");
    shop.run(&["registry", "lock"], &[]).expect(0);
    shop.train("run", &["--optimizer", "lion", "--steps", "4"]).expect(0);
    change(&shop, "sign");
    change(&shop, "momentum");
    let one: &[&str] = &["error[R013]", "plugin `sign`", "libsign.so", "registry.lock", "host registry diff"];
    let both: &[&str] = &["plugin `sign`", "plugin `momentum`", "libmomentum.so"];
    let table: [(&[&str], &[&str]); 7] = [
        (&["train", "--config", "tiny.toml", "--optimizer", "lion"], one),
        (&["train", "--config", "tiny.toml", "--optimizer", "lion", "--dry-run"], one),
        (&["resume", "run"], one),
        (&["describe", "lion"], one),
        (&["--list-optimizers"], both),
        (&["--list-optimizers", "--json"], both),
        (&["registry", "check"], both),
    ];
    for (args, says) in table {
        shop.run(args, &[]).expect(4).says(says);
    }
    // What a run does not use is no fault of it.
    fs::copy(library("sign"), shop.path().join("libsign.so")).unwrap();
    shop.train("other", &["--optimizer", "lion", "--steps", "1"]).expect(0);
}

/// A file that no loader could open is refused for its hash too: it was never opened.
#[test]
fn a_changed_library_is_refused_before_it_is_opened() {
    let shop = shop("");
    shop.run(&["registry", "lock"], &[]).expect(0);
    fs::copy(library("panics"), shop.path().join("libsign.so")).unwrap();
    let finished = shop.run(&["describe", "lion"], &[]).expect(4).says(&["error[R013]"]);
    assert!(!finished.stderr.contains("R020"), "what it exports was not asked:\n{}", finished.stderr);
}

#[test]
fn a_label_must_be_the_one_that_was_locked_too() {
    let shop = shop("");
    shop.run(&["registry", "lock"], &[]).expect(0);
    // Another label of a library that is as it was.
    write_registry(&shop, "\n[[optimizer]]\nlabel = \"tiger\"\nplugin = \"sign\"\n");
    shop.train("tiger", &["--optimizer", "tiger"]).expect(4).says(&["error[R025]", "`tiger`", "registry.lock"]);
    shop.train("lion", &["--optimizer", "lion", "--steps", "1"]).expect(0);
    // A default of the registry that makes another rule of a label.
    write_registry(&shop, "");
    let text = fs::read_to_string(shop.path().join("registry.toml")).unwrap();
    shop.write("registry.toml", text + "defaults = { nesterov = true }\n");
    shop.train("sgdm", &["--optimizer", "sgdm"]).expect(4).says(&["error[R025]", "`sgdm`", "is another rule"]);
    shop.run(&["registry", "check"], &[]).expect(4).says(&["R025"]);
}

#[test]
fn diff_tells_in_words_what_changed() {
    let shop = shop("");
    shop.run(&["registry", "diff"], &[]).expect(4).says(&["error[R014]", "no registry.lock", "host registry lock"]);
    shop.run(&["registry", "lock"], &[]).expect(0);
    let diff = |code| shop.run(&["registry", "diff"], &[]).expect(code).stdout;
    assert_eq!(diff(0), "no difference\n");

    change(&shop, "sign");
    let words = diff(6);
    assert!(words.starts_with("plugin `sign` is another file: sha256 ") && words.lines().count() == 1, "{words}");
    fs::copy(library("sign"), shop.path().join("libsign.so")).unwrap();

    write_registry(&shop, "\n[[optimizer]]\nlabel = \"tiger\"\nplugin = \"sign\"\n");
    assert_eq!(diff(6), "optimizer `tiger` is new in plugin `sign`\n");
    let text = fs::read_to_string(shop.path().join("registry.toml")).unwrap();
    shop.write(
        "registry.toml",
        text.replace("label = \"lion\"", "label = \"signsgd\"").replace("\"tiger\"", "\"lion\""),
    );
    assert_eq!(diff(6), "optimizer `signsgd` is new in plugin `sign`\n");
    shop.write(
        "registry.toml",
        text.replace("label = \"lion\"", "label = \"signsgd\"").replace("tiger", "tiger-authors"),
    );
    let words = diff(6);
    assert!(words.contains("optimizer `lion` no longer comes from plugin `sign`"), "{words}");

    write_registry(&shop, "");
    let text = fs::read_to_string(shop.path().join("registry.toml")).unwrap();
    shop.write("registry.toml", text + "defaults = { nesterov = true }\n");
    let words = diff(6);
    assert!(words.starts_with("optimizer `sgdm` is another rule: ") && words.lines().count() == 1, "{words}");

    // What a lock of another time says of versions and state.
    write_registry(&shop, "");
    let lock = lock_text(&shop);
    for (key, words) in [
        ("abi", "plugin `momentum` has another ABI: 0.0 → "),
        ("sdk", "plugin `momentum` has another sdk: 0.0 → "),
        ("rustc", "plugin `momentum` has another compiler: 0.0 → "),
        ("state-bytes", "optimizer `sgdm` keeps another amount of state per parameter: 0.0 → 4 bytes"),
    ] {
        let old = lock.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        shop.write("registry.lock", lock.replacen(old, &format!("{key} = \"0.0\""), 1));
        let said = diff(6);
        assert!(said.starts_with(words) && said.lines().count() == 1, "{key}: {said}");
    }
}

#[test]
fn check_prints_twins_and_families() {
    let shop = Workshop::new();
    let registry = registry();
    let args = ["registry", "check", "--registry", registry.to_str().unwrap()];
    let text = shop.run(&args, &[]).expect(0).stdout;
    assert!(
        text.contains("declared as the same rule") && text.contains("signsgd, tiger"),
        "declared twins are shown: {text}"
    );
    for remark in [
        "`adamw` with weight_decay = 0 is of the family of `adam`",
        "`nadamw` with beta1 = 0 is of the family of `adamw` with beta1 = 0",
        "`sgdm` with momentum = 0 is of the family of `lars`",
        "`signsgd` with momentum = 0 is of the family of `lion` with beta1 = 0",
        "`adamp` with delta = 0 makes the steps of `adamw`",
        "`muon-cwd` with weight_decay = 0 makes the steps of `muon` with weight_decay = 0",
    ] {
        assert!(text.contains(remark), "lacks: {remark}\n{text}");
    }
    assert!(!text.contains("lr = 0"), "what does nothing is no family: {text}");
    assert!(!text.contains("beta1 = 1 makes"), "what does not see the gradient is no family: {text}");
    let json = shop.run(&[&args[..], &["--json"]].concat(), &[]).expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let twins = json["twins"].as_array().unwrap();
    assert!(twins.iter().any(|twin| twin["labels"] == serde_json::json!(["signsgd", "tiger"])), "{twins:#?}");
    let families = json["families"].as_array().unwrap();
    let has = |label: &str, setting: Value| {
        families.iter().any(|family| {
            let members = family["members"].as_array().unwrap();
            members.iter().any(|member| member["label"] == label && member["setting"] == setting)
        })
    };
    assert!(has("adamw", serde_json::json!({ "weight_decay": 0.0 })), "{families:#?}");
    assert!(has("adam", Value::Null), "{families:#?}");
    let observed = json["families_observed"].as_array().unwrap();
    let adamp = serde_json::json!({ "label": "adamp", "setting": { "delta": 0.0 } });
    assert!(observed.iter().any(|members| members.as_array().unwrap().contains(&adamp)), "{observed:#?}");
}

#[test]
fn check_refuses_undeclared_twins() {
    let shop = shop("");
    fs::copy(library("twin"), shop.path().join("libtwin.so")).unwrap();
    let text = fs::read_to_string(shop.path().join("registry.toml")).unwrap();
    let twin = text.replace("[plugins]", "[plugins]\ntwin = \"./libtwin.so\"")
        + "\n[[optimizer]]\nlabel = \"lion-twin\"\nplugin = \"twin\"\n";
    shop.write("registry.toml", &twin);
    shop.run(&["registry", "check"], &[]).expect(4).says(&["error[R022]", "lion-twin", "same_rule_as"]);
    shop.write("registry.toml", twin + "same_rule_as = \"lion\"\n");
    let text = shop.run(&["registry", "check"], &[]).expect(0).stdout;
    assert!(text.contains("lion, lion-twin"), "{text}");
}

#[test]
fn a_lock_with_conformance_says_what_passed_and_keeps_it() {
    let shop = shop("");
    let of = |label: &str| {
        let lock: toml::Value = toml::from_str(&lock_text(&shop)).unwrap();
        let libraries = lock["library"].as_array().unwrap().clone();
        let labels = libraries.iter().flat_map(|library| library["label"].as_array().unwrap());
        let found = labels.clone().find(|found| found["label"].as_str() == Some(label)).unwrap();
        found["conformance"].as_str().unwrap().to_string()
    };
    shop.run(&["registry", "lock", "--conformance"], &[]).expect(0);
    assert_eq!(of("lion"), "passed");
    // The same libraries: what was checked stays checked, and diff sees no difference.
    shop.run(&["registry", "lock"], &[]).expect(0);
    assert_eq!(of("lion"), "passed");
    shop.run(&["registry", "diff"], &[]).expect(0);
    change(&shop, "sign");
    let finished = shop.run(&["registry", "diff"], &[]).expect(6);
    assert!(finished.stdout.contains("conformance: passed → not run"), "{}", finished.stdout);
}

#[test]
fn what_fails_conformance_is_not_locked() {
    let shop = Workshop::new();
    fs::copy(library("overruns"), shop.path().join("liboverruns.so")).unwrap();
    shop.write(
        "registry.toml",
        "[plugins]\nbad = \"./liboverruns.so\"\n\n[[optimizer]]\nlabel = \"overruns\"\nplugin = \"bad\"\n",
    );
    let before = shop.listing();
    let finished = shop.run(&["registry", "lock", "--conformance"], &[]).expect(6);
    finished.says(&["error[R034]", "overruns", "stays inside"]);
    assert_eq!(shop.listing(), before, "nothing is written");
}
