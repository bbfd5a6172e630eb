//! The clock of the component.

use std::time::{Duration, SystemTime};

pub use crate::bindings::wasi::clocks::system_clock::Instant;

/// The source of the time for the component, and for a guard that must agree with it.
///
/// ```
/// use clawdb_session_host::{Clock, Instant};
///
/// /// A clock that stands still, for a test.
/// struct StoppedClock;
///
/// impl Clock for StoppedClock {
///     fn now(&self) -> Instant {
///         Instant { seconds: 1_893_456_000, nanoseconds: 500_000_000 }
///     }
/// }
///
/// assert_eq!(StoppedClock.now_millis(), 1_893_456_000_500);
/// ```
///
/// # Wrong clocks
///
/// The clock may jump forwards and backwards (R6). The component's time (the *time inside* of the
/// contract) is the latest reading, so a clock that goes back extends no session. While the clock
/// lags by more than `clock-tolerance`, calls that set or extend an expiry are refused. The
/// component ignores a reading before 2020 and counts it as failed.
/// [`SessionHost::accept_clock`](crate::SessionHost::accept_clock) corrects the component's time
/// after a clock was ahead.
pub trait Clock: Send + Sync + 'static {
    /// Returns the time since 1970-01-01T00:00:00Z. It must not block.
    fn now(&self) -> Instant;

    /// Returns the time in whole milliseconds since 1970, the unit of the guard's times. A time
    /// before 1970 is 0.
    fn now_millis(&self) -> u64 {
        let now = self.now();
        let millis = i128::from(now.seconds) * 1_000 + i128::from(now.nanoseconds / 1_000_000);
        u64::try_from(millis.max(0)).unwrap_or(u64::MAX)
    }
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        // The component counts a time before 1970 as a failed reading.
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
