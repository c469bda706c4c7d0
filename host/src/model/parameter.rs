//! One trained tensor: its name, its role, its place in the network.

use std::fmt;

use tch::Tensor;

/// What a parameter is for; parameter groups are made of roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A weight matrix inside a block.
    Matrix,
    /// Token or position embedding.
    Embedding,
    /// An output head of its own.
    Head,
    /// A bias or the gain of a LayerNorm.
    Vector,
    /// A LoRA matrix.
    Adapter,
}

impl Role {
    /// All roles, in the order of tables.
    pub const ALL: [Role; 5] = [Role::Matrix, Role::Embedding, Role::Head, Role::Vector, Role::Adapter];

    /// As written in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Role::Matrix => "matrix",
            Role::Embedding => "embedding",
            Role::Head => "head",
            Role::Vector => "vector",
            Role::Adapter => "adapter",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One named tensor of the network. A leaf that takes gradients unless frozen.
#[derive(Debug)]
pub struct Parameter {
    /// nanoGPT's name, such as `transformer.h.0.mlp.c_fc.weight`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The block it belongs to, from 0.
    pub layer: Option<usize>,
    /// The values. Other handles see each change; a detached tensor or a view may be left with the values of before.
    pub tensor: Tensor,
    /// Left out of training.
    pub frozen: bool,
}

impl Parameter {
    /// Another handle to the same values.
    pub fn handle(&self) -> Tensor {
        self.tensor.shallow_clone()
    }
}
