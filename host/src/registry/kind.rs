//! The three kinds of plugins, and their names in files, in descriptors and in sentences.
//! Does not know what a kind does.

use std::fmt;

/// What a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// How a gradient changes a parameter.
    Optimizer,
    /// What happens to a gradient before the optimizer.
    Projection,
    /// A change of the network.
    ArchOp,
}

impl Kind {
    /// All kinds, in the order of lists.
    pub const ALL: [Kind; 3] = [Kind::Optimizer, Kind::Projection, Kind::ArchOp];

    /// As in `registry.toml` and in a plugin's descriptor.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Optimizer => "optimizer",
            Kind::Projection => "projection",
            Kind::ArchOp => "arch-op",
        }
    }

    /// The flag that lists the labels of this kind.
    pub fn list_flag(self) -> &'static str {
        match self {
            Kind::Optimizer => "--list-optimizers",
            Kind::Projection => "--list-projections",
            Kind::ArchOp => "--list-arch-ops",
        }
    }

    /// The kind of that name.
    pub fn of(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
