//! The metrics of a durable host.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The metrics of a durable host since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMetrics {
    /// The number of instances that trapped, ran out of memory, were interrupted or were stopped,
    /// and were replaced.
    pub restarts: u64,
    /// How often the tenant was lost to another host.
    pub losses: u64,
    /// The number of successful upgrades.
    pub upgrades: u64,
    /// The number of appends to the journal. Calls that overlap share an append.
    pub appends: u64,
    /// The number of changes that were appended.
    pub changes: u64,
    /// The duration of the last recovery, from the take-over of the tenant to serving. `None`
    /// before the first recovery.
    pub last_recovery: Option<Duration>,
}

/// The counters of the metrics.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub restarts: AtomicU64,
    pub losses: AtomicU64,
    pub upgrades: AtomicU64,
    appends: AtomicU64,
    changes: AtomicU64,
    /// In nanoseconds; 0 before the first recovery.
    last_recovery: AtomicU64,
}

impl Counters {
    pub fn count_append(&self, changes: usize) {
        increment(&self.appends);
        self.changes.fetch_add(
            u64::try_from(changes).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub fn record_recovery(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last_recovery
            .store(nanoseconds.max(1), Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> HostMetrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HostMetrics {
            restarts: of(&self.restarts),
            losses: of(&self.losses),
            upgrades: of(&self.upgrades),
            appends: of(&self.appends),
            changes: of(&self.changes),
            last_recovery: Some(of(&self.last_recovery))
                .filter(|nanoseconds| *nanoseconds > 0)
                .map(Duration::from_nanos),
        }
    }
}

pub(super) fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
