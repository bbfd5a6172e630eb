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
