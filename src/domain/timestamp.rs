//! Points in time, with arithmetic that saturates (R3).

use std::fmt;

use chrono::DateTime;

/// A point in time: whole milliseconds since 1970-01-01T00:00:00Z, up to the end of the year 9999,
/// the last year that RFC 3339 can express. Arithmetic saturates at that end (R3).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// 2020-01-01T00:00:00Z. A clock with an earlier reading has not been set.
    pub const EARLIEST: Self = Self(1_577_836_800_000);

    /// Returns the time at this many milliseconds since 1970, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis).min(Self::MAX)
    }

    /// Returns the time of a clock's reading, or `None` if it is not a time from 1970 to 9999.
    #[must_use]
    pub fn from_unix(seconds: i64, nanoseconds: u32) -> Option<Self> {
        if nanoseconds >= 1_000_000_000 {
            return None;
        }
        let millis = u64::try_from(seconds).ok()?.checked_mul(1_000)?;
        let timestamp = Self(millis.checked_add(u64::from(nanoseconds / 1_000_000))?);
        (timestamp <= Self::MAX).then_some(timestamp)
    }

    /// Returns the milliseconds since 1970.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the time this many seconds later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn after_seconds(self, seconds: u64) -> Self {
        Self::from_millis(self.0.saturating_add(seconds.saturating_mul(1_000)))
    }
}

impl From<u64> for Timestamp {
    fn from(millis: u64) -> Self {
        Self::from_millis(millis)
    }
}

impl From<Timestamp> for u64 {
    /// Returns the milliseconds since 1970.
    fn from(time: Timestamp) -> Self {
        time.0
    }
}

impl fmt::Debug for Timestamp {
    /// Writes the time in the form of RFC 3339.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0)
            .ok()
            .and_then(DateTime::from_timestamp_millis)
        {
            Some(time) => write!(f, "{time:?}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}
