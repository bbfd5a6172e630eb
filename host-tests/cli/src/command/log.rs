//! The log of a command: lines on standard error.

use std::fmt;
use std::io::{Write, stderr};

/// Writes a line to standard error. A failure is ignored: a service must not end because the reader
/// of its log has ended or the disk of its log is full.
pub fn log(line: fmt::Arguments<'_>) {
    let _ = writeln!(stderr(), "{line}");
}
