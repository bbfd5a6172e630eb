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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r3_a_reading_is_a_time_from_1970_to_9999_or_none() {
        let readings = [
            ((0, 0), Some(0)),
            ((0, 999_999), Some(0)),
            ((7, 1_000_000), Some(7_001)),
            ((7, 999_999_999), Some(7_999)),
            ((7, 1_000_000_000), None),
            ((7, u32::MAX), None),
            ((-1, 0), None),
            ((i64::MIN, 0), None),
            ((253_402_300_799, 999_999_999), Some(253_402_300_799_999)),
            ((253_402_300_800, 0), None),
            ((i64::MAX, 999_999_999), None),
        ];
        for ((seconds, nanoseconds), millis) in readings {
            let time = Timestamp::from_unix(seconds, nanoseconds);
            assert_eq!(
                time.map(Timestamp::as_millis),
                millis,
                "{seconds} {nanoseconds}"
            );
        }
    }

    #[test]
    fn r3_times_saturate_at_the_end_of_the_year_9999() {
        assert_eq!(Timestamp::from_millis(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::default().after_seconds(u64::MAX), Timestamp::MAX);
        assert_eq!(
            Timestamp::from_millis(5).after_seconds(2).as_millis(),
            2_005
        );
    }

    #[test]
    fn a_time_is_written_in_the_form_of_rfc_3339() {
        assert_eq!(format!("{:?}", Timestamp::EARLIEST), "2020-01-01T00:00:00Z");
        assert_eq!(format!("{:?}", Timestamp::MAX), "9999-12-31T23:59:59.999Z");
    }
}
