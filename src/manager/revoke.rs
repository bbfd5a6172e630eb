//! Ending sessions: one with its descendants, all of a kill switch, or those that have expired.

use super::SessionManager;
use crate::domain::error::Error;
use crate::domain::event::EndReason;
use crate::domain::id::SessionId;
use crate::domain::session::{Revocation, RevokeFilter};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;
use crate::store::MAX_REVOCATIONS;

/// The maximum number of sessions that one `prune_expired` ends (R20).
const MAX_PRUNE: u32 = 10_000;

/// The result of a flush of revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushReport {
    /// Revocations that the flush settled: the guard confirmed, or the token has expired.
    pub settled: usize,
    /// Revocations that the guard has still not confirmed.
    pub pending: usize,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Ends a session and all below it, then has the guard revoke their tokens.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] if it is unknown or has ended.
    pub async fn revoke(&self, id: SessionId) -> Result<Revocation, Error> {
        let now = self.begin_operation();
        self.revoke_session(id, now).await
    }

    /// Ends the session with this current token and all below it, then has the guard revoke their
    /// tokens (R35).
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for any other token. It ends nothing, unless the session of the
    /// token has expired.
    pub async fn revoke_by_token(&self, token: Token) -> Result<Revocation, Error> {
        let now = self.begin_operation();
        let current = self.find_current(&token, now).ok();
        let id = current.and_then(|current| self.store.borrow().id_of(current));
        // The bearer of a token that is not current gets no other information about its session.
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
        // The first revocation is that of the session's own token, unless that token has expired.
        let own_error = error.filter(|_| has_own);
        Ok(Revocation {
            session_id: id,
            guard: own_error.map_or(Ok(()), Err),
            descendants,
        })
    }

    /// Ends all sessions that the filter names, then has the guard revoke their tokens. Returns how
    /// many live sessions this call ended: at most 10,000, and the descendants of the last one
    /// (R20). No call accepts the others either; [`prune_expired`](Self::prune_expired) ends them.
    pub async fn revoke_all(&self, filter: RevokeFilter) -> usize {
        let now = self.begin_operation();
        let cleared = match filter {
            RevokeFilter::Root(id) => self.store.borrow_mut().revoke_root(id, now),
            filter => self.store.borrow_mut().revoke_all(filter, now),
        };
        self.revoke_with_guard(cleared.revocations).await;
        cleared.live
    }

    /// Asks the guard again for revocations that it has not confirmed, at most 1,000.
    pub async fn flush_guard_revocations(&self) -> FlushReport {
        self.flush(None).await
    }

    /// Asks the guard again for revocations that it has not confirmed, at most 1,000, but only for
    /// those that are recorded in the changes up to the sequence number `stored`.
    ///
    /// A host passes the [`next`](crate::ChangePage::next) of the last page of
    /// [`changes`](Self::changes) that it has stored. So the guard revokes no token that a restore
    /// would make current again. A revocation whose record has changed after `stored` is skipped
    /// and stays pending.
    ///
    /// # Errors
    /// [`Error::NoStateKey`] if no key is configured.
    pub async fn flush_stored_revocations(&self, stored: u64) -> Result<FlushReport, Error> {
        if self.store.borrow().limits().state_keys.is_none() {
            return Err(Error::NoStateKey);
        }
        Ok(self.flush(Some(stored)).await)
    }

    async fn flush(&self, stored: Option<u64>) -> FlushReport {
        let now = self.begin_operation();
        let drop_expired = |_: &usize| self.store.borrow_mut().drop_expired_revocation(now);
        let expired = (0..MAX_REVOCATIONS).take_while(drop_expired).count();
        let confirmed = self.flush_revocations(stored).await;
        FlushReport {
            settled: expired.saturating_add(confirmed),
            pending: self.store.borrow().pending(),
        }
    }

    /// Ends a session and all below it without asking the guard. Their revocations stay pending.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] if it is unknown or has ended.
    pub fn invalidate(&self, id: SessionId) -> Result<(), Error> {
        let now = self.begin_operation();
        self.store
            .borrow_mut()
            .revoke(id, EndReason::Invalidated, now)?;
        Ok(())
    }

    /// Ends expired sessions, and sessions that a kill switch has revoked, until it has ended
    /// `limit` or none is left: 10,000 at most and by default. Returns how many it ended. The
    /// descendants of the last one are counted and can exceed the limit.
    pub fn prune_expired(&self, limit: Option<u32>) -> u32 {
        let now = self.begin_operation();
        let max = limit.unwrap_or(MAX_PRUNE).min(MAX_PRUNE);
        let mut store = self.store.borrow_mut();
        let revoked = store.clear_revoked(max as usize, now);
        let revoked = u32::try_from(revoked).unwrap_or(u32::MAX);
        let expired = store.prune(max.saturating_sub(revoked), super::MAX_SCANNED, now);
        revoked.saturating_add(expired)
    }
}
