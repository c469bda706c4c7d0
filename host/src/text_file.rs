//! A text that people write: configuration, registry, lock. Read whole, up to a size that none of them has.
//! Does not know what is in it.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

/// Largest text in bytes. A device such as `/dev/zero` would be read for ever.
const LARGEST: u64 = 16 << 20;

/// The text at `path`, which may be a pipe.
///
/// # Errors
/// Those of the system; no UTF-8; more than 16 MiB.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let size = File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    match size as u64 > LARGEST {
        true => Err(io::Error::new(ErrorKind::FileTooLarge, "it is larger than 16 MiB")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_end_is_refused() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read(Path::new("/dev/null")).unwrap(), "");
        assert!(read(Path::new("/proc/self/status")).unwrap().contains("Pid:"), "no size is believed");
    }
}
