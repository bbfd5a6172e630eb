//! Returning the records of the state to the host, and restoring them (R23).

use super::{MAX_ROWS, SessionManager};
use crate::domain::config::within;
use crate::domain::error::Error;
use crate::domain::event::Run;
use crate::persistence::record::{Change, ChangePage};
use crate::ports::clock::Clock;
use crate::ports::entropy::{Entropy, random};
use crate::ports::guard::Guard;

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Returns the records that changed after `since`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `limit` is not 1 to 1,000, [`Error::NoStateKey`] if no key is
    /// configured.
    pub fn changes(&self, since: u64, limit: u32) -> Result<ChangePage, Error> {
        let limit = within("limit", limit, 1..=MAX_ROWS)? as usize;
        let now = self.clock.now_unless_restoring();
        let is_behind = self.clock.lag() > 0;
        let mut store = self.store.borrow_mut();
        store.changes(since, limit, now, is_behind)
    }

    /// Restores records: all or none of them. It must be called before the first operation on
    /// sessions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 1,000 records, [`Error::NoStateKey`] if no key is
    /// configured, [`Error::AlreadyStarted`] after an operation on sessions, or after
    /// [`changes`](Self::changes) has written restored records again,
    /// [`Error::RefusedRecord`] for the first record that cannot be restored,
    /// [`Error::LimitReached`] if the records need more than 3 GiB, [`Error::EntropyUnavailable`].
    pub fn restore(&self, changes: &[Change]) -> Result<(), Error> {
        if changes.len() > MAX_ROWS as usize {
            let given = changes.len();
            return Err(Error::invalid(
                "changes",
                format!("must be at most {MAX_ROWS}, not {given}"),
            ));
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

    /// Closes the run of events, so that the next instance continues it: the number of the last
    /// event is recorded. The next event of this instance begins another run.
    ///
    /// # Errors
    /// [`Error::NoStateKey`] if no key is configured, [`Error::EntropyUnavailable`].
    pub fn close_event_run(&self) -> Result<(), Error> {
        let next = Run::from_random(random(&self.entropy)?);
        self.store.borrow_mut().close_event_run(next)
    }
}
