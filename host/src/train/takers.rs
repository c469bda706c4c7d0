//! Who takes the parameters of a network: the optimizers of its groups, and the projections. Planned for the network that
//! is there; checked for those that operations will make.
//! Knows no schedule.

use sdk::abi::{Network, NetworkPlan, ParameterInfo};
use tch::{Device, Tensor};

use super::prepare;
use crate::{
    config::Resolved,
    fault::{Exit, Fault, Faults},
    growth::Lineage,
    model::{self, Gpt, Parameter, Role},
    optim::{
        Optim,
        param_groups::{self, Group},
        pattern,
    },
    projection::Projections,
    registry::Catalogue,
};

/// What a run says of groups and projections.
#[derive(Clone, Copy)]
pub struct Takers<'a> {
    /// The settings and where they come from.
    pub resolved: &'a Resolved,
    /// Every plugin the run uses.
    pub catalogue: &'a Catalogue,
}

impl Takers<'_> {
    /// Those of a network.
    ///
    /// # Errors
    /// All faults of groups and projections.
    pub fn of(self, model: &Gpt) -> Result<(Optim, Projections), Faults> {
        let settings = &self.resolved.settings;
        let source = |key: &str| prepare::source(self.resolved, key);
        let mut faults = Faults::none();
        let optim = faults.take(Optim::plan(settings, &source, self.catalogue, model.parameters()));
        let thaws = !settings.schedule.is_empty();
        let projections = Projections::plan(&settings.projection, self.catalogue, model.parameters(), thaws);
        match (optim, faults.take(projections)) {
            (Some(optim), Some(projections)) => Ok((optim, projections)),
            _ => Err(faults),
        }
    }

    /// The groups of a network that is not there, whose projections are looked at too, and its parameters, which take no
    /// memory.
    ///
    /// # Errors
    /// All faults that can be known without the network's values.
    pub fn outline(self, network: &Network) -> Result<(Vec<Group>, Vec<Parameter>), Faults> {
        let settings = &self.resolved.settings;
        let parameters =
            network.parameters.iter().map(|info| self.stand_in(info)).collect::<Result<Vec<_>, Fault>>()?;
        let source = |key: &str| prepare::source(self.resolved, key);
        let mut faults = Faults::none();
        let groups = faults.take(param_groups::plan(settings, &source, self.catalogue, &parameters));
        let thaws = !settings.schedule.is_empty();
        faults.take(Projections::check(&settings.projection, self.catalogue, &parameters, thaws));
        faults.check()?;
        Ok((groups.unwrap_or_default(), parameters))
    }

    /// Whether groups and projections fit the network that a plan leads to. A tensor that a projection is given for a
    /// parameter means that very parameter, so an operation may neither move it nor put another in its place.
    ///
    /// # Errors
    /// As [`Takers::outline`]; C063.
    pub fn fit(self, plan: &NetworkPlan, network: &Network) -> Result<(), Faults> {
        let mut faults = Faults::none();
        faults.take(self.outline(network));
        for (index, projection) in self.resolved.settings.projection.iter().enumerate() {
            let stays = |name: &str| {
                let planned = plan.parameters.iter().find(|one| one.name == name);
                planned.is_some_and(|one| Lineage::of(one) == Lineage::Kept(name))
            };
            let taken = |name: &&str| !projection.inputs.is_empty() && pattern::matches(&projection.pattern, name);
            let names = plan.parameters.iter().flat_map(|one| [one.name.as_str(), one.source.as_str()]);
            if let Some(name) = names.filter(taken).find(|name| !stays(name)) {
                let text =
                    format!("the operation changes `{name}`, for which projection `{}` has inputs", projection.label);
                let fault = Fault::new("C063", Exit::Config, text).note("projection", format!("projection[{index}]"));
                faults.push(fault.hint("name parameters that no operation moves, copies or widens"));
            }
        }
        faults.check()
    }

    /// The faults of groups that take no parameter of any of these networks.
    ///
    /// # Errors
    /// `E101` if libtorch fails.
    pub fn never_used(self, networks: &[&Network]) -> Result<Vec<Fault>, Fault> {
        let source = |key: &str| prepare::source(self.resolved, key);
        let unused = |network: &&Network| {
            let parameters =
                network.parameters.iter().map(|info| self.stand_in(info)).collect::<Result<Vec<_>, _>>()?;
            Ok(param_groups::unused(&self.resolved.settings, &source, &parameters))
        };
        let mut unused = networks.iter().map(unused).collect::<Result<Vec<_>, Fault>>()?;
        let Some(last) = unused.pop() else { return Ok(Vec::new()) };
        let in_all = |index: usize| unused.iter().all(|one| one.iter().any(|(other, _)| *other == index));
        Ok(last.into_iter().filter(|(index, _)| in_all(*index)).map(|(_, fault)| fault).collect())
    }

    /// A parameter of this shape whose values take no memory.
    fn stand_in(self, info: &ParameterInfo) -> Result<Parameter, Fault> {
        let kind = model::kind(self.resolved.settings.format);
        let one = Tensor::f_zeros([1], (kind, Device::Cpu)).and_then(|zero| zero.f_expand(info.shape.to_vec(), false));
        Ok(Parameter {
            name: info.name.to_string(),
            role: Role::ALL.into_iter().find(|role| role.name() == info.role.as_str()).unwrap_or(Role::Matrix),
            layer: usize::try_from(info.layer).ok(),
            tensor: one.map_err(model::refused)?,
            frozen: info.frozen,
        })
    }
}
