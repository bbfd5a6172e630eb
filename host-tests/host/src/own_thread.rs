//! [`OwnThread`]: the thread of an instance that has one of its own.

use std::thread::{self, ThreadId};

use tokio::runtime::Handle;

/// The thread that drives an instance, and the runtime on it.
#[derive(Clone)]
pub(crate) struct OwnThread {
    pub thread: ThreadId,
    pub runtime: Handle,
}

impl OwnThread {
    /// Returns the current thread and its runtime.
    pub fn current() -> Self {
        Self {
            thread: thread::current().id(),
            runtime: Handle::current(),
        }
    }
}
