//! A host's clock that is behind the time inside (R6).

use super::SessionManager;
use crate::domain::error::Error;
use crate::domain::session::RevokeFilter;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;
use crate::store::Cleared;
use crate::store::plan::SessionVersion;

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Refuses to grant time while the lag is above the tolerance.
    pub(super) fn check_lag(&self) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_lag(self.clock.reading(), self.clock.latest())
    }

    /// Refuses to repeat a rotation whose time is from a clock that was ahead.
    pub(super) fn check_grace(&self, expected: SessionVersion) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_grace(expected, self.clock.reading(), self.clock.latest())
    }

    /// Refuses a session whose end is from a clock that was ahead.
    pub(super) fn check_end(&self, expected: SessionVersion) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_end(expected, self.clock.reading(), self.clock.latest())
    }

    /// Ends all sessions and sets the time inside to the host's, which is before it. Returns how
    /// many live sessions it ended.
    ///
    /// # Errors
    /// [`Error::ClockNotBehind`] when the lag is within the tolerance; nothing has changed then.
    pub async fn accept_clock(&self) -> Result<usize, Error> {
        self.begin_operation();
        if self.check_lag().is_ok() {
            return Err(Error::ClockNotBehind);
        }
        let mut ended = Cleared::default();
        loop {
            ended.merge(self.end_all(RevokeFilter::Everything).await);
            let before = self.clock.now();
            // While other calls ran, the host's clock may have caught up, and they may have created
            // sessions.
            if self.check_lag().is_ok() {
                break;
            }
            let mut store = self.store.borrow_mut();
            if store.is_empty() {
                store.accept_clock(before, self.clock.accept());
                break;
            }
        }
        self.revoke_with_guard(ended.revocations).await;
        Ok(ended.live)
    }
}
