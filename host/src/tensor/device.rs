//! Where tensors live: brings CUDA in where it is wanted and can be used, and says why where it cannot.

use std::{
    ffi::{c_int, c_longlong},
    fmt,
};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::{
    config::settings::Device,
    fault::{Exit, Fault},
};

unsafe extern "C" {
    fn host_peak_device_bytes(device: c_int, bytes: *mut c_longlong) -> c_int;
}

/// Most bytes that libtorch's allocator gave out on a card at a time; none on the CPU, or where it does not count.
pub fn peak_bytes(device: tch::Device) -> Option<u64> {
    let tch::Device::Cuda(index) = device else { return None };
    let mut bytes: c_longlong = 0;
    // SAFETY: a plain number goes in, `bytes` lives until the call returns, and the shim catches what libtorch throws.
    let status = unsafe { host_peak_device_bytes(c_int::try_from(index).ok()?, &mut bytes) };
    if status == 0 { u64::try_from(bytes).ok() } else { None }
}

/// The device that `wanted` means on this machine.
///
/// The binary does not link `libtorch_cuda.so`, so that it also starts where there is none; it is opened here, once,
/// and only where CUDA is wanted and a driver is there.
///
/// # Errors
/// `E001` where CUDA is demanded and cannot be used.
pub fn open(wanted: Device) -> Result<tch::Device, Fault> {
    match wanted {
        Device::Cpu => Ok(tch::Device::Cpu),
        Device::Auto => Ok(cuda().unwrap_or(tch::Device::Cpu)),
        Device::Cuda => cuda().map_err(|why| {
            Fault::new("E001", Exit::Environment, "CUDA is asked for and cannot be used")
                .note("why", why.to_string())
                .hint("use `--device cpu`, or install the driver and run `cargo xtask setup` again")
        }),
    }
}

/// As recorded: `cpu`, `cuda:0`.
pub fn name(device: tch::Device) -> String {
    match device {
        tch::Device::Cuda(index) => format!("cuda:{index}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Why CUDA cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCuda {
    /// NVIDIA's driver cannot be opened.
    NoDriver(String),
    /// libtorch's half for CUDA cannot be opened.
    NoLibrary(String),
    /// Both are there, and no card.
    NoCard,
}

impl NoCuda {
    /// For machines.
    pub fn name(&self) -> &'static str {
        match self {
            NoCuda::NoDriver(_) => "no-driver",
            NoCuda::NoLibrary(_) => "no-library",
            NoCuda::NoCard => "no-card",
        }
    }
}

impl fmt::Display for NoCuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoCuda::NoDriver(error) => write!(f, "no NVIDIA driver: {error}"),
            NoCuda::NoLibrary(error) => write!(f, "libtorch has no CUDA: {error}"),
            NoCuda::NoCard => f.write_str("libtorch sees no CUDA device"),
        }
    }
}

/// The card that runs use, where there is one.
///
/// # Errors
/// What it lacks.
pub fn cuda() -> Result<tch::Device, NoCuda> {
    // SAFETY: libcuda is NVIDIA's driver library; opening it runs its initializers only, and it is never closed.
    let driver = unsafe { Library::open(Some("libcuda.so.1"), RTLD_NOW) };
    std::mem::forget(driver.map_err(|error| NoCuda::NoDriver(reason(&error)))?);
    // SAFETY: libtorch_cuda registers its kernels with the libtorch that is already loaded, from the same folder. It is
    // found through the binary's run path and never closed, so nothing it registered dangles.
    let torch = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    std::mem::forget(torch.map_err(|error| NoCuda::NoLibrary(reason(&error)))?);
    if tch::Cuda::is_available() { Ok(tch::Device::Cuda(0)) } else { Err(NoCuda::NoCard) }
}

/// What the dynamic linker says; the error itself says only that it failed.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
