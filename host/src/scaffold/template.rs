//! The files of a new crate, as text: those under `template/` with the names put in.
//! Writes none.

use std::path::Path;

use super::{names::Names, workspace::Belongs};

/// What an optimizer's rule is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rule {
    /// Each element from itself alone
    Elementwise,
    /// Each element, after sums over its tensor
    Reducing,
    /// Whole matrices, by products, norms and decompositions
    Matrix,
}

impl Rule {
    fn source(self) -> &'static str {
        match self {
            Rule::Elementwise => include_str!("template/elementwise.rs"),
            Rule::Reducing => include_str!("template/reducing.rs"),
            Rule::Matrix => include_str!("template/matrix.rs"),
        }
    }
}

/// What the files say that does not follow from the names.
pub struct Facts<'a> {
    /// The sdk's folder, as the manifest writes it.
    pub sdk: &'a str,
    /// Which workspace the crate falls into.
    pub belongs: Belongs,
    /// The entry of a registry.
    pub entry: &'a str,
    /// The library, once it is built.
    pub library: &'a Path,
    /// How the trainer is called.
    pub host: &'a str,
}

/// Every file of the crate, by its path inside.
pub fn files(rule: Rule, names: &Names, facts: &Facts<'_>) -> Vec<(String, String)> {
    let readme = include_str!("template/README.md")
        .replace("EXAMPLE_LIBRARY", &facts.library.display().to_string())
        .replace("EXAMPLE_HOST", facts.host)
        .replace("EXAMPLE_ENTRY", facts.entry.trim_end());
    let named = |text: &str| {
        let text = text.replace("ExampleRule", &names.type_name).replace("example_rule", &names.module);
        text.replace("example-rule", &names.label).replace("example-crate", &names.package)
    };
    let mut files = vec![
        ("Cargo.toml".to_string(), manifest(names, facts)),
        ("README.md".to_string(), named(&readme)),
        ("src/lib.rs".to_string(), named(&root(rule))),
        (format!("src/{}.rs", names.module), named(rule.source())),
    ];
    if facts.belongs == Belongs::ToItself {
        files.push((".gitignore".to_string(), "/target/\n".to_string()));
    }
    files
}

/// The crate's root. Rules over whole tensors need a host to be checked, so their crate has no such test.
fn root(rule: Rule) -> String {
    let checks = if rule == Rule::Matrix { "" } else { CHECKS };
    include_str!("template/lib.rs").to_string() + checks
}

/// The test of conformance, at the end of a crate's root.
const CHECKS: &str = "
// The checks of `host plugin check` on every rule of this library, as far as they need no host.
#[cfg(test)]
sdk::conformance! {}
";

fn manifest(names: &Names, facts: &Facts<'_>) -> String {
    let sdk = toml::Value::from(facts.sdk).to_string();
    let mut text = format!(
        "[package]\nname = \"{}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nsdk = {{ path = {sdk} }}\n\n\
         [dev-dependencies]\nsdk = {{ path = {sdk}, features = [\"conformance\"] }}\n",
        names.package
    );
    text += match facts.belongs {
        Belongs::ToTheOneAbove { lints: true } => "\n[lints]\nworkspace = true\n",
        Belongs::ToTheOneAbove { lints: false } => "",
        Belongs::ToItself => {
            "\n# An unoptimized kernel is many times slower, and a plugin builds in seconds either way.\n\
             [profile.dev]\nopt-level = 3\n\n\
             # A workspace of its own, wherever the crate lies.\n[workspace]\n\n\
             [workspace.lints.rust]\nunsafe_code = \"deny\"\n\n[lints]\nworkspace = true\n"
        }
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left_and_the_manifest_is_one() {
        let names = Names::of("my.opt").unwrap();
        for rule in [Rule::Elementwise, Rule::Reducing, Rule::Matrix] {
            for belongs in [Belongs::ToItself, Belongs::ToTheOneAbove { lints: true }] {
                let library = Path::new("target/debug/libmy_opt.so");
                let facts = Facts { sdk: "a \"b\"\\sdk", belongs, entry: "x = 1", library, host: "host" };
                for (name, text) in files(rule, &names, &facts) {
                    assert!(!text.to_lowercase().contains("example_") && !text.contains("example-"), "{name}:\n{text}");
                    assert!(!text.contains("ExampleRule"), "{name}");
                    if name == "Cargo.toml" {
                        let manifest: toml::Table = text.parse().unwrap();
                        assert_eq!(manifest["dependencies"]["sdk"]["path"].as_str(), Some(facts.sdk));
                        assert_eq!(manifest.contains_key("workspace"), belongs == Belongs::ToItself);
                    }
                }
            }
        }
    }
}
