//! Registries whose plugins are part of this test, so that everything behind the opening of a library is seen without
//! one. Opening real libraries is tested through the binary.

use abi_stable::{
    prefix_type::PrefixTypeTrait,
    std_types::{RResult, RStr, RString, RVec, Tuple2},
};
use sdk::{
    Elementwise, Knob, Lane, Record, Scalar, Slot, Step,
    abi::{self, AbiVersion, Descriptor, Root, RootRef},
    flag, knob, register,
};

use super::*;
use crate::{
    config::settings::HyperValue,
    fault::{Exit, Fault, Faults},
};

#[derive(Record)]
struct Hyper<T> {
    lr: T,
    early: T,
}

#[derive(Record)]
struct State<T> {
    momentum: T,
}

fn schema() -> Hyper<Knob> {
    Hyper { lr: knob(0.5, 0.0..=1.0, "step size"), early: flag(false, "look ahead") }
}

/// A rule of these tests: its name, and `(lr, gradient, momentum) → change`.
macro_rules! rule {
    ($name:ident, $label:literal, |$h:ident, $g:ident, $m:ident| $change:expr) => {
        struct $name;
        impl Elementwise for $name {
            type Hyper<T: Copy> = Hyper<T>;
            type State<T: Copy> = State<T>;
            fn hyper() -> Hyper<Knob> {
                schema()
            }
            fn state(_: &Hyper<f64>) -> State<Slot> {
                State { momentum: Slot::zeros().degree(1) }
            }
            fn update<L: Lane>($h: Hyper<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut State<L>) -> L {
                let early = $h.early.is_on();
                move |x, $g, state| {
                    let $m = state.momentum * 0.5 + $g;
                    state.momentum = $m;
                    if early { x - $g * 2.0 } else { x - $change }
                }
            }
        }
        register!(Elementwise $name, $label, summary = "a rule of a test", paper = "none");
    };
}
rule!(Heavy, "registry-heavy", |h, _g, m| m * h.lr);
rule!(Heavier, "registry-heavier", |h, _g, m| m * h.lr);
rule!(Light, "registry-light", |h, g, m| (m + g) * h.lr);

fn this_test() -> RootRef {
    sdk::export::root::<{ abi::MAJOR }, { abi::MINOR }>()
}

/// A registry with plugin `it` and these entries.
fn registry(entries: &str) -> Registry {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.toml");
    std::fs::write(&path, format!("[plugins]\nit = \"it\"\nno = \"no\"\n{entries}")).unwrap();
    Registry::open(&path).unwrap()
}

fn optimizer(label: &str, more: &str) -> String {
    format!("[[optimizer]]\nlabel = \"{label}\"\nplugin = \"it\"\n{more}\n")
}

fn open(plugin: &PluginEntry) -> Result<Library, Faults> {
    match plugin.id.as_str() {
        "it" => Library::in_process("it", this_test()),
        _ => Err(Fault::new("R010", Exit::Registry, "the library of plugin `no` is missing").into()),
    }
}

fn resolve(registry: &Registry, labels: &[&str]) -> Result<Catalogue, Faults> {
    let wanted = |label: &&str| Wanted { kind: Kind::Optimizer, label: label.to_string(), place: "--optimizer".into() };
    registry.resolve_by(&labels.iter().map(wanted).collect::<Vec<_>>(), None, open)
}

fn codes(faults: &Faults) -> Vec<&str> {
    faults.0.iter().map(|fault| fault.code).collect()
}

#[test]
fn a_label_is_loaded_with_what_registry_and_plugin_say() {
    let registry = registry(&optimizer("registry-heavy", "aliases = [\"h\"]\ndefaults = { lr = 0.25 }"));
    let catalogue = resolve(&registry, &["h"]).unwrap();
    let loaded = catalogue.get(Kind::Optimizer, "registry-heavy").unwrap();
    assert_eq!(catalogue.get(Kind::Optimizer, "h").unwrap().label, "registry-heavy");
    assert!(catalogue.get(Kind::Projection, "registry-heavy").is_none());
    assert_eq!(loaded.defaults(), [0.25, 0.0]);
    assert_eq!((loaded.default_source("lr"), loaded.default_source("early")), ("registry", "plugin"));
    assert_eq!(loaded.hyper_index("early"), Some(1));
    assert_eq!(loaded.hyper("early", &HyperValue::Flag(true)), Ok((1, 1.0)));
    assert_eq!(loaded.state_bytes().unwrap().unwrap().to_string(), "4");
    assert!(loaded.rule().is_some() && loaded.optimizer().is_none());
    assert_eq!(loaded.fingerprint().unwrap().len(), 32);
    let formula = loaded.formula(&loaded.defaults()).unwrap().unwrap();
    assert!(formula.contains("lr") && formula.contains("momentum"), "{formula}");
}

#[test]
fn all_faults_of_a_registry_come_together() {
    let entries = optimizer("registry-heavy", "defaults = { lr = 7, early = 1, rate = 1 }")
        + &optimizer("registry-absent", "")
        + "[[projection]]\nlabel = \"registry-light\"\nplugin = \"it\"\n"
        + "[[optimizer]]\nlabel = \"lost\"\nplugin = \"no\"\n";
    let registry = registry(&entries);
    let wanted = |kind, label: &str| Wanted { kind, label: label.into(), place: "--set".into() };
    let faults = registry
        .resolve_by(
            &[
                wanted(Kind::Optimizer, "nobody"),
                wanted(Kind::Optimizer, "registry-heavy"),
                wanted(Kind::Optimizer, "registry-absent"),
                wanted(Kind::Optimizer, "lost"),
                wanted(Kind::Projection, "registry-light"),
            ],
            None,
            open,
        )
        .unwrap_err();
    assert_eq!(codes(&faults), ["R001", "R010", "R007", "R007", "R007", "R020", "R021"], "{faults}");
    assert_eq!(faults.exit(), Exit::Registry);
    let text = faults.to_string();
    assert!(text.contains("the defaults of `registry-heavy`: `lr` = 7 is out of range"), "{text}");
    assert!(text.contains("plugin `it` does not export optimizer `registry-absent`; it reports optimizer `"), "{text}");
    assert!(text.contains("but the plugin reports optimizer `registry-light`"), "{text}");
    assert!(text.contains("labels: lost"), "{text}");
}

#[test]
fn a_library_that_a_run_does_not_use_does_not_stop_it() {
    let entries = optimizer("registry-light", "") + "[[optimizer]]\nlabel = \"lost\"\nplugin = \"no\"\n";
    let registry = registry(&entries);
    let catalogue = resolve(&registry, &["registry-light"]).unwrap();
    assert_eq!(catalogue.iter().count(), 1, "only what was wanted can be had");
    assert_eq!(codes(&resolve(&registry, &["lost"]).unwrap_err()), ["R010"]);
    let survey = registry.survey_by(|_| true, None, open);
    assert_eq!(codes(&survey.faults()), ["R010"]);
    assert_eq!(survey.unopened().collect::<Vec<_>>(), ["no"]);
}

#[test]
fn twins_stop_a_run_that_uses_neither_of_them() {
    let twins = |more| {
        optimizer("registry-light", "") + &optimizer("registry-heavy", "") + &optimizer("registry-heavier", more)
    };
    let refused = resolve(&registry(&twins("")), &["registry-light"]).unwrap_err();
    assert_eq!(codes(&refused), ["R022"]);
    assert!(refused.0[0].message.contains("`registry-heavy` and `registry-heavier` are the same rule"));
    assert!(resolve(&registry(&twins("same_rule_as = \"registry-heavy\"")), &["registry-light"]).is_ok());
    let untrue = resolve(&registry(&twins("same_rule_as = \"registry-light\"")), &["registry-light"]).unwrap_err();
    assert_eq!(codes(&untrue), ["R022", "R023"]);
}

#[test]
fn a_flag_in_the_registry_makes_another_rule() {
    let entries = optimizer("registry-heavy", "") + &optimizer("registry-heavier", "defaults = { early = true }");
    assert!(resolve(&registry(&entries), &["registry-heavier"]).is_ok());
}

#[test]
fn hyper_parameters_of_a_companion_are_checked() {
    let companion = "companion = { roles = [\"head\"], optimizer = \"registry-light\", lr = 3.0, rate = 1 }";
    let entries = optimizer("registry-heavy", companion) + &optimizer("registry-light", "");
    let faults = resolve(&registry(&entries), &["registry-heavy"]).unwrap_err();
    assert_eq!(codes(&faults), ["R007", "R007"]);
    assert!(faults.0[0].message.starts_with("the companion of `registry-heavy`: "), "{faults}");
}

#[test]
fn a_lock_of_a_survey_holds_what_was_loaded() {
    let registry = registry(&optimizer("registry-heavy", ""));
    let survey = registry.survey_by(|_| true, None, open);
    let lock = survey.lock().unwrap();
    let library = lock.library("it").unwrap();
    assert_eq!(library.abi, format!("{}.{}", abi::MAJOR, abi::MINOR));
    assert_ne!(library.rustc, "unknown");
    assert_eq!(library.label.len(), 1);
    assert_eq!(library.label[0].fingerprint.as_deref(), survey.catalogue().iter().next().unwrap().fingerprint());
    assert!(lock.differences(&lock).is_empty());
}

extern "C" fn version() -> AbiVersion {
    AbiVersion { major: abi::MAJOR, required_minor: 0 }
}
extern "C" fn future() -> AbiVersion {
    AbiVersion { major: abi::MAJOR, required_minor: abi::MINOR + 99 }
}
extern "C" fn good() -> RResult<RVec<Descriptor>, RString> {
    this_test().describe()()
}
extern "C" fn never() -> RResult<RVec<Descriptor>, RString> {
    panic!("nothing is asked of a plugin that does not fit")
}
extern "C" fn failing() -> RResult<RVec<Descriptor>, RString> {
    RResult::RErr("panicked: no luck at src/lib.rs:3".into())
}
extern "C" fn aborting() -> RResult<RVec<Descriptor>, RString> {
    good().map(|mut all| {
        all[0].facts = vec![Tuple2("panic".into(), "abort".into())].into();
        all
    })
}
extern "C" fn unnamed() -> RResult<RVec<Descriptor>, RString> {
    good().map(|mut all| {
        all[0].paper = "".into();
        all
    })
}
extern "C" fn tables(id: RStr<'_>, label: RStr<'_>) -> usize {
    this_test().get_table()(id, label)
}
extern "C" fn no_tables(_: RStr<'_>, _: RStr<'_>) -> usize {
    0
}
extern "C" fn crooked(id: RStr<'_>, label: RStr<'_>) -> usize {
    tables(id, label) + 1
}
extern "C" fn core_for_all(_: RStr<'_>, _: RStr<'_>) -> usize {
    tables("plugin.core/1".into(), "".into())
}

#[test]
fn plugins_that_do_not_fit_are_refused() {
    let root = |abi_version, describe, get_table| Root { abi_version, describe, get_table }.leak_into_prefix();
    let too_new = format!("needs ABI 1.{}, this host has 1.{}", abi::MINOR + 99, abi::MINOR);
    let table = [
        (root(future, never, tables), "R016", &*too_new),
        (root(version, failing, tables), "R017", "failed to describe itself"),
        (root(version, aborting, tables), "R018", "panic = \"abort\""),
        (root(version, unnamed, tables), "R019", "has no paper"),
        (root(version, good, no_tables), "R024", "`plugin.core/1` is missing"),
        (root(version, good, crooked), "R024", "is not aligned"),
    ];
    for (root, code, message) in table {
        let faults = Library::in_process("p", root).expect_err(code);
        assert_eq!(codes(&faults), [code], "{faults}");
        assert!(faults.0[0].message.contains(message), "{faults}");
    }
    let library = Library::in_process("it", root(version, good, core_for_all)).unwrap();
    let registry = registry(&optimizer("registry-light", ""));
    let entry = registry.entry(Kind::Optimizer, "registry-light").unwrap();
    let faults = Loaded::new(entry, library.into()).unwrap_err();
    assert_eq!(codes(&faults), ["R024"]);
    assert!(faults.0[0].message.contains("answers as `plugin.core/1`"), "{faults}");
}

#[test]
fn a_status_becomes_a_fault_and_a_panic_poisons() {
    let registry = registry(&optimizer("registry-light", ""));
    let catalogue = resolve(&registry, &["registry-light"]).unwrap();
    let loaded = catalogue.get(Kind::Optimizer, "registry-light").unwrap();
    assert!(loaded.ready().is_ok());
    let failed = loaded.fault(abi::FAILED, "step 3");
    assert_eq!((failed.code, failed.exit), ("P002", Exit::Plugin));
    assert_eq!(failed.message, "optimizer `registry-light` failed in step 3");
    assert_eq!(loaded.fault(17, "step 3").code, "P003");
    assert!(loaded.ready().is_ok());
    assert_eq!(loaded.fault(abi::PANICKED, "step 3").code, "P001");
    assert_eq!(loaded.ready().unwrap_err().code, "P003");
}
