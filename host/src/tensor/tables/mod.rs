//! The tables that the host offers to plugins, found by id.
//! Nothing in them is specific to a plugin, and nothing in them changes a tensor in place.

mod core;
mod entry;
mod linalg;
mod pass;
pub mod philox;
mod rng;
mod tensor;

use std::ptr;

use abi_stable::std_types::RStr;
use sdk::abi::TableHeader;
use tch::Kind;

/// Finds a table of the host by id; null where there is none. Labels own no tables here.
pub extern "C" fn get_table(id: RStr<'_>, label: RStr<'_>) -> *const TableHeader {
    if !label.is_empty() {
        return ptr::null();
    }
    match id.as_str() {
        "host.core/1" => ptr::from_ref(&core::TABLE).cast(),
        "host.tensor/1" => ptr::from_ref(&tensor::TABLE).cast(),
        "host.linalg/1" => ptr::from_ref(&linalg::TABLE).cast(),
        "host.rng/1" => ptr::from_ref(&rng::TABLE).cast(),
        _ => ptr::null(),
    }
}

/// An element type as messages and traces name it.
pub(super) fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Float => "f32".to_owned(),
        Kind::Double => "f64".to_owned(),
        Kind::BFloat16 => "bf16".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests;
