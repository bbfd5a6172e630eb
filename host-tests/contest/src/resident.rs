//! How much memory a process takes.

use std::fs;

/// The resident memory of this process, in bytes; none where there is no `/proc`.
#[must_use]
pub fn this_process() -> Option<u64> {
    of("self")
}

/// The resident memory of a process, in bytes.
#[must_use]
pub fn of(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}
