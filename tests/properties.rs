//! What every optimizer declares of itself is all that holds of it: no property is missing, none is too much.

mod support;

use host::{
    conformance::Hosted,
    registry::{Kind, Registry},
};
use sdk::conformance::properties::{PROPERTIES, broken_at, declared};

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
