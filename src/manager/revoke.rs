//! Ending sessions: one with its descendants, or all that a kill switch is for.

use super::SessionManager;
use super::in_flight::KillSwitch;
use super::waiting::yield_now;
use crate::domain::error::Error;
use crate::domain::event::EndReason;
use crate::domain::id::SessionId;
use crate::domain::session::{Revocation, RevokeFilter};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;
use crate::store::{Cleared, MAX_REVOCATIONS};

/// How many sessions one `prune_expired` ends at most (R20).
const MAX_PRUNE: u32 = 10_000;

/// What a flush of revocations achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushReport {
    /// Revocations that were settled: confirmed by the guard, or their tokens have expired.
    pub settled: usize,
    /// Revocations that the guard has still not confirmed.
    pub pending: usize,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Ends a session and all below it, then has the guard revoke their tokens.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`].
    pub async fn revoke(&self, id: SessionId) -> Result<Revocation, Error> {
        let now = self.begin_operation();
        self.revoke_session(id, now).await
    }

    /// Ends the session whose current token this is, and all below it, then has the guard revoke
    /// their tokens (R35).
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for every other token; nothing ends for it, unless its session has
    /// expired.
    pub async fn revoke_by_token(&self, token: Token) -> Result<Revocation, Error> {
        let now = self.begin_operation();
        let current = self.find_current(&token, now).ok();
        let id = current.and_then(|current| self.store.borrow().id_of(current));
        // The bearer of a token that is not current learns no more of its session.
        let id = id.ok_or(Error::InvalidToken)?;
        self.revoke_session(id, now).await
    }

    async fn revoke_session(&self, id: SessionId, now: Timestamp) -> Result<Revocation, Error> {
        let ended = self
            .store
            .borrow_mut()
            .revoke(id, EndReason::Revoked, now)?;
        let descendants = ended.live.saturating_sub(1);
        let has_own = ended.own.is_some();
        let error = self.revoke_with_guard(ended.revocations().collect()).await;
        // The session's own token comes first, unless it has expired by itself.
        let own_error = error.filter(|_| has_own);
        Ok(Revocation {
            session_id: id,
            guard: own_error.map_or(Ok(()), Err),
            descendants,
        })
    }

    /// Ends all sessions that the filter names, then has the guard revoke their tokens. Returns how
    /// many were live.
    pub async fn revoke_all(&self, filter: RevokeFilter) -> usize {
        let cleared = match filter {
            RevokeFilter::Root(id) => {
                let now = self.begin_operation();
                self.store.borrow_mut().revoke_root(id, now)
            }
            filter => self.end_all(filter).await,
        };
        self.revoke_with_guard(cleared.revocations).await;
        cleared.live
    }

    /// Ends all sessions that the filter names, a part at a time.
    pub(super) async fn end_all(&self, filter: RevokeFilter) -> Cleared {
        let mut now = self.begin_operation();
        let mut switch = KillSwitch::begin(&self.store, filter, now);
        loop {
            if let Some(cleared) = switch.step(now) {
                return cleared;
            }
            yield_now().await;
            now = self.clock.now();
        }
    }

    /// Asks the guard again for revocations that it has not confirmed.
    pub async fn flush_guard_revocations(&self) -> FlushReport {
        let now = self.begin_operation();
        let drop_expired = |_: &usize| self.store.borrow_mut().drop_expired_revocation(now);
        let expired = (0..MAX_REVOCATIONS).take_while(drop_expired).count();
        let confirmed = self.flush_revocations().await;
        FlushReport {
            settled: expired.saturating_add(confirmed),
            pending: self.store.borrow().pending(),
        }
    }

    /// Ends a session and all below it without asking the guard. The revocations stay pending.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`].
    pub fn invalidate(&self, id: SessionId) -> Result<(), Error> {
        let now = self.begin_operation();
        self.store
            .borrow_mut()
            .revoke(id, EndReason::Invalidated, now)?;
        Ok(())
    }

    /// Ends expired sessions, at most `limit` and at most 10,000. Returns how many it ended.
    pub fn prune_expired(&self, limit: Option<u32>) -> u32 {
        let now = self.begin_operation();
        let max = limit.unwrap_or(MAX_PRUNE).min(MAX_PRUNE);
        let mut store = self.store.borrow_mut();
        store.clear_restored_revoked(now);
        store.prune(max, super::MAX_SCANNED, now)
    }
}
