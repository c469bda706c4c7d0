//! The network as an architecture operation sees it, and what it says becomes of each parameter.

use abi_stable::{
    StableAbi,
    std_types::{RString, RVec, Tuple2},
};

/// The network before an operation.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Network {
    /// Numbers of the architecture by name: `n_layer`, `n_head`, `n_embd`, `block_size`, `vocab_size`, `lora_rank`, …
    pub facts: RVec<Tuple2<RString, f64>>,
    /// Every parameter, in the order of the model.
    pub parameters: RVec<ParameterInfo>,
}

/// One parameter of the network.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct ParameterInfo {
    /// Its name, such as `transformer.h.0.mlp.c_fc.weight`.
    pub name: RString,
    /// `embedding`, `matrix`, `head`, `vector` or `adapter`.
    pub role: RString,
    /// The block it belongs to, from 0; −1 outside the blocks.
    pub layer: i64,
    /// Its sizes.
    pub shape: RVec<i64>,
    /// Whether it is left out of training.
    pub frozen: bool,
}

/// The network after an operation.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct NetworkPlan {
    /// Numbers of the architecture that change.
    pub facts: RVec<Tuple2<RString, f64>>,
    /// Every parameter of the new network and where it comes from.
    pub parameters: RVec<ParameterPlan>,
}

/// What becomes of one parameter.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct ParameterPlan {
    /// Name in the new network.
    pub name: RString,
    /// 0 fresh, 1 kept, 2 mapped, 3 merged: kept, with the change that its low-rank adapter makes added to the values.
    /// A host refuses what it does not know.
    pub lineage: u32,
    /// Name in the old network; empty where fresh.
    pub source: RString,
    /// Sizes in the new network.
    pub shape: RVec<i64>,
    /// For a mapped parameter one map per dimension; empty otherwise.
    pub maps: RVec<DimensionMap>,
    /// Whether it is left out of training from now on.
    pub frozen: bool,
}

/// Which old index each new index of one dimension copies, and by how much values and gradients scale.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct DimensionMap {
    /// Old index per new index; −1 where there is none, and values and state begin as those of a fresh parameter.
    pub index: RVec<i64>,
    /// Factor on the value per new index.
    pub value_scale: RVec<f64>,
    /// Factor on the gradient per new index.
    pub grad_scale: RVec<f64>,
}
