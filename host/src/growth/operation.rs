//! One architecture operation of the schedule: its plugin and its hyper-parameters.
//! Does not know when it fires; that is `schedule.rs`.

use std::{fmt, sync::Arc};

use abi_stable::std_types::RSlice;
use sdk::abi::{Network, NetworkPlan};

use crate::{
    config::settings::{HyperValue, OperationSettings},
    fault::{Exit, Fault, Faults},
    registry::{self, Catalogue, Kind, Loaded},
};

/// An operation that can be planned.
#[derive(Debug)]
pub struct Operation {
    hyper: Vec<f64>,
    loaded: Arc<Loaded>,
}

impl Operation {
    /// An operation as it was written.
    ///
    /// # Errors
    /// R001 where its label was not loaded for this run; C071 for every hyper-parameter that does not fit.
    pub fn new(settings: &OperationSettings, catalogue: &Catalogue, place: &str) -> Result<Operation, Faults> {
        let label = &settings.name;
        let Some(loaded) = catalogue.get(Kind::ArchOp, label) else {
            let text = format!("arch-op label `{label}` is not among those loaded for this run");
            return Err(Fault::new("R001", Exit::Registry, text).at(place).into());
        };
        let mut faults = Faults::none();
        let mut hyper = loaded.defaults();
        let number = settings.value.map(|value| (value_name(loaded), HyperValue::Number(value)));
        if let Some(name) = number.as_ref().map(|(name, _)| name).filter(|name| settings.hyper.contains_key(*name)) {
            let text = format!("`value` is `{name}` of `{label}`, which is given too");
            faults.push(Fault::new("C071", Exit::Registry, text).at(place).hint("keep one of them"));
        }
        for (name, value) in number.iter().map(|(name, value)| (name, value)).chain(&settings.hyper) {
            let read = loaded.hyper(name, value).map_err(|unfit| {
                let fault = Fault::new("C071", Exit::Registry, unfit.message).at(place);
                unfit.hint.into_iter().fold(fault, Fault::hint)
            });
            if let Some((index, value)) = faults.take(read) {
                hyper[index] = value;
            }
        }
        faults.check()?;
        Ok(Operation { hyper, loaded: loaded.clone() })
    }

    /// Its label, as the registry and the plugin both call it.
    pub fn name(&self) -> &str {
        &self.loaded.label
    }

    /// What becomes of each parameter of this network.
    ///
    /// # Errors
    /// P002 with the plugin's reason why the operation cannot be done.
    pub fn plan(&self, network: &Network) -> Result<NetworkPlan, Fault> {
        self.loaded.ready()?;
        let Some(table) = self.loaded.arch_op() else {
            return Err(Fault::new("P030", Exit::Bug, format!("`{}` is no arch-op", self.name())));
        };
        (table.plan)(RSlice::from_slice(&self.hyper), network).into_result().map_err(|text| {
            Fault::new("P002", Exit::Plugin, format!("arch-op `{}` cannot be done", self.name()))
                .note("plugin", text.into_string())
                .note("library", self.loaded.library.path.display().to_string())
        })
    }
}

/// What `value` stands for: the hyper-parameter of that name, else the first one.
fn value_name(loaded: &Loaded) -> String {
    let first = || loaded.schema().first().map(|hyper| hyper.name.to_string());
    let own = loaded.hyper_index("value").map(|_| "value".to_string());
    own.or_else(first).unwrap_or_else(|| "value".to_string())
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.loaded
            .schema()
            .iter()
            .zip(&self.hyper)
            .try_for_each(|(schema, value)| write!(f, " {}={}", schema.name, registry::hyper::text(schema, *value)))
    }
}
