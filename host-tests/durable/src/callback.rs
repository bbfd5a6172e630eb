//! Callbacks of the program that embeds the host.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls a callback. If it panics, only the callback ends: the caller is a task that serves a
/// tenant. A callback that writes to a closed pipe panics, for example.
pub(super) fn call(callback: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(callback));
}
