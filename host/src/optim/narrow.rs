//! Optimizer state in bf16: which slots of a parameter group are kept in it, and what cannot be.
//! Makes no tensor. The rule declares the slots; the group or the run asks.

use sdk::abi::SlotDescriptor;
use tch::{Kind, Tensor};

use super::param_groups::Group;
use crate::{
    config::settings::StateFormat,
    fault::{Exit, Fault, Faults},
};

/// The slots of a parameter that are kept in bf16, as bits by place in the state record.
///
/// # Errors
/// C045 where the plugin is too old to know of it, or the parameter is f64; P002 where the plugin fails.
pub fn slots(group: &Group, parameter: &Tensor, slots: &[SlotDescriptor]) -> Result<u64, Fault> {
    let (loaded, asked) = (&group.loaded, &group.state_format);
    if asked.format != StateFormat::Bf16 || slots.is_empty() {
        return Ok(0);
    }
    let refused = |why: String, hint: &str| {
        let text = format!("optimizer `{}` cannot keep its state in bf16: {why}", loaded.label);
        Err(Fault::new("C045", Exit::Config, text).at(&asked.place).hint(hint))
    };
    if parameter.kind() == Kind::Double {
        return refused("its parameters are f64".to_string(), "leave `state_format` away, or take `format = \"f32\"`");
    }
    match loaded.narrow(&group.hyper.values, &parameter.size(), slots)? {
        Some(narrow) => Ok(narrow),
        None => refused(
            format!("its plugin `{}` was built with an sdk that did not know of it", loaded.entry.plugin),
            "build the plugin with this host's sdk, or give its [[group]] `state_format = \"f32\"`",
        ),
    }
}

/// Whether what is asked for changes anything; each group with whether it has a slot in bf16.
///
/// # Errors
/// C046: a group that asks for itself and has no such slot; a run in which no group has one.
pub fn has_effect(groups: &[(&Group, bool)]) -> Result<(), Faults> {
    let mut faults = Faults::none();
    let bf16 = |group: &Group| group.state_format.format == StateFormat::Bf16;
    let by_run = || groups.iter().filter(|(group, _)| bf16(group) && !group.state_format.by_group);
    for (group, _) in groups.iter().filter(|(group, narrow)| bf16(group) && group.state_format.by_group && !narrow) {
        faults.push(without_effect(&[group]));
    }
    if by_run().next().is_some() && by_run().all(|(_, narrow)| !narrow) {
        faults.push(without_effect(&by_run().map(|(group, _)| *group).collect::<Vec<_>>()));
    }
    faults.check()
}

fn without_effect(groups: &[&Group]) -> Fault {
    let mut labels: Vec<String> = groups.iter().map(|group| format!("`{}`", group.loaded.label)).collect();
    labels.dedup();
    let text = format!("{} has no state that can be kept in bf16", labels.join(", "));
    Fault::new("C046", Exit::Config, text)
        .at(&groups[0].state_format.place)
        .note("in bf16", "averages that forget more than 1/256 in a step, which a rule declares by `decay`")
        .hint("leave `state_format` away, or choose a faster decay; `host describe LABEL` lists the slots")
}
