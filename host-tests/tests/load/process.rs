//! The memory of this process.

use std::fs;

/// The resident memory, in bytes.
pub struct Memory {
    /// What is resident now.
    pub now: u64,
    /// The most that was resident since the process began.
    pub peak: u64,
}

/// Returns the resident memory. It is zero where the system does not report it.
pub fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1_024
    };
    Memory {
        now: figure("VmRSS:"),
        peak: figure("VmHWM:"),
    }
}
