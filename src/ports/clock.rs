//! Time: the port to the host's clock, which can fail or go back, and the time inside, which
//! cannot.

use std::cell::Cell;

use crate::domain::timestamp::Timestamp;

/// The host's clock.
pub trait Clock {
    /// Returns the reading, or `None` if the clock fails. A reading may be earlier than the one
    /// before it.
    fn now(&self) -> Option<Timestamp>;
}

/// The component's time (the *time inside* of the contract): the latest reading of the host's
/// clock. It never goes back, except in [`MonotonicClock::accept`] (R6).
///
/// A reading that fails or is before 2020 changes nothing. If a reading is before the time inside,
/// the difference is the *lag*, and the time inside stands still until the host's clock has caught
/// up.
#[derive(Debug)]
pub struct MonotonicClock<C> {
    host: C,
    latest: Cell<Timestamp>,
    /// The last usable reading; `None` before the first one, and after a restore.
    reading: Cell<Option<Timestamp>>,
    /// Whether a reading has failed or lagged since the last [`MonotonicClock::take_error`].
    erred: Cell<bool>,
    /// Whether records were restored and the clock has not been read since.
    restoring: Cell<bool>,
}

impl<C: Clock> MonotonicClock<C> {
    /// Returns a clock that reads the host's clock.
    pub fn new(host: C) -> Self {
        Self {
            host,
            latest: Cell::default(),
            reading: Cell::default(),
            erred: Cell::default(),
            restoring: Cell::default(),
        }
    }

    /// Reads the host's clock and returns the time inside.
    pub fn now(&self) -> Timestamp {
        self.restoring.set(false);
        let usable = self.host.now().filter(|it| *it >= Timestamp::EARLIEST);
        if let Some(reading) = usable {
            self.reading.set(Some(reading));
            self.latest.set(self.latest.get().max(reading));
        }
        if usable.is_none() || self.lag() > 0 {
            self.erred.set(true);
        }
        self.latest.get()
    }

    /// Returns the time inside. It reads the host's clock, except during a restore, in which no
    /// reading is compared.
    pub fn now_unless_restoring(&self) -> Timestamp {
        if self.restoring.get() {
            self.latest.get()
        } else {
            self.now()
        }
    }

    /// Returns the time inside without reading the host's clock.
    pub fn latest(&self) -> Timestamp {
        self.latest.get()
    }

    /// Returns the last usable reading of the host's clock, or the time inside without such a
    /// reading.
    pub fn reading(&self) -> Timestamp {
        self.reading.get().unwrap_or(self.latest.get())
    }

    /// Returns the lag: how far the last reading is before the time inside, in milliseconds.
    pub fn lag(&self) -> u64 {
        let (latest, reading) = (self.latest.get(), self.reading());
        latest.as_millis().saturating_sub(reading.as_millis())
    }

    /// Returns whether a reading has failed or lagged since the last call of this method. If so,
    /// more time may have passed than the time inside shows.
    pub fn take_error(&self) -> bool {
        self.erred.take()
    }

    /// Sets the time inside to that of restored records. It is called before any operation.
    pub fn restore(&self, time: Timestamp) {
        self.latest.set(time);
        self.reading.set(None);
        self.restoring.set(true);
    }

    /// Sets the time inside to the last reading of the host's clock and returns it. All sessions
    /// that were granted before must have ended.
    pub fn accept(&self) -> Timestamp {
        self.latest.set(self.reading());
        self.erred.set(false);
        self.latest.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reading of the host's clock, in seconds after 2020; `None` while it fails.
    type Reading = Cell<Option<u64>>;

    impl Clock for &Reading {
        fn now(&self) -> Option<Timestamp> {
            self.get().map(at)
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EARLIEST.after_seconds(seconds)
    }

    #[test]
    fn r6_the_time_inside_is_the_latest_reading_and_the_lag_is_the_distance_to_the_last() {
        let host = Reading::default();
        let clock = MonotonicClock::new(&host);
        for (reading, time, lag, has_erred) in [
            (Some(10), 10, 0, false),
            (Some(10), 10, 0, false),
            (Some(7), 10, 3_000, true),
            (None, 10, 3_000, true),
            (Some(10), 10, 0, false),
            (None, 10, 0, true),
            (Some(12), 12, 0, false),
        ] {
            host.set(reading);
            assert_eq!(
                (clock.now(), clock.latest()),
                (at(time), at(time)),
                "{reading:?}"
            );
            assert_eq!(clock.lag(), lag, "{reading:?}");
            assert_eq!(clock.take_error(), has_erred, "{reading:?}");
            assert!(!clock.take_error(), "{reading:?}");
        }
    }

    #[test]
    fn r6_the_time_inside_goes_back_only_when_the_reading_is_accepted() {
        let host = Reading::new(Some(10));
        let clock = MonotonicClock::new(&host);
        clock.now();
        host.set(Some(4));
        assert_eq!((clock.now(), clock.reading()), (at(10), at(4)));
        assert_eq!(clock.accept(), at(4));
        assert_eq!(
            (clock.latest(), clock.lag(), clock.take_error()),
            (at(4), 0, false)
        );
    }

    #[test]
    fn r6_during_a_restore_no_reading_is_compared() {
        let host = Reading::new(Some(4));
        let clock = MonotonicClock::new(&host);
        clock.now();
        clock.restore(at(10));
        assert_eq!((clock.now_unless_restoring(), clock.lag()), (at(10), 0));
        assert_eq!((clock.now(), clock.lag()), (at(10), 6_000));
        assert_eq!(clock.now_unless_restoring(), at(10));
    }
}
