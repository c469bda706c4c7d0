//! NVRTC: CUDA source to machine code, in this process.
//! Keeps nothing; that is `cache.rs`.
//!
//! The compiler is the one that was installed with libtorch. It is opened when a kernel is first needed, so that a
//! machine without CUDA needs none.

use std::{
    ffi::{CStr, CString},
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use cudarc::nvrtc::{result, sys};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// All flags but the architecture. The compiler neither fuses nor approximates: the bits are then those of the CPU's
/// kernel.
pub const FLAGS: [&str; 5] = ["--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false"];

/// A cubin for `architecture`, such as `sm_90`.
///
/// # Errors
/// No compiler, or the compiler's own words.
pub fn compile(source: &str, architecture: &str) -> Result<Vec<u8>, String> {
    open()?;
    let source = CString::new(source).map_err(|_| "the source has a zero byte".to_string())?;
    let program = result::create_program(&source, Some(c"rule.cu")).map_err(|error| error.to_string())?;
    let mut options = vec![format!("--gpu-architecture={architecture}")];
    options.extend(FLAGS.map(String::from));
    // SAFETY: the program was just made, and is destroyed once, below.
    let compiled = unsafe { result::compile_program(program, &options) };
    let outcome = match compiled {
        Ok(()) => cubin(program),
        Err(error) => Err(format!("{error}: {}", log(program))),
    };
    // SAFETY: not used afterwards. Failing to free it changes nothing that was compiled.
    let _ = unsafe { result::destroy_program(program) };
    outcome
}

/// Major and minor version of the compiler.
///
/// # Errors
/// No compiler.
pub fn version() -> Result<(i32, i32), String> {
    open()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both are there to be written.
    let status = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    status.result().map(|()| (major, minor)).map_err(|error| error.to_string())
}

fn cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>, String> {
    let mut size = 0;
    // SAFETY: the program is compiled, and the size is there to be written.
    unsafe { sys::nvrtcGetCUBINSize(program, &mut size) }.result().map_err(|error| error.to_string())?;
    let mut bytes = vec![0u8; size];
    // SAFETY: there is room for as much as was asked for.
    unsafe { sys::nvrtcGetCUBIN(program, bytes.as_mut_ptr().cast()) }.result().map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn log(program: sys::nvrtcProgram) -> String {
    // SAFETY: the program lives.
    let Ok(log) = (unsafe { result::get_program_log(program) }) else { return "it left no log".to_string() };
    let bytes: Vec<u8> = log.iter().map(|&byte| byte as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map_or(String::new(), |text| text.to_string_lossy().into_owned())
}

/// Opens the compiler, once.
fn open() -> Result<(), String> {
    static OPENED: OnceLock<Result<(), String>> = OnceLock::new();
    OPENED
        .get_or_init(|| {
            let folders = folders();
            // Found by its name alone afterwards; itself it looks for its built-ins that way.
            let opened = folders.iter().any(|folder| preload(folder));
            // SAFETY: opens a library of NVIDIA's, whose constructors need nothing of ours.
            if opened || unsafe { sys::is_culib_present() } {
                return Ok(());
            }
            let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            Err(format!("NVRTC is not installed; looked in {}", looked.join(", ")))
        })
        .clone()
}

fn preload(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.filter(|name| name.starts_with("libnvrtc") && !name.contains(".alt.")).collect();
    // The built-ins come before the compiler in this order.
    names.sort();
    let mut opened = false;
    for name in names.iter().filter(|name| name.contains(".so.")) {
        // SAFETY: as above. Never closed.
        if let Ok(library) = unsafe { Library::open(Some(folder.join(name)), RTLD_NOW | RTLD_GLOBAL) } {
            std::mem::forget(library);
            opened |= name.starts_with("libnvrtc.so");
        }
    }
    opened
}

/// Where libtorch's wheels put the compiler: beside the libtorch that this process runs on.
fn folders() -> Vec<PathBuf> {
    let Some(torch) = libtorch() else { return Vec::new() };
    let mut folders = vec![torch.clone()];
    for site in torch.ancestors().skip(1).take(2) {
        let Ok(entries) = fs::read_dir(site.join("nvidia")) else { continue };
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path().join("lib"))).collect();
        found.sort();
        folders.extend(found);
    }
    folders
}

/// The folder that libtorch was loaded from.
fn libtorch() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().find_map(|line| {
        let path = line.split_whitespace().last()?;
        path.ends_with("/libc10.so").then(|| PathBuf::from(path))
    })?;
    path.parent().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_or_says_why_not() {
        let Ok(version) = version() else {
            println!("skipped: NVRTC is not installed beside libtorch");
            return;
        };
        assert!(version.0 >= 12, "{version:?}");
        let cubin = compile("extern \"C\" __global__ void f(float* x) { x[threadIdx.x] += 1.0f; }", "sm_90").unwrap();
        assert_eq!(&cubin[..4], b"\x7fELF");
        let error = compile("__global__ void f() { nonsense; }", "sm_90").unwrap_err();
        assert!(error.contains("nonsense") && error.contains("rule.cu"), "{error}");
        assert!(compile("", "sm_1").is_err());
    }
}
