//! `host doctor`: what is there is told, what is broken is told with its reason and the way out, and nothing that is broken
//! ends the report.

mod support;

use std::{fs, path::Path};

use serde_json::Value;
use support::{Finished, Workshop, faulty_disk, library, plugins, registry};

/// A folder with the repository's registry and links to its libraries, to be broken.
fn workshop() -> Workshop {
    let shop = Workshop::new();
    let text = fs::read_to_string(registry()).unwrap();
    shop.write("registry.toml", format!("plugin-dir = \"lib\"\n{text}"));
    fs::create_dir(shop.path().join("lib")).unwrap();
    for entry in fs::read_dir(plugins()).unwrap() {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if from.extension().is_some_and(|extension| extension == "so") {
            std::os::unix::fs::symlink(from, shop.path().join("lib").join(name)).unwrap();
        }
    }
    shop
}

fn findings(finished: &Finished) -> Vec<Value> {
    let report: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{}", finished.stderr));
    assert_eq!(report["exit_code"].as_i64().map(|code| code as i32), finished.code);
    assert_eq!(report["fit"], finished.code == Some(0));
    report["findings"].as_array().unwrap().clone()
}

#[track_caller]
fn finding<'f>(findings: &'f [Value], what: &str) -> &'f Value {
    findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("no {what} in {findings:#?}"))
}

/// What is wrong, as code and name of the finding.
fn wrong(findings: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let of = |finding: &Value| {
        let faults = finding["faults"].as_array().unwrap().iter();
        faults.map(|fault| (text(&finding["what"]), text(&fault["code"]))).collect::<Vec<_>>()
    };
    findings.iter().flat_map(of).collect()
}

/// Removes the link to a library and writes a file in its place.
fn replace(shop: &Workshop, name: &str, bytes: Option<&[u8]>) {
    let path = shop.path().join("lib").join(name);
    fs::remove_file(&path).unwrap();
    if let Some(bytes) = bytes {
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_sound_place_is_told_as_such_and_left_alone() {
    let shop = workshop();
    let before = shop.listing();
    let finished = shop.run(&["doctor", "--device", "cpu", "--json"], &[]).expect(0);
    let all = findings(&finished);
    assert!(all.iter().all(|finding| finding["state"] == "ok"), "{all:#?}");
    let libtorch = &finding(&all, "libtorch")["facts"];
    assert!(libtorch["version"].as_str().unwrap().starts_with("2."), "{libtorch}");
    assert!(Path::new(libtorch["folder"].as_str().unwrap()).join("libtorch_cpu.so").exists());
    assert_eq!(finding(&all, "threads")["facts"]["threads"], 1, "OMP_NUM_THREADS is 1 here");
    assert!(
        ["baseline", "avx2", "avx512"].contains(&finding(&all, "instructions")["facts"]["rules"].as_str().unwrap())
    );
    assert_eq!(finding(&all, "lock")["facts"]["locked"], false);
    assert_eq!(finding(&all, "plugin sign")["state"], "ok");
    let optimizers = fs::read_to_string(registry()).unwrap().matches("[[optimizer]]").count();
    assert_eq!(finding(&all, "labels")["facts"]["optimizer"], optimizers);
    assert!(all.iter().all(|finding| finding["what"] != "cuda"), "none was looked for");

    let table = shop.run(&["doctor", "--device", "cpu"], &[]).expect(0);
    for word in ["what", "state", "found", "way out", "libtorch", "plugin folder", "ok"] {
        assert!(table.stdout.contains(word), "{word}: {}", table.stdout);
    }
    assert_eq!(table.stderr, "");
    assert_eq!(shop.listing(), before);

    shop.run(&["registry", "lock"], &[]).expect(0);
    let all = findings(&shop.run(&["doctor", "--device", "cpu", "--json"], &[]).expect(0));
    assert_eq!(finding(&all, "lock")["facts"]["locked"], true);
}

/// Where there is no driver, or no card, it is a remark by default, and a fault where runs will ask for one.
#[test]
fn cuda_is_used_or_it_is_said_why_not() {
    let shop = workshop();
    let all = findings(&shop.run(&["doctor", "--json"], &[]).expect(0));
    let cuda = finding(&all, "cuda");
    if cuda["state"] == "ok" {
        assert!(cuda["facts"]["cards"].as_i64().unwrap() > 0);
    } else {
        assert_eq!(cuda["state"], "limited");
        assert!(["no-driver", "no-library", "no-card"].contains(&cuda["facts"]["why"].as_str().unwrap()));
        assert!(!cuda["hint"].as_str().unwrap().is_empty());
        let finished =
            shop.run(&["doctor", "--device", "cuda", "--json"], &[]).expect(10).says(&["error[E001]", "hint:"]);
        assert_eq!(wrong(&findings(&finished)), [("cuda".to_string(), "E001".to_string())]);
    }
}

/// Libraries that stand in for NVIDIA's driver: one that is there while libtorch's half is not or has no card, one that ends
/// the process, and one that never comes back.
#[test]
fn a_driver_that_misbehaves_is_a_finding() {
    let shop = workshop();
    let cases = [
        ("int cuInit(unsigned flags) { return 100; }", &["no-library", "no-card"][..], 0),
        ("__attribute__((constructor)) static void die(void) { __builtin_trap(); }", &[], 10),
    ];
    for (source, reasons, code) in cases {
        shop.write("driver.c", source);
        let path = shop.path().join("driver");
        fs::create_dir_all(&path).unwrap();
        faulty_disk::compile(&[], &shop.path().join("driver.c"), &path.join("libcuda.so.1"));
        let folder = path.display().to_string();
        let finished = shop.run(&["doctor", "--json"], &[("LD_LIBRARY_PATH", &folder)]).expect(code);
        let all = findings(&finished);
        let cuda = finding(&all, "cuda");
        match reasons {
            [] => {
                let finished = finished.says(&["error[E007]", "illegal instruction", "hint:"]);
                assert_eq!(wrong(&findings(&finished)), [("cuda".to_string(), "E007".to_string())]);
            }
            _ => assert!(reasons.contains(&cuda["facts"]["why"].as_str().unwrap()), "{cuda}"),
        }
        // The rest of the report is there.
        assert_eq!(finding(&all, "labels")["state"], "ok");
    }
}

#[test]
fn a_registry_that_cannot_be_read_is_told_and_all_else_with_it() {
    let shop = workshop();
    for (text, code) in
        [("colour = 1\n", "R003"), ("", "R006"), ("[[optimizer]]\nlabel = \"x\"\nplugin = \"y\"\n", "R005")]
    {
        shop.write("registry.toml", text);
        let finished =
            shop.run(&["doctor", "--device", "cpu", "--json"], &[]).expect(4).says(&[&format!("error[{code}]")]);
        let all = findings(&finished);
        assert!(wrong(&all).contains(&("registry".to_string(), code.to_string())), "{all:#?}");
        assert_eq!(finding(&all, "libtorch")["state"], "ok");
    }
    let gone = shop.run(&["doctor", "--device", "cpu", "--registry", "none.toml"], &[]).expect(4);
    gone.says(&["error[R002]", "none.toml"]);
}

#[test]
fn every_broken_library_is_told_with_its_reason() {
    let shop = workshop();
    replace(&shop, "libsign.so", None);
    replace(&shop, "libtrust.so", Some(b"no library"));
    let whole = fs::read(library("momentum")).unwrap();
    replace(&shop, "libmomentum.so", Some(&whole[..whole.len() / 2]));
    let finished = shop.run(&["doctor", "--device", "cpu", "--json"], &[]).expect(4);
    let all = findings(&finished);
    for (what, code) in [("plugin sign", "R010"), ("plugin trust", "R011"), ("plugin momentum", "R011")] {
        let finding = finding(&all, what);
        assert_eq!((finding["state"].as_str(), finding["faults"][0]["code"].as_str()), (Some("unfit"), Some(code)));
        assert!(finding["faults"][0]["hint"].as_str().is_some(), "{finding}");
    }
    assert_eq!(wrong(&all).len(), 3, "each is told once, and nothing else is wrong: {all:#?}");
    assert_eq!(finding(&all, "plugin adaptive")["state"], "ok");

    let nowhere = shop.run(&["doctor", "--device", "cpu", "--json", "--plugin-dir", "nowhere"], &[]).expect(4);
    let all = findings(&nowhere);
    assert_eq!(finding(&all, "plugin folder")["state"], "limited");
    assert!(wrong(&all).iter().all(|(_, code)| code == "R010"));
}

#[test]
fn a_library_that_ends_the_process_is_a_finding_and_the_others_are_still_looked_at() {
    let shop = workshop();
    // Enough of a plugin to be opened: the name of the root module, and a constructor.
    let fault = "__attribute__((constructor)) static void die(void) { __builtin_trap(); }\n";
    shop.write("bad.c", format!("int {} = 0;\n{fault}", abi_stable::library::ROOT_MODULE_LOADER_NAME));
    for name in ["libsign.so", "libtrust.so"] {
        replace(&shop, name, None);
        faulty_disk::compile(&[], &shop.path().join("bad.c"), &shop.path().join("lib").join(name));
    }
    let finished = shop.run(&["doctor", "--device", "cpu", "--json"], &[]).expect(4);
    let finished = finished.says(&["error[R035]", "illegal instruction", "registry.toml:", "hint:"]);
    let all = findings(&finished);
    let told = wrong(&all);
    assert_eq!(told, ["plugin sign", "plugin trust"].map(|what| (what.to_string(), "R035".to_string())));
    assert_eq!(finding(&all, "plugin adaptive")["state"], "ok");
    assert_eq!(finding(&all, "labels")["state"], "ok");
}

#[test]
fn a_library_that_is_not_the_locked_one_is_told() {
    let shop = workshop();
    shop.run(&["registry", "lock"], &[]).expect(0);
    let mut bytes = fs::read(library("sign")).unwrap();
    bytes.push(0);
    replace(&shop, "libsign.so", Some(&bytes));
    let finished =
        shop.run(&["doctor", "--device", "cpu", "--json"], &[]).expect(4).says(&["error[R013]", "registry diff"]);
    assert_eq!(wrong(&findings(&finished)), [("plugin sign".to_string(), "R013".to_string())]);
}
