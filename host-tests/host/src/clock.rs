//! The clock that the component sees.

use std::time::{Duration, SystemTime};

pub use crate::bindings::wasi::clocks::system_clock::Instant;

/// The time for the component, and for guards that want to agree with it.
pub trait Clock: Send + Sync + 'static {
    /// The time since 1970-01-01T00:00:00Z. It may jump; the component copes.
    fn now(&self) -> Instant;

    /// The same in whole milliseconds, as the guard's times are; 0 for a time before 1970.
    fn now_millis(&self) -> u64 {
        let now = self.now();
        let millis = i128::from(now.seconds) * 1_000 + i128::from(now.nanoseconds / 1_000_000);
        u64::try_from(millis.max(0)).unwrap_or(u64::MAX)
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        // A machine whose clock stands before 1970 has no time to offer; the component takes that
        // as a failed reading.
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(
                Instant {
                    seconds: -1,
                    nanoseconds: 0,
                },
                instant,
            )
    }
}

fn instant(since_1970: Duration) -> Instant {
    Instant {
        seconds: i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: since_1970.subsec_nanos(),
    }
}
