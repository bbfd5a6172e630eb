//! Measures how long an instance computes without progress.

use std::time::{Duration, Instant};

/// Measures for how long a progress number has not changed.
#[derive(Debug, Default)]
pub(crate) struct StallTimer {
    /// The last number that was seen, and when it was first seen.
    seen: Option<(u64, Instant)>,
}

impl StallTimer {
    /// Returns for how long the progress number has not changed since it was first seen.
    pub(crate) fn stalled_for(&mut self, progress: u64) -> Duration {
        match self.seen {
            Some((seen, since)) if seen == progress => since.elapsed(),
            _ => {
                self.seen = Some((progress, Instant::now()));
                Duration::ZERO
            }
        }
    }
}
