//! Every rule over elements that the registry has, and values to try them on.

use std::sync::Arc;

use host::registry::{Kind, Loaded, Registry, Wanted};
use sdk::tape::Node;

use super::{plugins, registry};

/// One rule at one setting of its flags and choices.
pub struct Case {
    pub loaded: Arc<Loaded>,
    pub hyper: Vec<f64>,
    pub nodes: Vec<Node>,
    /// Part of the names of its functions.
    pub name: String,
}

/// Every rule over elements of the registry, at its defaults and with each of its flags and choices at its other values.
pub fn cases() -> Vec<Case> {
    plugins();
    let registry = Registry::open(&registry()).unwrap().with_plugin_dir(plugins());
    let wanted: Vec<Wanted> = registry
        .labels(Kind::Optimizer)
        .into_iter()
        .map(|label| Wanted { kind: Kind::Optimizer, label: label.to_string(), place: label.to_string() })
        .collect();
    let catalogue = registry.resolve(&wanted).unwrap_or_else(|faults| panic!("{faults}"));
    let mut cases = Vec::new();
    for wanted in &wanted {
        let loaded = catalogue.get(Kind::Optimizer, &wanted.label).unwrap();
        for hyper in settings(loaded) {
            if let Some(nodes) = loaded.record(&hyper).unwrap() {
                let name = format!("{}_{}", wanted.label.replace('-', "_"), cases.len());
                cases.push(Case { loaded: loaded.clone(), hyper, nodes, name });
            }
        }
    }
    assert!(!cases.is_empty());
    cases
}

/// The defaults, and the defaults with each flag and choice at each of its other values.
fn settings(loaded: &Loaded) -> Vec<Vec<f64>> {
    let defaults = loaded.defaults();
    let mut all = vec![defaults.clone()];
    for (k, schema) in loaded.schema().iter().enumerate().filter(|(_, schema)| schema.kind != "number") {
        for value in 0..=schema.high as usize {
            if value as f64 != defaults[k] {
                let mut other = defaults.clone();
                other[k] = value as f64;
                all.push(other);
            }
        }
    }
    all
}

/// Numbers of many sizes, and one in eight from the corners.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = self.0 >> 16;
        let unit = (random >> 8) as f64 / (1u64 << 39) as f64 - 1.0;
        match random % 16 {
            0 => [0.0, -0.0, 3e-42, 1e30][(random >> 4) as usize % 4],
            1 => [f64::INFINITY, f64::NAN, -1.0, 3e-310][(random >> 4) as usize % 4],
            other => unit * [1.0, 1e-3, 1e2, 1e-6][other as usize % 4],
        }
    }
}
