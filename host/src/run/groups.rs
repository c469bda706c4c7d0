//! Parameter groups as a run dealt them out. Part of `run.json`.
//! Deals out nothing; that is `optim/`.

use serde::{Deserialize, Serialize};

use crate::optim::GroupRow;

/// Names of [`GroupRecord::cells`].
pub const HEAD: [&str; 8] =
    ["takes", "optimizer", "tensors", "parameters", "state bytes", "lr", "weight_decay", "others"];

/// One parameter group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Which parameters it takes, for people.
    pub takes: String,
    /// Label of its optimizer.
    pub optimizer: String,
    /// Tensors in it.
    pub tensors: u64,
    /// Elements of all of them.
    pub parameters: u64,
    /// Bytes of their optimizer state.
    pub state_bytes: u64,
    /// Which of its slots are in bf16, for people; none where all are as wide as the rule computes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_format: Option<String>,
    /// Every hyper-parameter.
    pub hyper: Vec<HyperRecord>,
}

/// One hyper-parameter of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HyperRecord {
    /// Its name.
    pub name: String,
    /// As text.
    pub value: String,
    /// Where it came from.
    pub source: String,
}

impl GroupRecord {
    /// From the table of groups.
    pub fn of(row: &GroupRow) -> GroupRecord {
        let hyper = |(name, value, source): &(String, String, String)| HyperRecord {
            name: name.clone(),
            value: value.clone(),
            source: source.clone(),
        };
        GroupRecord {
            takes: row.takes.clone(),
            optimizer: row.optimizer.clone(),
            tensors: row.tensors as u64,
            parameters: row.parameters,
            state_bytes: row.state_bytes,
            state_format: row.state_format(),
            hyper: row.hyper.iter().map(hyper).collect(),
        }
    }

    /// Every hyper-parameter with its source, `lr` and `weight_decay` in cells of their own.
    pub fn cells(&self) -> Vec<String> {
        let own = ["lr", "weight_decay"];
        let shown = |name: &str| {
            let found = self.hyper.iter().find(|hyper| hyper.name == name);
            found.map_or_else(|| "-".to_string(), |hyper| format!("{} ({})", hyper.value, hyper.source))
        };
        let others = self.hyper.iter().filter(|hyper| !own.contains(&hyper.name.as_str()));
        let others: Vec<String> =
            others.map(|hyper| format!("{}={} ({})", hyper.name, hyper.value, hyper.source)).collect();
        vec![
            self.takes.clone(),
            self.optimizer.clone(),
            self.tensors.to_string(),
            self.parameters.to_string(),
            match &self.state_format {
                Some(formats) => format!("{} ({formats})", self.state_bytes),
                None => self.state_bytes.to_string(),
            },
            shown(own[0]),
            shown(own[1]),
            others.join(", "),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hyper_parameter_has_its_source() {
        let hyper = [("lr", "0.1", "flag"), ("beta1", "0.9", "plugin"), ("eps", "1e-8", "registry")];
        let row = GroupRow {
            takes: "*".into(),
            optimizer: "adamw".into(),
            tensors: 2,
            parameters: 12,
            hyper: hyper.map(|(name, value, source)| (name.into(), value.into(), source.into())).to_vec(),
            state_bytes: 96,
            narrow: (vec!["exp_avg".into()], Vec::new()),
        };
        let cells = GroupRecord::of(&row).cells();
        let expected = [
            "*",
            "adamw",
            "2",
            "12",
            "96 (bf16: exp_avg)",
            "0.1 (flag)",
            "-",
            "beta1=0.9 (plugin), eps=1e-8 (registry)",
        ];
        assert_eq!(cells, expected);
        assert_eq!(cells.len(), HEAD.len());
    }
}
