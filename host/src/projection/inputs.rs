//! The tensors that a projection needs per parameter, from safetensors files keyed by parameter name.
//! Knows no projection: what a tensor means, and which shapes fit, is the plugin's to say.

use std::{collections::BTreeSet, path::Path};

use safetensors::SafeTensors;
use tch::{Kind, Tensor};

use crate::{
    fault::{Exit, Fault, Faults, nearest},
    model::Parameter,
    tensor::bytes::from_bytes,
};

/// One tensor per wanted parameter, in that order; each of the parameter's device, and of the element type in which its
/// gradient is computed with.
///
/// # Errors
/// D060 where the file cannot be read; D061 for every tensor that is missing or unusable, and for every name in the
/// file that no parameter of the network has.
pub fn load(path: &Path, wanted: &[&Parameter], all: &[Parameter], place: &str) -> Result<Vec<Tensor>, Faults> {
    let unreadable = |reason: String| {
        Fault::new("D060", Exit::Data, format!("the inputs in {} cannot be read", path.display()))
            .at(place)
            .note("reason", reason)
    };
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let mut faults = Faults::none();
    let known: BTreeSet<&str> = all.iter().map(|parameter| parameter.name.as_str()).collect();
    for name in file.names() {
        if !known.contains(name) {
            let fault = misfit(path, place, format!("tensor `{name}` is named after no parameter"));
            faults.push(match nearest(name, known.iter().copied()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault,
            });
        }
    }
    let mut tensors = Vec::with_capacity(wanted.len());
    for parameter in wanted {
        tensors.extend(faults.take(one(&file, parameter).map_err(|text| misfit(path, place, text))));
    }
    faults.check()?;
    Ok(tensors)
}

fn one(file: &SafeTensors<'_>, parameter: &Parameter) -> Result<Tensor, String> {
    let name = &parameter.name;
    let view = file.tensor(name).map_err(|_| format!("there is no tensor for parameter `{name}`"))?;
    let tensor = from_bytes(view.dtype(), view.shape(), view.data(), parameter.tensor.device());
    let tensor = tensor.map_err(|fault| format!("tensor `{name}`: {}", fault.message))?;
    if !matches!(tensor.kind(), Kind::Float | Kind::Double | Kind::BFloat16) {
        return Err(format!("tensor `{name}` is no floating-point tensor"));
    }
    let torch = |error: tch::TchError| format!("tensor `{name}`: {error}");
    let finite = tensor.f_isfinite().and_then(|each| each.f_all()).and_then(|all| all.f_int64_value(&[]));
    if finite.map_err(torch)? == 0 {
        return Err(format!("tensor `{name}` has values that are not finite"));
    }
    tensor.f_to_kind(computing_kind(parameter.tensor.kind())).map_err(torch)
}

/// bf16 gradients are computed with in f32.
pub fn computing_kind(kind: Kind) -> Kind {
    if kind == Kind::BFloat16 { Kind::Float } else { kind }
}

fn misfit(path: &Path, place: &str, text: String) -> Fault {
    Fault::new("D061", Exit::Data, text).at(place).note("file", path.display().to_string())
}
