//! The libtorch that this process runs on: which one it is, and whether it computes.
//! Does not look for another one.

use std::{
    ffi::c_char,
    path::{Path, PathBuf},
};

use tch::Tensor;

unsafe extern "C" {
    fn host_torch_config(text: *mut c_char, size: usize) -> usize;
}

/// The version that this program was built against, such as `2.11.0+cpu`.
pub const BUILT_AGAINST: &str = env!("HOST_LIBTORCH_VERSION");

/// libtorch's description of its build, as its own words; empty where it gives none.
pub fn config() -> String {
    let mut text = vec![0u8; 1 << 16];
    // SAFETY: there is room for as many bytes as are said, and the shim catches what libtorch throws.
    let length = unsafe { host_torch_config(text.as_mut_ptr().cast(), text.len()) };
    text.truncate(length);
    String::from_utf8_lossy(&text).into_owned()
}

/// The version in a description, such as `2.11.0`.
pub fn version(config: &str) -> Option<&str> {
    value(config, "TORCH_VERSION=")
}

/// The instructions that libtorch's own kernels use, such as `AVX2`.
pub fn capability(config: &str) -> Option<&str> {
    value(config, "CPU capability usage: ")
}

fn value<'t>(config: &'t str, name: &str) -> Option<&'t str> {
    let rest = &config[config.find(name)? + name.len()..];
    rest.split([',', '\n']).next().map(str::trim).filter(|value| !value.is_empty())
}

/// Whether two versions are the same release; what follows a `+` is how it was built.
pub fn same_release(a: &str, b: &str) -> bool {
    let release = |version: &'_ str| version.split('+').next().map(str::to_string);
    release(a) == release(b)
}

/// The folder that it was loaded from.
pub fn folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().find_map(|line| {
        let path = &line[line.find('/')?..];
        path.ends_with("/libtorch_cpu.so").then(|| PathBuf::from(path))
    })?;
    path.parent().map(Path::to_path_buf)
}

/// Multiplies two small matrices and looks at the result.
///
/// # Errors
/// libtorch's own words, or that the product is wrong.
pub fn computes() -> Result<(), String> {
    let multiply = || {
        let a = Tensor::f_from_slice(&[1.0f32, 2.0, 3.0, 4.0])?.f_reshape([2, 2])?;
        let product = a.f_matmul(&a)?.f_reshape([4])?;
        Vec::<f32>::try_from(&product)
    };
    match multiply() {
        Ok(product) if product == [7.0, 10.0, 15.0, 22.0] => Ok(()),
        Ok(product) => Err(format!("a product of two matrices is wrong: {product:?}")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_that_was_built_against_and_it_computes() {
        let config = config();
        let version = version(&config).unwrap_or_else(|| panic!("{config}"));
        assert!(same_release(version, BUILT_AGAINST), "{version} {BUILT_AGAINST}");
        assert!(capability(&config).is_some(), "{config}");
        assert!(folder().unwrap().join("libtorch_cpu.so").exists());
        computes().unwrap();
    }

    #[test]
    fn releases_are_compared_without_how_they_were_built() {
        assert!(same_release("2.11.0", "2.11.0+cu130"));
        assert!(!same_release("2.11.1", "2.11.0+cu130"));
        assert!(!same_release("2.1", "2.11.0"));
        assert_eq!(version("a=1, TORCH_VERSION=2.11.0, USE_CUDA=0"), Some("2.11.0"));
        assert_eq!(version("a=1"), None);
    }
}
