//! Measures how long an instance computes without progress.

use std::time::{Duration, Instant};

/// Measures for how long a progress number has not changed.
#[derive(Debug, Default)]
pub(crate) struct StallTimer {
    /// The last number that was seen, and when it was first seen.
    seen: Option<(u64, Instant)>,
}

impl StallTimer {
    /// Returns whether the progress number has not changed for this time since it was first seen.
    /// The number 0 does not count: the instance is being started.
    pub(crate) fn is_stalled(&mut self, progress: u64, time: Duration) -> bool {
        let stalled = match self.seen {
            Some((seen, since)) if seen == progress => since.elapsed(),
            _ => {
                self.seen = Some((progress, Instant::now()));
                Duration::ZERO
            }
        };
        progress > 0 && stalled >= time
    }
}
