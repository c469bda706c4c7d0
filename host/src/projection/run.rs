//! Projections of one step: each gradient goes to its plugin, and what comes back takes its place.
//! Decides nothing about who is projected; that is `plan.rs`.

use sdk::abi::ProjectionTable;
use tch::{TchError, Tensor};

use super::{
    inputs::computing_kind,
    plan::{Member, Planned, Projections},
};
use crate::{
    fault::{Exit, Fault},
    model::Parameter,
    registry::Loaded,
    tensor::project,
};

/// What is needed of a projection's plugin.
pub(super) trait Plugin {
    /// Its label.
    fn label(&self) -> &str;
    /// Its entries; none where it is no projection.
    fn table(&self) -> Option<&ProjectionTable>;
    /// Whether it may be called.
    fn ready(&self) -> Result<(), Fault>;
    /// The fault behind a status that is not `OK`.
    fn fault(&self, status: u32, stage: &str) -> Fault;
}

impl Plugin for Loaded {
    fn label(&self) -> &str {
        &self.label
    }

    fn table(&self) -> Option<&ProjectionTable> {
        self.projection()
    }

    fn ready(&self) -> Result<(), Fault> {
        Loaded::ready(self)
    }

    fn fault(&self, status: u32, stage: &str) -> Fault {
        Loaded::fault(self, status, stage)
    }
}

/// What one projection measured on one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionReport {
    /// The parameter's name.
    pub parameter: String,
    /// The projection's label.
    pub label: String,
    /// The plugin's numbers, by name, in its order.
    pub metrics: Vec<(String, f64)>,
}

impl Projections {
    /// Replaces the gradient of every parameter that is projected by what its plugins keep of it, one projection after
    /// the other. Parameters that are frozen, have no gradient, or are to be skipped (as
    /// [`GradNorm::non_finite`](crate::optim::clip::GradNorm)) are left out.
    ///
    /// # Errors
    /// What a plugin reports, and P020. Gradients of earlier parameters have then been replaced already.
    pub fn apply(&mut self, params: &mut [Parameter], skip: &[bool]) -> Result<Vec<ProjectionReport>, Fault> {
        let mut reports = Vec::new();
        for planned in &self.all {
            planned.plugin.ready()?;
            for member in &planned.members {
                let Some(parameter) = params.get(member.index).filter(|parameter| parameter.name == member.name) else {
                    let text = format!("parameter `{}` is not where it was when projections were planned", member.name);
                    return Err(Fault::new("P020", Exit::Bug, text));
                };
                let mut g = parameter.tensor.grad();
                if parameter.frozen || !g.defined() || skip.get(member.index) == Some(&true) {
                    continue;
                }
                let (kept, metrics) = project(planned, member, &g)?;
                let _guard = tch::no_grad_guard();
                g.f_copy_(&kept).map_err(|error| torch_fault(planned, member, &error))?;
                reports.push(ProjectionReport {
                    parameter: member.name.clone(),
                    label: planned.plugin.label().to_owned(),
                    metrics: planned.metrics.iter().cloned().zip(metrics).collect(),
                });
            }
        }
        Ok(reports)
    }
}

/// Projects a gradient of zeros and keeps nothing.
pub(super) fn trial(planned: &Planned, member: &Member, parameter: &Parameter) -> Result<(), Fault> {
    planned.plugin.ready()?;
    let zeros = parameter.tensor.f_detach().and_then(|x| x.f_zeros_like());
    project(planned, member, &zeros.map_err(|error| torch_fault(planned, member, &error))?).map(|_| ())
}

/// What the plugin keeps of `g`, in the element type of `g`, and its metrics.
fn project(planned: &Planned, member: &Member, g: &Tensor) -> Result<(Tensor, Vec<f64>), Fault> {
    let label = planned.plugin.label();
    let torch = |error: TchError| torch_fault(planned, member, &error);
    let Some(table) = planned.plugin.table() else {
        return Err(Fault::new("P020", Exit::Bug, format!("`{label}` is no projection")));
    };
    let wide = g.f_detach().and_then(|g| g.f_to_kind(computing_kind(g.kind()))).map_err(torch)?;
    let called = project::project(table, &planned.hyper, &wide, &member.inputs, planned.metrics.len());
    let (kept, metrics) =
        called.map_err(|status| planned.plugin.fault(status, "project").note("parameter", &member.name))?;
    let unfit = |what: String| {
        let text = format!("projection `{label}` returned {what} for the gradient of `{}`", member.name);
        Fault::new("P020", Exit::Plugin, text)
    };
    let kept = kept.ok_or_else(|| unfit("nothing".to_owned()))?;
    if (kept.size(), kept.kind(), kept.device()) != (wide.size(), wide.kind(), wide.device()) {
        return Err(unfit(format!("{:?} {:?}, not {:?} {:?},", kept.kind(), kept.size(), wide.kind(), wide.size())));
    }
    if kept.f_isfinite().and_then(|finite| finite.f_all()?.f_int64_value(&[])).map_err(torch)? == 0 {
        return Err(unfit("numbers that are not finite".to_owned()));
    }
    Ok((kept.f_to_kind(g.kind()).map_err(torch)?, metrics))
}

fn torch_fault(planned: &Planned, member: &Member, error: &TchError) -> Fault {
    let text = format!("the gradient of `{}` cannot be projected by `{}`", member.name, planned.plugin.label());
    Fault::new("E060", Exit::Environment, text).note("libtorch", error.to_string().lines().next().unwrap_or_default())
}
