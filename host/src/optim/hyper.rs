//! The hyper-parameters of one parameter group, each with where it came from.
//! Does not know the schemas (plugins do) or how a value is checked against one (`registry::hyper` does).

use std::collections::BTreeMap;

use sdk::abi::HyperDescriptor;

use crate::{
    config::settings::HyperValue,
    fault::{Exit, Fault, Faults},
    registry,
};

/// Values in the order of the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyper {
    /// As a plugin is handed them.
    pub values: Vec<f64>,
    /// Where each came from, such as `flag`, `file:my.toml:12`, `registry`, `plugin`.
    pub sources: Vec<String>,
}

/// Values somebody wrote. Later layers win.
pub struct Layer<'a> {
    /// By name.
    pub values: &'a BTreeMap<String, HyperValue>,
    /// Key in front of a name, such as `optimizer.`; for messages.
    pub key: String,
    /// Where the value of a name came from.
    pub source: &'a dyn Fn(&str) -> String,
}

/// The plugin's defaults, overlaid by the registry's, overlaid by `layers`.
///
/// # Errors
/// All values that do not fit the schema (R008).
pub fn resolve(
    label: &str,
    schema: &[HyperDescriptor],
    registry_defaults: &BTreeMap<String, HyperValue>,
    layers: &[Layer<'_>],
) -> Result<Hyper, Faults> {
    let mut hyper = Hyper {
        values: schema.iter().map(|one| one.default).collect(),
        sources: vec!["plugin".to_string(); schema.len()],
    };
    let mut faults = Faults::none();
    let from_registry = |_: &str| "registry".to_string();
    let registry = Layer { values: registry_defaults, key: format!("{label}: defaults."), source: &from_registry };
    for layer in std::iter::once(&registry).chain(layers) {
        for (name, value) in layer.values {
            let source = (layer.source)(name);
            let found = registry::hyper::find(schema, label, name)
                .and_then(|index| Ok((index, registry::hyper::number(&schema[index], value)?)));
            match found {
                Ok((index, number)) => {
                    hyper.values[index] = number;
                    hyper.sources[index] = source;
                }
                Err(unfit) => {
                    let source = source.strip_prefix("file:").unwrap_or(&source);
                    let place = format!("{source}  {}{name} = {}", layer.key, written(value));
                    let fault = Fault::new("R008", Exit::Registry, unfit.message).at(place);
                    faults.push(match unfit.hint {
                        Some(hint) => fault.hint(hint),
                        None => fault,
                    });
                }
            }
        }
    }
    faults.check()?;
    Ok(hyper)
}

fn written(value: &HyperValue) -> String {
    match value {
        HyperValue::Number(number) => registry::hyper::plain(*number),
        HyperValue::Flag(flag) => flag.to_string(),
        HyperValue::Choice(choice) => format!("\"{choice}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Vec<HyperDescriptor> {
        let number = |name: &str, default: f64| HyperDescriptor {
            name: name.into(),
            kind: "number".into(),
            default,
            low: 0.0,
            high: 1.0,
            choices: Vec::new().into(),
            meaning: "".into(),
        };
        vec![number("lr", 1e-3), number("beta1", 0.9), number("weight_decay", 0.01), number("eps", 1e-8)]
    }

    fn map(values: &[(&str, f64)]) -> BTreeMap<String, HyperValue> {
        values.iter().map(|(name, value)| (name.to_string(), HyperValue::Number(*value))).collect()
    }

    #[test]
    fn the_highest_layer_wins_and_says_so() {
        let (registry, optimizer, group) = (
            map(&[("beta1", 0.8), ("weight_decay", 0.1)]),
            map(&[("lr", 0.5), ("weight_decay", 0.2)]),
            map(&[("lr", 0.25)]),
        );
        let (flag, file) = (|_: &str| "flag".to_string(), |name: &str| format!("file:{name}"));
        let layers = [
            Layer { values: &optimizer, key: "optimizer.".into(), source: &flag },
            Layer { values: &group, key: "group.0.".into(), source: &file },
        ];
        let found = resolve("adamw", &schema(), &registry, &layers).unwrap();
        assert_eq!(found.values, [0.25, 0.8, 0.2, 1e-8]);
        assert_eq!(found.sources, ["file:lr", "registry", "flag", "plugin"]);
    }

    #[test]
    fn all_unfit_values_are_told_with_place_and_way_out() {
        let wrong = map(&[("betta1", 0.5), ("lr", 7.0), ("eps", f64::NAN)]);
        let source = |_: &str| "file:my.toml:3".to_string();
        let layers = [Layer { values: &wrong, key: "optimizer.".into(), source: &source }];
        let faults = resolve("adamw", &schema(), &BTreeMap::new(), &layers).unwrap_err();
        let text = faults.to_string();
        assert_eq!(faults.0.len(), 3, "{text}");
        assert_eq!(faults.exit(), Exit::Registry);
        assert!(text.contains("--> my.toml:3  optimizer.betta1 = 0.5"), "{text}");
        assert!(text.contains("did you mean `beta1`?"), "{text}");
        assert!(text.contains("`lr` = 7 is out of range"), "{text}");
    }
}
