//! `host doctor`: what this program finds around it, and whether a run could begin here.
//! Repairs nothing, reads no data and writes nothing.
//!
//! What can bring a process down (opening CUDA, opening plugins) is looked at by child processes, so that a plugin which
//! aborts or a driver which hangs is a finding and not the end of the report.
//!
//! Reading order: [`Finding`] is one row; `machine` looks at libtorch and the processor; `cuda` and `plugins` are the parts
//! of the children, which `child` starts.

mod finding;

mod child;
mod cuda;
mod machine;
mod plugins;

pub use finding::{Finding, Report, State, Told};

use std::{ffi::OsString, path::Path};

use crate::{config::settings::Device, fault::Faults, registry::Registry};

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Order {
    /// What runs will ask for; `Cuda` makes a missing card a fault.
    pub device: Device,
    /// The registry, or why there is none.
    pub registry: Result<Registry, Faults>,
}

/// Looks at everything.
pub fn examine(order: &Order) -> Report {
    let mut findings = machine::findings();
    findings.extend(cuda(order.device));
    match &order.registry {
        Ok(registry) => {
            findings.extend(plugins::places(registry));
            findings.extend(plugins(registry));
        }
        Err(faults) => findings.push(Finding::unfit("registry", "there is none that can be read", faults)),
    }
    Report { findings }
}

fn cuda(device: Device) -> Vec<Finding> {
    if device == Device::Cpu {
        return Vec::new();
    }
    let told = child::run(Part::Cuda, &[], device, None);
    let crash = told.end.map(|end| {
        let fault = child::fault(format!("the process that looked at CUDA {end}"))
            .hint("`nvidia-smi` tells whether the driver answers; `--device cpu` needs none");
        Finding::unfit("cuda", "cannot be told", &fault.into())
    });
    told.findings.into_iter().chain(crash).collect()
}

fn plugins(registry: &Registry) -> Vec<Finding> {
    let (mut skipped, mut crashed): (Vec<String>, Vec<Finding>) = Default::default();
    loop {
        let told = child::run(Part::Plugins, &skipped, Device::Auto, Some(registry));
        let Some(end) = told.end else {
            return crashed.into_iter().chain(told.findings).collect();
        };
        let culprit = registry.plugins().iter().find(|plugin| told.begun.as_deref() == Some(plugin.id.as_str()));
        match culprit.filter(|plugin| !skipped.contains(&plugin.id)) {
            Some(plugin) => {
                let fault = plugins::fatal(registry, plugin, &end);
                crashed.push(Finding::unfit(format!("plugin {}", plugin.id), "cannot be opened", &fault.into()));
                skipped.push(plugin.id.clone());
            }
            None => {
                let fault = child::fault(format!("the process that looked at the plugins {end}"));
                crashed.push(Finding::unfit("plugins", "cannot be told", &fault.into()));
                return crashed.into_iter().chain(told.findings).collect();
            }
        }
    }
}

/// What a child looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The driver, libtorch's CUDA and the compiler of kernels.
    Cuda,
    /// Every library of the registry.
    Plugins,
}

/// What a child does: writes down what it begins with and what it finds, line by line, on standard output.
pub fn examine_part(part: Part, order: &Order, skipped: &[String]) {
    let journal = child::Journal;
    match (part, &order.registry) {
        (Part::Cuda, _) => journal.found(&cuda::finding(order.device)),
        (Part::Plugins, Ok(registry)) => plugins::examine(registry, skipped, &journal),
        (Part::Plugins, Err(faults)) => journal.found(&Finding::unfit("registry", "cannot be read", faults)),
    }
    journal.done();
}

/// Flags by which a child is told of a registry.
fn flags_of(registry: &Registry) -> [OsString; 4] {
    let folder: &Path = registry.plugin_dir();
    ["--registry".into(), registry.path.clone().into(), "--plugin-dir".into(), folder.into()]
}
