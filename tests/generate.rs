//! `host generate`: the scripts complete, the manual is one, and the reference pages in the repository are those of the
//! program.

mod support;

use std::{collections::BTreeSet, fs, process::Command};

use support::{Workshop, plugins, registry, repository};

#[test]
fn the_reference_pages_in_the_repository_are_current() {
    let shop = Workshop::new();
    let (folder, registry) = (plugins().display().to_string(), registry().display().to_string());
    let args = ["generate", "reference", "--dir", "pages", "--registry", &registry, "--plugin-dir", &folder];
    shop.run(&args, &[]).expect(0);
    let names: BTreeSet<String> = fs::read_dir(shop.path().join("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["cli.md", "configuration.md", "environment.md", "optimizers.md"].map(String::from).into());
    for name in names {
        let made = fs::read_to_string(shop.path().join("pages").join(&name)).unwrap();
        let kept = fs::read_to_string(repository().join("docs/reference").join(&name)).unwrap_or_default();
        let differs = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
        assert!(made == kept, "docs/reference/{name} is stale: `cargo xtask docs` writes it; {differs:?}");
    }
}

#[test]
fn every_optimizer_is_on_the_page_with_all_that_describes_it() {
    let page = fs::read_to_string(repository().join("docs/reference/optimizers.md")).unwrap();
    let shop = Workshop::new();
    let list = shop.run(&["--list-optimizers", "--json"], &[]).expect(0);
    let all: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    for one in all.as_array().unwrap() {
        let label = one["label"].as_str().unwrap();
        let (_, rest) = page.split_once(&format!("\n## {label}\n")).unwrap_or_else(|| panic!("no {label}"));
        let section = rest.split("\n## ").next().unwrap();
        for key in ["paper", "summary", "formula"] {
            let text = one[key].as_str().unwrap_or_default();
            assert!(section.contains(text.trim_end()), "{label}: {key}");
        }
        let declared: Vec<&str> = one["declares"].as_array().unwrap().iter().filter_map(|text| text.as_str()).collect();
        assert_eq!(
            section.contains(&format!("\n- declares: {}\n", declared.join(", "))),
            !declared.is_empty(),
            "{label}"
        );
        assert!(one["aliases"].as_array().unwrap().iter().all(|alias| section.contains(alias.as_str().unwrap())));
        assert!(section.contains("| `lr` | "), "{label} has a learning rate with default and range");
    }
}

/// What bash offers after a line, by the generated script.
fn offered(shop: &Workshop, line: &str) -> BTreeSet<String> {
    let script = r#"
        source completions.bash
        read -ra COMP_WORDS <<<"$1"
        [[ "$1" == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        COMP_LINE="$1" COMP_POINT=${#1}
        _host host "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let output = Command::new("bash").args(["-c", script, "bash", line]).current_dir(shop.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect()
}

#[test]
fn bash_completes_verbs_flags_labels_and_words() {
    let shop = Workshop::new();
    let script = shop.run(&["generate", "completions", "bash"], &[]).expect(0).stdout;
    shop.write("completions.bash", script);
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<BTreeSet<_>>();
    assert!(offered(&shop, "host ").is_superset(&words(&[
        "train",
        "resume",
        "doctor",
        "generate",
        "--list-optimizers"
    ])));
    assert_eq!(offered(&shop, "host tr"), words(&["train"]));
    assert_eq!(offered(&shop, "host train --attn"), words(&["--attn-layers"]));
    assert_eq!(offered(&shop, "host train --optimizer li"), words(&["lion"]));
    assert_eq!(offered(&shop, "host train --device "), words(&["auto", "cpu", "cuda"]));
    assert!(offered(&shop, "host train --preset ").contains("nanogpt-cpu"));
    assert!(!offered(&shop, "host plugin ").contains("check-one"));
}

#[test]
fn completions_need_no_registry_unless_one_is_named() {
    let shop = Workshop::new();
    let run = |args: &[&str]| {
        let mut command = shop.command(&[] as &[&str], &[]);
        // Not the repository's registry, and none beside the program.
        command = Command::new(command.get_program());
        command.args(args).current_dir(shop.path()).output().unwrap()
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["generate", "completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("attn-layers"), "{shell}");
    }
    assert!(
        String::from_utf8_lossy(&run(&["generate", "completions", "bash"]).stderr).contains("labels are not completed")
    );
    let output = run(&["generate", "completions", "bash", "--registry", "none.toml"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout.is_empty());
    assert_eq!(run(&["generate", "completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn the_manual_has_a_page_for_every_verb() {
    let shop = Workshop::new();
    shop.run(&["generate", "man", "--dir", "man"], &[]).expect(0);
    let read = |name: &str| fs::read_to_string(shop.path().join("man").join(name)).unwrap();
    for name in ["host.1", "host-train.1", "host-doctor.1", "host-plugin-check.1", "host-registry-lock.1"] {
        assert!(read(name).contains(".TH "), "{name}");
    }
    let train = read("host-train.1").replace("\\-", "-");
    for word in ["--optimizer", "--attn-layers", "HOST_SEED", "Precedence", "host train --preset default"] {
        assert!(train.contains(word), "{word}");
    }
    assert!(!shop.path().join("man/host-plugin-check-one.1").exists());
    let page = shop.run(&["generate", "man"], &[]).expect(0).stdout;
    assert_eq!(page, read("host.1"));

    for args in [&["generate", "man", "--dir", "text.txt/man"][..], &["generate", "reference", "--dir", "text.txt/x"]] {
        shop.run(args, &[]).expect(8).says(&["error[D133]", "text.txt", "hint:"]);
    }
}
