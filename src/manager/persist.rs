//! The records of the state: giving them to a host to keep, and restoring them (R23).

use super::{MAX_ROWS, SessionManager};
use crate::domain::config::within;
use crate::domain::error::Error;
use crate::domain::event::Run;
use crate::persistence::record::{Change, ChangePage};
use crate::ports::clock::Clock;
use crate::ports::entropy::{Entropy, random};
use crate::ports::guard::Guard;

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Records that changed after `since`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a `limit` outside 1-1,000, [`Error::NoStateKey`].
    pub fn changes(&self, since: u64, limit: u32) -> Result<ChangePage, Error> {
        let limit = within("limit", limit, 1..=MAX_ROWS)? as usize;
        let now = self.clock.now_unless_restoring();
        let is_behind = self.clock.lag() > 0;
        let mut store = self.store.borrow_mut();
        store.changes(since, limit, now, is_behind)
    }

    /// Takes records back, before the first operation on sessions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 1,000 records, [`Error::NoStateKey`],
    /// [`Error::AlreadyStarted`], [`Error::RefusedRecord`], [`Error::LimitReached`],
    /// [`Error::EntropyUnavailable`].
    pub fn restore(&self, changes: &[Change]) -> Result<(), Error> {
        if changes.len() > MAX_ROWS as usize {
            return Err(Error::invalid("changes", "must be at most 1000"));
        }
        if self.started.get() {
            return Err(Error::AlreadyStarted);
        }
        self.seed()?;
        let (time, key) = self.store.borrow_mut().restore(changes)?;
        self.clock.restore(time);
        if let Some(key) = key {
            self.key.get_or_init(|| key);
        }
        Ok(())
    }

    /// Closes the run of events, so that the next instance continues it: the record has the number
    /// of the last event. The next event of this instance begins another run.
    ///
    /// # Errors
    /// [`Error::NoStateKey`], [`Error::EntropyUnavailable`].
    pub fn close_event_run(&self) -> Result<(), Error> {
        let next = Run::from_random(random(&self.entropy)?);
        self.store.borrow_mut().close_event_run(next)
    }
}
