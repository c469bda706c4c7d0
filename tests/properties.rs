//! What every optimizer declares of itself is all that holds of it: no property is missing, none is too much.

mod support;

use host::{
    conformance::Hosted,
    registry::{Kind, Registry},
};
use sdk::conformance::properties::{PROPERTIES, broken_at, declared};
use serde_json::{Value, json};
use support::Workshop;

#[test]
fn every_property_that_holds_is_declared_and_no_other() {
    let registry = Registry::open(&support::registry()).unwrap().with_plugin_dir(support::plugins());
    let catalogue = registry.load_all().unwrap_or_else(|faults| panic!("{faults}"));
    let (mut seen, mut wrong) = (0, String::new());
    for loaded in catalogue.iter().filter(|loaded| loaded.kind == Kind::Optimizer) {
        let subject = Hosted::new(loaded.clone());
        let declared: Vec<&str> = declared(&loaded.descriptor).collect();
        let mut said = String::new();
        let mut holds = Vec::new();
        for property in PROPERTIES {
            match broken_at(&subject, property) {
                Ok(None) => holds.push(property),
                Ok(Some(what)) => said += &format!("    {property}: {what}\n"),
                Err(trouble) => said += &format!("    {property}: {}\n", trouble.text),
            }
        }
        if holds != declared {
            wrong += &format!("{}: declares {declared:?}, what holds is {holds:?}\n{said}", loaded.label);
        }
        seen += 1;
    }
    assert_eq!(seen, registry.labels(Kind::Optimizer).len());
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_declared_is_shown() {
    let shop = Workshop::new();
    let all = PROPERTIES.join(", ");
    let described = |label: &str| shop.run(&["describe", label], &[]).expect(0).stdout;
    let says = |label: &str| described(label).lines().any(|line| line.contains("declares") && line.contains(&all));
    assert!(says("adamw") && !described("yogi").contains("declares"), "{}", described("adamw"));
    let list = shop.run(&["--list-optimizers"], &[]).expect(0).stdout;
    let line = |label: &str| list.lines().find(|line| line.split_whitespace().next() == Some(label)).unwrap();
    assert!(line("adamw").contains(&all) && line("adam").contains(&PROPERTIES[..2].join(", ")), "{list}");
    let list: Value = serde_json::from_str(&shop.run(&["--list-optimizers", "--json"], &[]).expect(0).stdout).unwrap();
    let of =
        |label: &str| list.as_array().unwrap().iter().find(|one| one["label"] == label).unwrap()["declares"].clone();
    assert_eq!((of("adamw"), of("yogi")), (json!(PROPERTIES), json!([])));
}
