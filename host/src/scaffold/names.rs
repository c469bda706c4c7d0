//! What a label is called elsewhere: its crate, its module, its type.
//! Does not know which of these names are taken.

use crate::{
    fault::{Exit, Fault},
    registry::is_label,
};

/// The names that follow from one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// As users write it: `my-opt`.
    pub label: String,
    /// The package: `my-opt`.
    pub package: String,
    /// The module: `my_opt`.
    pub module: String,
    /// The type: `MyOpt`.
    pub type_name: String,
}

/// Words that no module can be called.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Crates that a rule's crate or its module would hide, and packages of the trainer itself.
const CRATES: [&str; 9] = ["alloc", "core", "host", "proc-macro", "sdk", "sdk-derive", "std", "test", "xtask"];

/// Types and traits that the files of a new crate name.
const TYPES: [&str; 25] = [
    "Copy",
    "Elementwise",
    "Err",
    "Fn",
    "Hyper",
    "Knob",
    "Lane",
    "Names",
    "Ok",
    "Optimizer",
    "Option",
    "Record",
    "Reducing",
    "Result",
    "Scalar",
    "Self",
    "Slot",
    "State",
    "Step",
    "String",
    "Sums",
    "Tensor",
    "TensorStep",
    "Vec",
    "Some",
];

impl Names {
    /// The names that follow from `label`.
    ///
    /// # Errors
    /// U010 where a registry would not take it.
    pub fn of(label: &str) -> Result<Names, Fault> {
        if !is_label(label) {
            let fault = Fault::new("U010", Exit::Usage, format!("`{label}` cannot be a label"));
            return Err(fault.hint("a label begins with a–z or 0–9 and goes on with these, `-`, `_` and `.`"));
        }
        let mut words: Vec<&str> = label.split(['-', '_', '.']).filter(|word| !word.is_empty()).collect();
        if label.starts_with(|first: char| first.is_ascii_digit()) {
            words.insert(0, "rule");
        }
        let (mut package, mut module) = (words.join("-"), words.join("_"));
        let mut type_name: String = words.iter().map(|word| capitalized(word)).collect();
        if KEYWORDS.contains(&package.as_str()) || CRATES.contains(&package.as_str()) {
            package += "-plugin";
            module += "_rule";
        }
        if TYPES.contains(&type_name.as_str()) {
            type_name += "Rule";
        }
        Ok(Names { label: label.to_string(), package, module, type_name })
    }

    /// The library's file, as cargo names it.
    pub fn library_file(&self) -> String {
        let (before, after) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        format!("{before}{}{after}", self.library())
    }

    /// The library's name, without what the system puts around it.
    pub fn library(&self) -> String {
        self.package.replace('-', "_")
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_rust_whatever_the_label() {
        for (label, package, module, type_name) in [
            ("my-opt", "my-opt", "my_opt", "MyOpt"),
            ("sgd", "sgd", "sgd", "Sgd"),
            ("a.b_c--d-", "a-b-c-d", "a_b_c_d", "ABCD"),
            ("1cycle", "rule-1cycle", "rule_1cycle", "Rule1cycle"),
            ("match", "match-plugin", "match_rule", "Match"),
            ("sdk", "sdk-plugin", "sdk_rule", "Sdk"),
            ("lane", "lane", "lane", "LaneRule"),
            ("self", "self-plugin", "self_rule", "SelfRule"),
        ] {
            let names = Names::of(label).unwrap();
            let found = (names.label.as_str(), names.package.as_str(), names.module.as_str(), names.type_name.as_str());
            assert_eq!(found, (label, package, module, type_name));
        }
        assert_eq!(Names::of("my-opt").unwrap().library_file(), "libmy_opt.so");
    }

    #[test]
    fn what_a_registry_would_not_take_is_no_name() {
        for label in ["", "-a", "My", "a b", "a/b", "../a", "é", "a\n"] {
            let fault = Names::of(label).unwrap_err();
            assert_eq!((fault.code, fault.exit), ("U010", Exit::Usage), "{label}");
        }
    }
}
