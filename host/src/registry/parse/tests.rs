//! Tables of good and bad `registry.toml` texts.

use super::*;

const GOOD: &str = r#"
plugin-dir = "plugins"
default-optimizer = "adam-w"

[plugins]
adaptive = "adaptive"
mine = "../mine/libmine.so"

[[optimizer]]
label = "adamw"
plugin = "adaptive"
aliases = ["adam-w"]
defaults = { beta2 = 0.95, amsgrad = false, warmup = 1_000 }

[[optimizer]]
label = "muon"
plugin = "mine"
companion = { roles = ["embedding", "head"], optimizer = "adam-w", lr = 3e-3, mode = "fast" }

[[projection]]
label = "adamw"
plugin = "mine"
"#;

#[test]
fn a_good_file_is_read_whole() {
    let document = parse("registry.toml", GOOD).unwrap();
    assert_eq!(document.plugin_dir.as_deref(), Some("plugins"));
    assert_eq!(document.default_optimizer.as_deref(), Some("adamw"), "an alias is replaced by its label");
    let ids: Vec<_> = document.plugins.iter().map(|plugin| (plugin.id.as_str(), plugin.library.as_str())).collect();
    assert_eq!(ids, [("adaptive", "adaptive"), ("mine", "../mine/libmine.so")]);
    let labels: Vec<_> = document.entries.iter().map(|entry| (entry.kind, entry.label.as_str())).collect();
    assert_eq!(labels, [(Kind::Optimizer, "adamw"), (Kind::Optimizer, "muon"), (Kind::Projection, "adamw")]);
    let adamw = &document.entries[0];
    assert_eq!(adamw.place, "registry.toml:10  label = \"adamw\"");
    assert_eq!(adamw.defaults["beta2"], HyperValue::Number(0.95));
    assert_eq!(adamw.defaults["amsgrad"], HyperValue::Flag(false));
    assert_eq!(adamw.defaults["warmup"], HyperValue::Number(1000.0));
    let companion = document.entries[1].companion.as_ref().unwrap();
    assert_eq!(companion.roles, ["embedding", "head"]);
    assert_eq!(companion.optimizer, "adamw");
    assert_eq!(companion.hyper["lr"], HyperValue::Number(3e-3));
    assert_eq!(companion.hyper["mode"], HyperValue::Choice("fast".into()));
    assert_eq!(companion.hyper.len(), 2, "roles and optimizer are no hyper-parameters");
}

/// Text, code, part of the message, line, part of the hint.
type Row = (&'static str, &'static str, &'static str, usize, &'static str);

const HEAD: &str = "[plugins]\np = \"p\"\n[[optimizer]]\nlabel = \"a\"\nplugin = \"p\"\n";

const BAD: &[Row] = &[
    ("", "R006", "no label", 0, "add an [[optimizer]]"),
    ("[plugins]\np = \"p\"\n", "R006", "no label", 0, ""),
    ("plugin-dir = \n", "R003", "", 1, ""),
    ("plugin-dir = 1\n", "R003", "`plugin-dir` must be a string, not an integer", 1, ""),
    ("plugin_dir = \"x\"\n", "R003", "the registry has no key `plugin_dir`", 1, "`plugin-dir`"),
    ("[[optimiser]]\nlabel = \"a\"\n", "R003", "no key `optimiser`", 1, "`optimizer`"),
    ("optimizer = 3\n", "R003", "`optimizer` must be tables", 1, ""),
    ("plugins = 3\n", "R003", "`plugins` must be a table", 1, ""),
    ("[plugins]\np = 3\n", "R003", "`p` must be a string", 2, ""),
    ("[plugins]\np = \"\"\n", "R003", "`p` is empty", 2, ""),
    ("[plugins]\np = \"a\"\np = \"b\"\n", "R003", "duplicate key", 3, ""),
    ("+[[optimizer]]\nplugin = \"p\"\n", "R003", "[[optimizer]] has no `label`", 6, ""),
    ("+[[arch-op]]\nlabel = \"b\"\n", "R003", "[[arch-op]] has no `plugin`", 6, ""),
    ("+aliasses = [\"b\"]\n", "R003", "[[optimizer]] has no key `aliasses`", 6, "`aliases`"),
    ("+aliases = \"b\"\n", "R003", "`aliases` must be an array of strings", 6, ""),
    ("+aliases = [1]\n", "R003", "`aliases` must be an array of strings", 6, ""),
    ("+defaults = 1\n", "R003", "`defaults` must be a table", 6, ""),
    ("+defaults = { lr = [1] }\n", "R003", "`lr` must be a number", 6, ""),
    ("+[[optimizer]]\nlabel = \"B c\"\nplugin = \"p\"\n", "R003", "cannot be a label", 7, ""),
    (
        "+[[projection]]\nlabel = \"b\"\nplugin = \"p\"\nsame_rule_as = \"a\"\n",
        "R003",
        "no key `same_rule_as`",
        9,
        "alone",
    ),
    ("+[[optimizer]]\nlabel = \"a\"\nplugin = \"p\"\n", "R004", "label `a` is defined twice", 7, ""),
    ("+[[optimizer]]\nlabel = \"b\"\nplugin = \"p\"\naliases = [\"a\"]\n", "R004", "alias `a` is defined twice", 7, ""),
    ("+aliases = [\"b\", \"b\"]\n", "R004", "alias `b` is defined twice", 4, ""),
    ("+aliases = [\"a\"]\n", "R004", "alias `a` is defined twice", 4, ""),
    ("+[[optimizer]]\nlabel = \"b\"\nplugin = \"q\"\n", "R005", "names plugin `q`", 7, "`p`"),
    ("+same_rule_as = \"b\"\n", "R005", "`same_rule_as` `b`", 4, "`a`"),
    ("+same_rule_as = \"a\"\n", "R005", "the same rule as itself", 4, ""),
    ("+companion = 1\n", "R003", "`companion` must be a table", 6, ""),
    ("+companion = { optimizer = \"a\" }\n", "R003", "names no `roles`", 6, ""),
    ("+companion = { roles = [\"head\"] }\n", "R003", "`companion` has no `optimizer`", 6, ""),
    ("+companion = { roles = [\"head\"], optimizer = \"zz\" }\n", "R005", "is `zz`", 6, ""),
    ("+companion = { roles = [\"heads\"], optimizer = \"a\" }\n", "R005", "role `heads`", 6, "`head`"),
    ("default-optimizer = \"aa\"\n+", "R005", "names `aa`", 1, "`a`"),
];

#[test]
fn every_bad_file_is_refused_with_code_line_and_hint() {
    for (text, code, message, line, hint) in BAD {
        let text = match text.find('+') {
            Some(0) => format!("{HEAD}{}", &text[1..]),
            Some(_) => text.replace('+', HEAD),
            None => text.to_string(),
        };
        let faults = parse("registry.toml", &text).expect_err(&text);
        let place = if *line == 0 { "registry.toml".to_string() } else { format!("registry.toml:{line}  ") };
        let found = faults.0.iter().any(|fault| {
            fault.code == *code
                && fault.message.contains(message)
                && fault.place.as_ref().is_some_and(|at| at.starts_with(&place))
                && fault.hint.as_deref().unwrap_or_default().contains(hint)
        });
        assert!(found, "{text}\n  gave\n{faults}\n  not {code} {message} at {place} hint {hint}");
        assert_eq!(faults.exit(), Exit::Registry);
    }
}

#[test]
fn all_faults_of_a_file_come_together() {
    let text = "colour = 1\n[plugins]\np = 3\n[[optimizer]]\nlabel = \"a\"\nplugin = \"q\"\ndefaults = 2\n";
    let codes: Vec<_> = parse("r", text).unwrap_err().0.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["R003", "R003", "R003", "R005"]);
}

#[test]
fn a_second_label_of_another_kind_is_another_label() {
    assert!(parse("r", &format!("{HEAD}[[projection]]\nlabel = \"a\"\nplugin = \"p\"\n")).is_ok());
}
