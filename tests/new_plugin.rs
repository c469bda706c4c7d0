//! `host plugin new`: the crate it makes builds against the sdk alone, passes its own tests, and trains after one entry.

mod support;

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use support::{Finished, Workshop, library, repository};

/// Runs cargo in a crate that was made; what is built is shared between the tests and between their runs.
fn cargo(folder: &Path, args: &[&str]) {
    let target = repository().join("target/outside");
    fs::create_dir_all(&target).unwrap();
    if !folder.join("target").exists() {
        symlink(&target, folder.join("target")).unwrap();
    }
    let output = Command::new(env!("CARGO"))
        .args(args)
        .args(["--offline", "--quiet"])
        .current_dir(folder)
        .env_remove("CARGO_TARGET_DIR")
        .env("LIBTORCH", "/nowhere")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "cargo {args:?}: {text}\n{}", String::from_utf8_lossy(&output.stdout));
    assert!(!text.contains("warning"), "cargo {args:?}: {text}");
}

/// A registry of the test's own: the repository's `adamw` and `lion`.
fn own_registry(shop: &Workshop) {
    let [adaptive, sign] = ["adaptive", "sign"].map(|name| library(name).display().to_string());
    shop.write(
        "registry.toml",
        format!(
            "# Mine.\n[plugins]\nadaptive = {adaptive:?}\nsign = {sign:?}\n\n[[optimizer]]\nlabel = \"adamw\"\nplugin = \"adaptive\"\n\n\
             [[optimizer]]\nlabel = \"lion\"\nplugin = \"sign\"\naliases = [\"evolved\"]\n"
        ),
    );
}

fn new_plugin(shop: &Workshop, args: &[&str]) -> Finished {
    let mut all = vec!["plugin", "new"];
    all.extend(args);
    shop.run(&all, &[])
}

#[test]
fn every_rule_builds_passes_its_tests_and_trains_after_one_entry() {
    for (rule, label) in [("elementwise", "my-opt"), ("reducing", "my.sums"), ("matrix", "rows-1")] {
        let shop = Workshop::new();
        own_registry(&shop);
        let made = new_plugin(&shop, &[label, "--kind", "optimizer", "--rule", rule, "--register"]).expect(0);
        let package = label.replace('.', "-");
        let folder = shop.path().join(&package);
        made.says(&[&format!("made {package}"), "cargo build", "is in registry.toml now"]);
        cargo(&folder, &["test"]);
        cargo(&folder, &["build"]);

        let listed = shop.run(&["--list-optimizers"], &[]).expect(0).stdout;
        assert!(listed.contains(label) && listed.contains("an example to start from"), "{listed}");
        let described = shop.run(&["describe", label], &[]).expect(0).stdout;
        assert!(described.contains("exp_avg") && described.contains("weight_decay"), "{described}");
        shop.run(&["registry", "check"], &[]).expect(0);
        shop.train("run", &["--optimizer", label]).expect(0);
        let ran = shop.optimizer("run", label);
        assert_eq!(ran["reported"], label, "{ran:#}");
        let library = format!("{package}/target/debug/lib{}.so", package.replace('-', "_"));
        assert!(ran["library"].as_str().unwrap().ends_with(&library), "{ran:#}");
        let losses: Vec<f64> = shop.metrics("run").iter().filter_map(|line| line["loss"].as_f64()).collect();
        assert!(losses.len() == 12 && losses[11] < losses[0], "{rule} learns something: {losses:?}");
    }
}

#[test]
fn the_entry_is_printed_for_a_registry_of_ones_own() {
    let shop = Workshop::new();
    own_registry(&shop);
    let before = fs::read_to_string(shop.path().join("registry.toml")).unwrap();
    let made = new_plugin(&shop, &["my-opt", "--path", "crates"]).expect(0);
    assert_eq!(
        made.stdout,
        "[plugins]\nmy-opt = \"./crates/target/debug/libmy_opt.so\"\n\n[[optimizer]]\nlabel = \"my-opt\"\nplugin = \"my-opt\"\n"
    );
    assert_eq!(fs::read_to_string(shop.path().join("registry.toml")).unwrap(), before, "not without --register");
    let readme = fs::read_to_string(shop.path().join("crates/README.md")).unwrap();
    assert!(readme.contains(made.stdout.trim_end()), "{readme}");
    // What is printed is a registry; only the library is not built yet.
    shop.write("registry.toml", &made.stdout);
    shop.run(&["describe", "my-opt"], &[]).expect(4).says(&["R010", "libmy_opt.so"]);
}

#[test]
fn inside_a_workspace_it_is_a_member_where_members_match() {
    let shop = Workshop::new();
    own_registry(&shop);
    shop.write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"plugins/*\"]\n\n[workspace.lints.rust]\nunsafe_code = \"deny\"\n",
    );
    fs::create_dir(shop.path().join("plugins")).unwrap();
    for (path, own, library) in [
        ("plugins/inner", false, "inner = \"inner\"\n"),
        ("outer", true, "outer = \"./outer/target/debug/libouter.so\"\n"),
    ] {
        let made = new_plugin(&shop, &[path.trim_start_matches("plugins/"), "--path", path]).expect(0);
        assert!(made.stdout.contains(library), "{}", made.stdout);
        let manifest = fs::read_to_string(shop.path().join(path).join("Cargo.toml")).unwrap();
        assert_eq!(manifest.contains("[workspace]\n"), own, "{manifest}");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{manifest}");
        let metadata = Command::new(env!("CARGO"))
            .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
            .current_dir(shop.path().join(path))
            .output()
            .unwrap();
        assert!(metadata.status.success(), "{path}: {}", String::from_utf8_lossy(&metadata.stderr));
    }
}

#[test]
fn what_cannot_be_made_is_refused_and_nothing_is_written() {
    let shop = Workshop::new();
    own_registry(&shop);
    fs::create_dir(shop.path().join("there")).unwrap();
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["My Opt"], 2, &["error[U010]", "`My Opt` cannot be a label", "hint: "]),
        (&["adamw"], 2, &["error[U010]", "`adamw` is a label already", "registry.toml:"]),
        (&["evolved"], 2, &["error[U010]", "`evolved` is a label already"]),
        (&["there"], 2, &["error[U011]", "exists already", "--path"]),
        (&["x", "--path", "there"], 2, &["error[U011]", "exists already"]),
        (&["x", "--path", "tiny.toml"], 2, &["error[U011]", "exists already"]),
        (&["x", "--path", "no/where"], 2, &["error[U011]", "no folder to lie in", "make `no` first"]),
        (&["x", "--sdk", "there"], 2, &["error[U012]", "--sdk there"]),
        (&["x", "--registry", "none.toml"], 4, &["error[R002]", "none.toml"]),
        (&["adamw", "--path", "there", "--sdk", "there"], 2, &["U010", "U011", "U012"]),
    ];
    let before = shop.listing();
    for (args, code, says) in table {
        new_plugin(&shop, args).expect(*code).says(says);
        assert_eq!(shop.listing(), before, "{args:?}");
    }
    // A registry that cannot take the entry is found out before the crate is written.
    let inline = "plugins = { sign = \"sign\" }\n[[optimizer]]\nlabel = \"lion\"\nplugin = \"sign\"\n";
    shop.write("registry.toml", inline);
    new_plugin(&shop, &["x", "--register"]).expect(4).says(&["error[R040]", "x = ", "by hand"]);
    assert_eq!(shop.listing(), before);
    assert_eq!(fs::read_to_string(shop.path().join("registry.toml")).unwrap(), inline);
}
