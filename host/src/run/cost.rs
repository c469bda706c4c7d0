//! What a run took: time per step, memory, threads. Part of `run.json`.
//! Reads what the system counted of this process; times nothing itself.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::metrics::digits::Digits;

/// What a run took. What could not be measured is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Threads of libtorch.
    pub threads: u64,
    /// Wall time of a step, as [`crate::metrics::pace`] takes it; evaluations and checkpoints are not in it.
    pub milliseconds_per_step: Option<Digits>,
    /// Optimizer state as it is allocated, all tensors together.
    pub state_bytes: u64,
    /// Most memory that the process held at a time. A resumed run's is that of its last process.
    pub peak_memory_bytes: Option<u64>,
    /// Most memory that libtorch's allocator held on the card at a time; of a run on a card.
    pub peak_device_bytes: Option<u64>,
}

/// Most memory that this process held at a time, in bytes: the system's `VmHWM`.
pub fn peak_memory_bytes() -> Option<u64> {
    peak_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_or_absent() {
        assert_eq!(peak_of("Name:\thost\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n"), Some(123_456 * 1024));
        for status in ["", "VmRSS: 1 kB", "VmHWM: many kB", "VmHWM: 1"] {
            assert_eq!(peak_of(status), None, "{status}");
        }
    }

    #[test]
    fn the_peak_grows_with_what_is_held() {
        let before = peak_memory_bytes().unwrap();
        let held = std::hint::black_box(vec![1_u8; before as usize + (64 << 20)]);
        assert!(peak_memory_bytes().unwrap() >= held.len() as u64);
    }
}
