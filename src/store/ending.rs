//! Ending sessions, and what the guard has not confirmed of it.

use std::hash::BuildHasher;
use std::rc::Rc;

use super::{Entry, Fate, Store, pending_size};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{EndReason, EventKind};
use crate::id::{AgentId, SessionId};
use crate::revocations::PendingKey;

impl Store {
    /// Ends a live session. Gives the guard's part, which is pending from here on.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when it is unknown or its time is over; nothing changes then
    /// (R15).
    pub fn revoke(
        &mut self,
        id: SessionId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<PendingKey, Error> {
        let slot = self.slot_of(id)?;
        match self.sessions.get(slot) {
            Some(entry) if !entry.session.is_due(now) => {}
            _ => return Err(Error::SessionNotFound),
        }
        let ended = self.end(slot, reason, now).ok_or(Error::SessionNotFound)?;
        Ok(self.add_pending(ended.handle, ended.token_expires_at))
    }

    /// Ends all sessions of an agent and dooms its creates that wait for the guard (R13). Gives the
    /// guard's part of each live session that it ended.
    pub fn revoke_all(&mut self, agent_id: AgentId, now: Timestamp) -> Vec<PendingKey> {
        let sessions = self.agents.cut_off(agent_id);
        let mut revoked = Vec::with_capacity(sessions.len());
        for (_, slot) in sessions {
            let due = self
                .sessions
                .get(slot)
                .is_some_and(|entry| entry.session.is_due(now));
            if due {
                self.lapse(slot, now);
            } else if let Some(ended) = self.end(slot, EndReason::RevokedAll, now) {
                revoked.push(self.add_pending(ended.handle, ended.token_expires_at));
            }
        }
        revoked
    }

    /// Ends at most `max` sessions whose time is over, and tells how many.
    pub fn prune(&mut self, max: u32, now: Timestamp) -> u32 {
        let mut pruned: u32 = 0;
        while pruned < max && self.lapse_first(now) {
            pruned = pruned.saturating_add(1);
        }
        // Revocations that time has settled go with them.
        for _ in 0..max {
            if !self.drop_expired_revocation(now) {
                break;
            }
        }
        pruned
    }

    /// Keeps the revocation of a token that was issued in vain. Nothing for a handle that is in
    /// use: to revoke it would end a session that has done nothing.
    pub fn discard(&mut self, handle: Rc<str>, token_expires_at: Timestamp) -> Option<PendingKey> {
        let key = self.seed.hash_one(&handle);
        if self.handles.contains(key) {
            return None;
        }
        self.handles.insert(key, ());
        Some(self.add_pending(handle, token_expires_at))
    }

    /// The handle to revoke, while that is pending.
    #[must_use]
    pub fn pending_handle(&self, key: &PendingKey) -> Option<Rc<str>> {
        self.pending.get(key)
    }

    /// The guard has confirmed a revocation; tells whether it was pending until now.
    pub fn settle(&mut self, key: &PendingKey) -> bool {
        let Some(handle) = self.pending.settle(key) else {
            return false;
        };
        self.forget_pending(&handle);
        true
    }

    /// Forgets one revocation whose token's time is over; tells whether there was one.
    pub fn drop_expired_revocation(&mut self, now: Timestamp) -> bool {
        let Some(handle) = self.pending.pop_expired(now) else {
            return false;
        };
        self.forget_pending(&handle);
        true
    }

    /// The next revocations to try.
    #[must_use]
    pub fn next_revocations(&self, max: usize) -> Vec<PendingKey> {
        self.pending.next_batch(max)
    }

    /// The guard is being asked for a revocation.
    pub fn note_asked(&mut self, key: PendingKey) {
        self.pending.note_asked(key);
    }

    pub(super) fn lapse_first(&mut self, now: Timestamp) -> bool {
        match self.expiry.first() {
            Some((at, slot)) if *at <= now => {
                let slot = *slot;
                self.lapse(slot, now);
                true
            }
            _ => false,
        }
    }

    /// Ends a session whose time is over. The guard was told that time when it issued the token; only
    /// where it granted more is there something to revoke (R11).
    pub(super) fn lapse(&mut self, slot: u32, now: Timestamp) {
        let Some(ended) = self.end(slot, EndReason::Lapsed, now) else {
            return;
        };
        if ended.token_expires_at > now {
            self.add_pending(ended.handle, ended.token_expires_at);
        } else {
            self.handles.remove(self.seed.hash_one(ended.handle));
        }
    }

    /// The one way in which a session ends (R17): it leaves every index (R21) and its last event is
    /// recorded.
    fn end(&mut self, slot: u32, reason: EndReason, now: Timestamp) -> Option<Entry> {
        let entry = self.sessions.remove(slot)?;
        let session = &entry.session;
        self.by_id.remove(self.seed.hash_one(session.id));
        self.by_fingerprint.remove(entry.fingerprint.key());
        self.expiry.remove(&(session.expires_at, slot));
        self.agents.remove(session.agent_id, entry.serial);
        if entry.watchers > 0 {
            let watchers = entry.watchers;
            let key = self.seed.hash_one(entry.serial);
            self.fates.insert(key, Fate { reason, watchers });
        }
        self.bytes = self.bytes.saturating_sub(entry.size());
        self.totals.expired = self.totals.expired.saturating_add(1);
        self.events.record(
            now,
            session.id,
            session.agent_id,
            EventKind::Expired(reason),
        );
        Some(entry)
    }

    pub(super) fn add_pending(
        &mut self,
        handle: Rc<str>,
        token_expires_at: Timestamp,
    ) -> PendingKey {
        self.bytes = self.bytes.saturating_add(pending_size(&handle));
        self.pending.add(handle, token_expires_at)
    }

    fn forget_pending(&mut self, handle: &Rc<str>) {
        self.handles.remove(self.seed.hash_one(handle));
        self.bytes = self.bytes.saturating_sub(pending_size(handle));
    }
}
