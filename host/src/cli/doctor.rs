//! `host doctor`: prints what `doctor/` finds.
//! Looks at nothing itself.

use super::{doctor_args::DoctorFlags, stdout};
use crate::{
    config::{choice::Choice, settings::Device},
    doctor::{self, Order},
    fault::{Exit, Faults},
    registry::Registry,
};

/// Prints a table, or JSON; faults in full on stderr.
///
/// # Errors
/// Standard output cannot be written.
pub fn doctor(flags: &DoctorFlags, registry: Result<Registry, Faults>) -> anyhow::Result<Exit> {
    let order = Order { device: Device::named(&flags.device), registry };
    if let Some(part) = flags.part {
        doctor::examine_part(part, &order, &flags.without);
        return Ok(Exit::Ok);
    }
    let report = doctor::examine(&order);
    if flags.json {
        stdout::print_json(&report.to_json())?;
    } else {
        stdout::print(&stdout::table(&["what", "state", "found", "way out"], report.rows()))?;
    }
    for told in report.findings.iter().flat_map(|finding| &finding.faults) {
        anstream::eprintln!("{}", told.text);
    }
    Ok(report.exit())
}
