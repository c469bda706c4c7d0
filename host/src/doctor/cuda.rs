//! Whether CUDA can be used, and if not, what it lacks: driver, libtorch's half, card, compiler of kernels.
//! Runs in a child: a driver may hang, and a library may end the process.

use crate::{
    config::settings::Device,
    rules::cuda::{self, nvrtc},
    tensor::device::{self, NoCuda},
};

use super::Finding;

/// What became of the attempt to use CUDA.
pub fn finding(wanted: Device) -> Finding {
    let why = match device::cuda() {
        Ok(_) => return card(),
        Err(why) => why,
    };
    if wanted == Device::Cuda
        && let Err(fault) = device::open(wanted)
    {
        return Finding::unfit("cuda", why.to_string(), &fault.hint(hint(&why)).into()).fact("why", why.name());
    }
    let text = format!("{why}; runs go to the CPU");
    Finding::limited("cuda", text, hint(&why)).fact("why", why.name())
}

fn hint(why: &NoCuda) -> &'static str {
    match why {
        NoCuda::NoDriver(_) => "for a card, install NVIDIA's driver, then run `cargo xtask setup` again",
        NoCuda::NoLibrary(_) => "`cargo xtask setup` installs libtorch with CUDA where it sees a driver",
        NoCuda::NoCard => "`nvidia-smi` lists the cards; is CUDA_VISIBLE_DEVICES set, or the driver too old?",
    }
}

/// There is a card, and runs go there; they also need kernels.
fn card() -> Finding {
    let count = tch::Cuda::device_count();
    let compiler = nvrtc::version().map(|(major, minor)| format!("{major}.{minor}"));
    match cuda::ready(0) {
        Ok(architecture) => {
            let compiler = compiler.unwrap_or_default();
            let text = format!("{count} cards, the first is {architecture}; NVRTC {compiler}");
            Finding::ok("cuda", text).fact("cards", count).fact("architecture", architecture).fact("nvrtc", compiler)
        }
        Err(fault) => {
            let text = format!("{count} cards, and no kernel can be made for the first");
            Finding::unfit("cuda", text, &fault.into()).fact("cards", count)
        }
    }
}
