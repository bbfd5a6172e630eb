//! Ending sessions.

use std::collections::VecDeque;

use crate::domain::error::Error;
use crate::domain::event::{EndReason, EventKind};
use crate::domain::id::SessionId;
use crate::domain::timestamp::Timestamp;
use crate::store::ended_tree::EndedTree;
use crate::store::entry::Entry;
use crate::store::epochs::Epochs;
use crate::store::lifetimes::Lifetimes;
use crate::store::plan::SessionVersion;
use crate::store::revocations::{Owner, PendingKey};
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;
use crate::store::state::Store;

impl Store {
    /// Ends a live session and all its descendants (R26).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when it is unknown or has ended; nothing changes then (R15).
    pub fn revoke(
        &mut self,
        id: SessionId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<EndedTree, Error> {
        let slot = self.slot_of(id)?;
        if self.ending(slot, now).is_some() {
            return Err(Error::SessionNotFound);
        }
        self.drop_cached_validations(now);
        Ok(self.end_tree(slot, reason, now))
    }

    /// Ends a session because a superseded token was presented for rotation: which of the two
    /// bearers is the thief is not known (R27). Returns the pending revocations.
    pub fn end_stolen(&mut self, expected: SessionVersion, now: Timestamp) -> Vec<PendingKey> {
        if self.sessions.expected(expected).is_none() {
            return Vec::new();
        }
        self.drop_cached_validations(now);
        let ended = self.end_tree(expected.slot, EndReason::Theft, now);
        ended.revocations().collect()
    }

    /// Ends sessions that have expired, at most `max` and the descendants of the last, and returns
    /// how many.
    pub fn prune(&mut self, max: u32, budget: u32, now: Timestamp) -> u32 {
        let (mut pruned, mut budget) = (0_u32, budget);
        while pruned < max
            && let Some(slot) = self.first_ended(now, &mut budget)
        {
            pruned = pruned.saturating_add(self.end_found(slot, now));
        }
        // Revocations whose tokens have expired, and records that are needed no longer, go with
        // them.
        for _ in 0..max {
            if !self.drop_expired_revocation(now) {
                break;
            }
        }
        for _ in 0..max {
            if !self.drop_unneeded_record(now) {
                break;
            }
        }
        pruned
    }

    /// Ends the session that expired first, and its descendants; returns how many that were.
    pub(super) fn end_first_ended(&mut self, now: Timestamp, budget: &mut u32) -> u32 {
        let slot = self.first_ended(now, budget);
        slot.map_or(0, |slot| self.end_found(slot, now))
    }

    fn first_ended(&mut self, now: Timestamp, budget: &mut u32) -> Option<SessionSlot> {
        let lifetimes = &self.lifetimes;
        self.expiry
            .first_ended(&mut self.sessions, lifetimes, now, budget)
    }

    fn end_found(&mut self, slot: SessionSlot, now: Timestamp) -> u32 {
        match self.ending(slot, now) {
            Some((slot, reason)) => self.end_tree(slot, reason, now).all,
            None => 0,
        }
    }

    /// Returns which session of its ancestry, itself included, has expired or was revoked by a kill
    /// switch, and why this one has ended therefore.
    pub(super) fn ending(
        &self,
        slot: SessionSlot,
        now: Timestamp,
    ) -> Option<(SessionSlot, EndReason)> {
        Self::ending_in(&self.sessions, &self.lifetimes, &self.epochs, slot, now)
    }

    /// Returns the same as [`Store::ending`], while another part of the store is borrowed.
    pub(super) fn ending_in(
        sessions: &SessionTable,
        lifetimes: &Lifetimes,
        epochs: &Epochs,
        slot: SessionSlot,
        now: Timestamp,
    ) -> Option<(SessionSlot, EndReason)> {
        let expired = lifetimes.expired(sessions, slot, now);
        if expired.is_some() || !epochs.may_revoke() {
            return expired;
        }
        let mut ancestry = sessions.ancestry(slot);
        let revoked = ancestry.find(|(_, entry)| epochs.revokes(entry));
        revoked.map(|(slot, _)| (slot, EndReason::RevokedAll))
    }

    /// Ends the session if it, or an ancestor, has expired or was revoked by a kill switch, and
    /// returns why.
    pub(super) fn end_if_due(&mut self, slot: SessionSlot, now: Timestamp) -> Option<EndReason> {
        let (slot, reason) = self.ending(slot, now)?;
        if reason == EndReason::RevokedAll {
            self.end_revoked(slot, now);
        } else {
            self.end_tree(slot, reason, now);
        }
        Some(reason)
    }

    /// Ends a session and all its descendants in one step (R26), parents before their children. A
    /// descendant that has expired by itself has its own reason.
    ///
    /// A session leaves its slot before its children are looked at, so this ends whatever the links
    /// say.
    pub(super) fn end_tree(
        &mut self,
        slot: SessionSlot,
        reason: EndReason,
        now: Timestamp,
    ) -> EndedTree {
        let mut ended = EndedTree::default();
        let cause = reason.into_error();
        let root = self.sessions.remove_from_parent(slot);
        // Its ancestors are live: where one of them has ended, the tree of that one is ended.
        let mut first = Some((slot, false));
        let mut queue = VecDeque::new();
        while let Some((slot, parent_had_ended)) = first.take().or_else(|| queue.pop_front()) {
            let is_first = ended.all == 0;
            let Some(entry) = self.sessions.get(slot) else {
                debug_assert!(
                    false,
                    "only sessions that there are have parents and are ended"
                );
                continue;
            };
            let own = self.lifetimes.expiry_reason(entry, now);
            let had_ended = parent_had_ended || own.is_some();
            let reason = match own {
                Some(own) => own,
                None if is_first => reason,
                None if !had_ended && self.epochs.revokes(entry) => EndReason::RevokedAll,
                None => EndReason::Cascade,
            };
            let error = match reason {
                EndReason::Cascade => cause.clone(),
                reason => reason.into_error(),
            };
            ended.latest_end = ended.latest_end.max(Some(entry.latest_end));
            let children = self.sessions.children_of(slot);
            queue.extend(children.map(|child| (child, had_ended)));
            let revocation = self.end(slot, reason, error, now);
            if is_first {
                ended.own = revocation;
            } else {
                ended.below.extend(revocation);
            }
            ended.all = ended.all.saturating_add(1);
            ended.live = ended.live.saturating_add((!had_ended).into());
        }
        self.sessions.subtract_descendants(root, ended.all);
        ended
    }

    /// Ends one session, the only way in which a session ends (R17): it leaves every index (R21),
    /// its last event is recorded, its revocation is pending if its token has not expired, and its
    /// record says that it has ended for as long as it could be restored otherwise (R12).
    fn end(
        &mut self,
        slot: SessionSlot,
        reason: EndReason,
        error: Error,
        now: Timestamp,
    ) -> Option<PendingKey> {
        let entry = self.remove(slot)?;
        self.end_outcomes.add(entry.serial, error, entry.watchers);
        self.totals.ended = self.totals.ended.saturating_add(1);
        let kind = EventKind::Ended(reason);
        self.events.record(now, &entry.session, kind);
        let (owner, handle) = (Owner::Session(entry.session.id), entry.handle.clone());
        let pending = (entry.token_expires_at > now)
            .then(|| self.add_pending(owner, handle, entry.token_expires_at));
        if pending.is_none() {
            self.sessions.remove_handle(&entry.handle);
        }
        self.record_end(entry, pending, now);
        pending
    }

    /// Removes a session from every index, but keeps the handle of its token and its record.
    pub(super) fn remove(&mut self, slot: SessionSlot) -> Option<Entry> {
        let removed = self.sessions.remove(slot);
        if let Some(entry) = &removed {
            self.expiry.remove(slot, entry);
            self.budget.release(entry.size());
        }
        removed
    }
}
