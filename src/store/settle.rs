//! Adding pending revocations and settling them (R12).

use std::rc::Rc;

use crate::domain::timestamp::Timestamp;
use crate::store::budget::pending_size;
use crate::store::revocations::{Owner, PendingKey, Settled};
use crate::store::state::Store;

impl Store {
    /// Adds the revocation of a token that was issued for a create or a renewal that failed.
    /// Returns `None` for a handle that is in use, because revoking it would invalidate the token
    /// of another session.
    pub fn discard(&mut self, handle: Rc<str>, token_expires_at: Timestamp) -> Option<PendingKey> {
        if self.sessions.has_handle(&handle) {
            return None;
        }
        self.sessions.add_handle(&handle);
        let pending = self.add_pending(Owner::Discarded(None), handle, token_expires_at);
        self.record_revocation(pending);
        Some(pending)
    }

    /// Returns the handle of a revocation, if it is still pending.
    #[must_use]
    pub fn pending_handle(&self, key: &PendingKey) -> Option<Rc<str>> {
        self.pending.handle(key)
    }

    /// Settles a revocation that the guard has confirmed. Returns whether it was still pending.
    pub fn settle(&mut self, key: &PendingKey) -> bool {
        let settled = self.pending.settle(key);
        settled.is_some_and(|settled| self.remove_settled(&settled))
    }

    /// Drops a revocation whose token has expired. Returns whether there was one.
    pub fn drop_expired_revocation(&mut self, now: Timestamp) -> bool {
        let expired = self.pending.pop_expired(now);
        expired.is_some_and(|settled| self.remove_settled(&settled))
    }

    /// Returns the next revocations for a flush, at most `max`.
    #[must_use]
    pub fn next_revocations(&self, max: usize) -> Vec<PendingKey> {
        self.pending.next_batch(max)
    }

    /// Sets the revocation after which the next flush begins.
    pub fn set_last_flushed(&mut self, key: PendingKey) {
        self.pending.set_last_flushed(key);
    }

    /// Adds a revocation. The caller has added its handle to the table of sessions.
    pub(super) fn add_pending(
        &mut self,
        owner: Owner,
        handle: Rc<str>,
        token_expires_at: Timestamp,
    ) -> PendingKey {
        self.budget.add(pending_size(&handle));
        self.pending.add(owner, handle, token_expires_at)
    }

    /// Drops the revocations of a record that a newer one replaces.
    pub(super) fn drop_unconfirmed(&mut self, unconfirmed: &[PendingKey]) {
        for key in unconfirmed {
            if let Some(settled) = self.pending.settle(key) {
                self.sessions.remove_handle(&settled.handle);
                self.budget.release(pending_size(&settled.handle));
            }
        }
    }

    fn remove_settled(&mut self, settled: &Settled) -> bool {
        self.sessions.remove_handle(&settled.handle);
        self.budget.release(pending_size(&settled.handle));
        self.record_settled(settled);
        true
    }
}
