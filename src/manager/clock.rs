//! The checks and the way out for a host's clock that is behind the time inside (R6).

use super::SessionManager;
use crate::domain::error::Error;
use crate::domain::session::RevokeFilter;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;
use crate::store::plan::SessionVersion;

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Returns an error while the lag is above the tolerance, so that no time is granted.
    pub(super) fn check_lag(&self) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_lag(self.clock.reading(), self.clock.latest())
    }

    /// Returns an error if the host's clock does not confirm that the grace of a rotation has not
    /// ended.
    pub(super) fn check_grace(&self, expected: SessionVersion) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_grace(expected, self.clock.reading(), self.clock.latest())
    }

    /// Returns an error if the session's expiry was granted by a clock that was ahead.
    pub(super) fn check_end(&self, expected: SessionVersion) -> Result<(), Error> {
        let store = self.store.borrow();
        store.check_end(expected, self.clock.reading(), self.clock.latest())
    }

    /// Ends all sessions and sets the time inside to the host's reading, which is earlier. Returns
    /// how many live sessions this call ended. If more than 10,000 were left, the time inside stays
    /// and the call is to be repeated (R20).
    ///
    /// # Errors
    /// [`Error::ClockNotBehind`] if the lag is within the tolerance (nothing has changed).
    pub async fn accept_clock(&self) -> Result<usize, Error> {
        let now = self.begin_operation();
        if self.check_lag().is_ok() {
            return Err(Error::ClockNotBehind);
        }
        let everything = RevokeFilter::Everything;
        let ended = self.store.borrow_mut().revoke_all(everything, now);
        if self.store.borrow().is_empty() {
            let accepted = self.clock.accept();
            self.store.borrow_mut().accept_clock(now, accepted);
        }
        self.revoke_with_guard(ended.revocations).await;
        Ok(ended.live)
    }
}
