//! Time: a port that may misbehave, and a clock inside that does not.

use std::cell::Cell;

use crate::domain::timestamp::Timestamp;

/// The port: the host's clock.
pub trait Clock {
    /// Returns what it shows, or nothing where it fails. It may be set back.
    fn now(&self) -> Option<Timestamp>;
}

/// The time inside: the latest reading of the host's clock. It never goes back (R6), but for
/// [`MonotonicClock::accept`].
///
/// A reading that fails or is before 2020 changes nothing. A reading before the time inside is a
/// *lag*: the time stands still until the host's clock has caught up.
#[derive(Debug)]
pub struct MonotonicClock<C> {
    host: C,
    latest: Cell<Timestamp>,
    /// The last usable reading; none until there is one, and none after a restore.
    reading: Cell<Option<Timestamp>>,
    /// A reading has failed or lagged since [`MonotonicClock::take_error`] was called last.
    erred: Cell<bool>,
    /// Records were restored and nothing has read the clock since.
    restoring: Cell<bool>,
}

impl<C: Clock> MonotonicClock<C> {
    /// A clock over the host's.
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

    /// Returns the time inside; reads the host's clock only outside a restore, in which no reading
    /// is compared.
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

    /// Returns the last usable reading of the host's clock, or the time inside where there is none.
    pub fn reading(&self) -> Timestamp {
        self.reading.get().unwrap_or(self.latest.get())
    }

    /// Returns how far the last reading is before the time inside, in milliseconds.
    pub fn lag(&self) -> u64 {
        let (latest, reading) = (self.latest.get(), self.reading());
        latest.as_millis().saturating_sub(reading.as_millis())
    }

    /// Whether a reading has failed, or was before the time inside, since the last call: then more
    /// time may have passed than the time inside shows.
    pub fn take_error(&self) -> bool {
        self.erred.take()
    }

    /// Sets the time inside to that of restored records, before any operation.
    pub fn restore(&self, time: Timestamp) {
        self.latest.set(time);
        self.reading.set(None);
        self.restoring.set(true);
    }

    /// Sets the time inside to the last reading of the host's clock and returns it. Whatever was
    /// granted by the time before must have ended.
    pub fn accept(&self) -> Timestamp {
        self.latest.set(self.reading());
        self.erred.set(false);
        self.latest.get()
    }
}
