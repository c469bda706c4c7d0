//! What a run is made of: the text, the network, the rules behind its labels, its parameter groups, the machine.
//! Compared when a run goes on, so that a resumed run is the run that began.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::Device;

use super::Prepared;
use crate::{
    data::Corpus,
    fault::{Exit, Fault, Faults},
    growth,
    model::Architecture,
    optim::GroupRow,
    rules::threads,
    tensor::device,
};

/// Kept in every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// SHA-256 over training and validation text.
    pub data: String,
    /// Numbers of the network before any operation; checkpoints of versions that did not keep them have none.
    #[serde(default)]
    pub architecture: BTreeMap<String, f64>,
    /// Fingerprint of the rule behind each label, where it has one; else the hash of its library.
    pub rules: BTreeMap<String, String>,
    /// A line per parameter group: what it takes, its optimizer, every hyper-parameter.
    pub groups: Vec<String>,
    /// A line per scheduled operation.
    pub schedule: Vec<String>,
    /// Where tensors live.
    pub device: String,
    /// Threads of libtorch; on the CPU they decide how sums are split, and so the last bits.
    pub threads: usize,
}

impl Lineage {
    /// That of a run about to begin or to go on.
    pub fn of(
        prepared: &Prepared,
        corpus: &Corpus,
        network: &Architecture,
        groups: &[GroupRow],
        on: Device,
    ) -> Lineage {
        let rules = prepared.catalogue.iter().map(|loaded| {
            let rule = loaded.fingerprint().unwrap_or(&loaded.library.sha256);
            (format!("{} {}", loaded.kind.name(), loaded.label), rule.to_string())
        });
        let group = |row: &GroupRow| {
            let hyper: Vec<String> = row.hyper.iter().map(|(name, value, _)| format!("{name}={value}")).collect();
            let state = row.state_format().map_or(String::new(), |formats| format!(" state {formats}"));
            format!("{}: {} {}{state}", row.takes, row.optimizer, hyper.join(" "))
        };
        Lineage {
            data: corpus.sha256.clone(),
            architecture: network.facts().into_iter().collect(),
            rules: rules.collect(),
            groups: groups.iter().map(group).collect(),
            schedule: growth::lines(&prepared.resolved.settings.schedule),
            device: device::name(on),
            threads: threads::count(),
        }
    }

    /// Whether a run that began as `begun` goes on as this one. Another device or number of threads is said, not
    /// refused: the run goes on, with other last bits.
    ///
    /// # Errors
    /// `D121` another text, `D129` another network, `R031` another rule behind a label, `R032` other groups or hyper-parameters, `C073` another
    /// schedule of operations.
    pub fn check(&self, begun: &Lineage) -> Result<(), Faults> {
        let mut faults = Faults::none();
        if self.data != begun.data {
            let fault = Fault::new("D121", Exit::Data, "the text is not the one the run began with");
            faults.push(
                fault
                    .note("began with", format!("sha256={}", begun.data))
                    .note("now", format!("sha256={}", self.data))
                    .hint("put the text back, or start another run"),
            );
        }
        faults.take(begun.began_with(&self.architecture));
        for (label, rule) in &begun.rules {
            let now = self.rules.get(label).map_or("none", String::as_str);
            if now != rule {
                let text = format!("{label} is not the rule the run began with");
                let fault = Fault::new("R031", Exit::Registry, text).note("began with", rule).note("now", now);
                faults.push(fault.hint("put the plugin and the registry's defaults back, or start another run"));
            }
        }
        if self.groups != begun.groups {
            let text = "the parameter groups are not those the run began with";
            let fault = Fault::new("R032", Exit::Registry, text).note("began with", begun.groups.join("; "));
            faults.push(
                fault
                    .note("now", self.groups.join("; "))
                    .hint("put the registry's defaults and companions back, or start another run"),
            );
        }
        if self.schedule != begun.schedule {
            let text = "the schedule of operations is not the one the run began with";
            let shown = |lines: &[String]| if lines.is_empty() { "none".to_string() } else { lines.join("; ") };
            let fault = Fault::new("C073", Exit::Config, text).note("began with", shown(&begun.schedule));
            let fault = fault.note("now", shown(&self.schedule));
            faults.push(fault.hint("put the schedule in the run's config.toml back, or start another run"));
        }
        if (&self.device, self.threads) != (&begun.device, begun.threads) {
            tracing::warn!(
                "the run began on {} with {} threads and goes on on {} with {}: last bits may differ",
                begun.device,
                begun.threads,
                self.device,
                self.threads
            );
        }
        faults.check()
    }

    /// Whether these are the numbers of the network that the run began with. Some of them decide no shape, so that the
    /// weights alone would fit.
    ///
    /// # Errors
    /// `D129` with every number that is another.
    pub fn began_with(&self, settings: &BTreeMap<String, f64>) -> Result<(), Fault> {
        let differing: Vec<String> = self
            .architecture
            .iter()
            .filter(|(name, begun)| settings.get(*name) != Some(*begun))
            .map(|(name, begun)| {
                let now = settings.get(name).map_or("none".to_string(), f64::to_string);
                format!("{name} was {begun}, the settings have {now}")
            })
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        let fault = Fault::new("D129", Exit::Data, "the checkpoint is of a run that began with another network");
        let fault = differing.into_iter().fold(fault, |fault, text| fault.note("number", text));
        Err(fault.hint("a checkpoint stays in the directory of its run, and the run's config.toml as the run wrote it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage() -> Lineage {
        Lineage {
            data: "a".into(),
            architecture: BTreeMap::from([("n_head".to_string(), 2.0)]),
            rules: BTreeMap::from([("optimizer lion".to_string(), "1".to_string())]),
            groups: vec!["all the rest: lion lr=1".into()],
            schedule: vec!["change_lr value=2".into()],
            device: "cpu".into(),
            threads: 2,
        }
    }

    #[test]
    fn what_decides_numbers_must_be_the_same() {
        let same = Lineage { threads: 1, ..lineage() };
        assert!(same.check(&lineage()).is_ok(), "threads are said, not refused");
        let rules = BTreeMap::from([("optimizer lion".to_string(), "2".to_string())]);
        let before = Lineage { architecture: BTreeMap::new(), ..lineage() };
        assert!(lineage().check(&before).is_ok(), "checkpoints of before do not say");
        let cases = [
            (Lineage { data: "b".into(), ..lineage() }, "D121"),
            (Lineage { architecture: BTreeMap::from([("n_head".to_string(), 4.0)]), ..lineage() }, "D129"),
            (Lineage { rules, ..lineage() }, "R031"),
            (Lineage { groups: vec!["all the rest: lion lr=2".into()], ..lineage() }, "R032"),
            (Lineage { schedule: Vec::new(), ..lineage() }, "C073"),
        ];
        for (now, code) in cases {
            let faults = now.check(&lineage()).unwrap_err();
            assert_eq!(faults.0.iter().map(|fault| fault.code).collect::<Vec<_>>(), [code]);
        }
    }
}
