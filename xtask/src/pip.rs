//! Which wheels make up libtorch, and how pip unpacks them into a folder.
//! Does not touch any Python environment: no wheel installed here is imported by a Python.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::failure::{ENVIRONMENT, Failure};
use crate::libtorch::Set;
use crate::step;

/// libtorch_cpu.so itself links the CUDA runtime and CUPTI.
const CPU_WHEELS: [&str; 4] =
    ["torch==2.11.0", "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85", "nvidia-cuda-nvrtc==13.0.88"];

/// What torch 2.11.0 pins on linux, without what only Python uses (triton, cuda-bindings, sympy, …).
const CUDA_WHEELS: [&str; 12] = [
    "nvidia-cublas==13.1.0.3",
    "nvidia-cudnn-cu13==9.19.0.56",
    "nvidia-cufft==12.0.0.61",
    "nvidia-cufile==1.15.1.6",
    "nvidia-curand==10.4.0.35",
    "nvidia-cusolver==12.0.4.66",
    "nvidia-cusparse==12.6.3.3",
    "nvidia-cusparselt-cu13==0.8.0",
    "nvidia-nccl-cu13==2.28.9",
    "nvidia-nvjitlink==13.0.88",
    "nvidia-nvshmem-cu13==3.4.5",
    "nvidia-nvtx==13.0.85",
];

/// The wheels of a set. Every dependency is named, so that the same libraries are installed every day.
fn wheels(set: Set) -> Vec<&'static str> {
    match set {
        Set::Cpu => CPU_WHEELS.to_vec(),
        Set::Cuda => CPU_WHEELS.into_iter().chain(CUDA_WHEELS).collect(),
    }
}

/// Unpacks the wheels of a set into `folder`; pip's scratch space is `scratch`, on the same disk.
pub fn unpack(set: Set, folder: &Path, scratch: &Path) -> Result<()> {
    let (program, leading) = find()?;
    let mut command = Command::new(program);
    command.args(leading).args(["install", "--no-deps", "--no-compile", "--disable-pip-version-check"]);
    // The shared libraries are the same for every Python, so the machine's own version does not matter: the wheels of
    // one version are named. pip then wants every platform tag it may take to be named, too.
    command.args([
        "--python-version",
        "3.11",
        "--implementation",
        "cp",
        "--only-binary=:all:",
        "--ignore-requires-python",
    ]);
    for minor in (5..=28).rev() {
        command.arg("--platform").arg(format!("manylinux_2_{minor}_x86_64"));
    }
    for legacy in ["manylinux2014", "manylinux2010", "manylinux1"] {
        command.arg("--platform").arg(format!("{legacy}_x86_64"));
    }
    command.arg("--target").arg(folder).args(wheels(set));
    for variable in ["PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV"] {
        command.env_remove(variable);
    }
    command.env("PIP_ROOT_USER_ACTION", "ignore").env("TMPDIR", scratch).stdout(Stdio::from(std::io::stderr()));

    eprintln!("> pip install --no-deps --target {} {}", folder.display(), wheels(set).join(" "));
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    let hint = "read pip's own message above; an old pip may not know these wheels \
                (`python3 -m pip install --upgrade pip`); \
                without network, copy a libtorch 2.11.0 here and set LIBTORCH to its folder";
    Err(Failure::new(ENVIRONMENT, "pip could not install libtorch").hint(hint).into())
}

/// `python3 -m pip`, or a pip of its own.
fn find() -> Result<(&'static str, &'static [&'static str])> {
    const WAYS: [(&str, &[&str]); 4] =
        [("python3", &["-m", "pip"]), ("python", &["-m", "pip"]), ("pip3", &[]), ("pip", &[])];
    for (program, leading) in WAYS {
        if runs(Command::new(program).args(leading).arg("--version")) {
            return Ok((program, leading));
        }
    }
    let (missing, hint) = if runs(Command::new("python3").arg("--version")) {
        (
            "the python3 here has none",
            "install pip (Debian, Ubuntu: `apt install python3-pip`; else `python3 -m ensurepip`)",
        )
    } else {
        ("there is no python3", "install both (Debian, Ubuntu: `apt install python3 python3-pip`)")
    };
    let message = format!("libtorch is installed by Python's pip, and {missing}");
    let hint = format!("{hint}, or set LIBTORCH to a libtorch 2.11.0 of your own");
    Err(Failure::new(ENVIRONMENT, message).hint(hint).into())
}

fn runs(command: &mut Command) -> bool {
    step::answer(command).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::VERSION;

    #[test]
    fn every_wheel_is_pinned_and_torch_is_the_stamped_one() {
        for set in [Set::Cpu, Set::Cuda] {
            let wheels = wheels(set);
            assert!(wheels.contains(&format!("torch=={VERSION}").as_str()));
            assert!(wheels.iter().all(|wheel| { wheel.split_once("==").is_some_and(|(_, pin)| !pin.is_empty()) }));
        }
    }
}
