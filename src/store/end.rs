//! Ending sessions.

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
    /// [`Error::SessionNotFound`] if it is unknown or has ended; nothing has changed (R15).
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

    /// Ends a session because a superseded token was presented for rotation. Two parties hold the
    /// token, and the component cannot know which one is the thief (R27). Returns the pending
    /// revocations.
    pub fn end_stolen(&mut self, expected: SessionVersion, now: Timestamp) -> Vec<PendingKey> {
        if self.sessions.expected(expected).is_none() {
            return Vec::new();
        }
        self.drop_cached_validations(now);
        let ended = self.end_tree(expected.slot, EndReason::Theft, now);
        ended.revocations().collect()
    }

    /// Ends due sessions until it has ended `max` or more, and returns how many. It moves at most
    /// `budget` sessions in the expiry index. It also drops expired revocations and unneeded
    /// records, at most `max` of each.
    pub fn prune(&mut self, max: u32, budget: u32, now: Timestamp) -> u32 {
        let (mut pruned, mut budget) = (0_u32, budget);
        while pruned < max
            && let Some(slot) = self.first_due(now, &mut budget)
        {
            pruned = pruned.saturating_add(self.end_due(slot, now));
        }
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

    /// Ends the session that expired first, and its descendants. Returns how many it ended.
    pub(super) fn end_first_due(&mut self, now: Timestamp, budget: &mut u32) -> u32 {
        let slot = self.first_due(now, budget);
        slot.map_or(0, |slot| self.end_due(slot, now))
    }

    fn first_due(&mut self, now: Timestamp, budget: &mut u32) -> Option<SessionSlot> {
        let lifetimes = &self.lifetimes;
        self.expiry
            .first_due(&mut self.sessions, lifetimes, now, budget)
    }

    fn end_due(&mut self, slot: SessionSlot, now: Timestamp) -> u32 {
        let ended = self.end_if_due(slot, now);
        ended.map_or(0, |(_, ended)| ended.all)
    }

    /// Returns whether the session is due: the session in its ancestry, itself included, that has
    /// expired or was revoked by a kill switch, and the reason with which that one ends.
    pub(super) fn ending(
        &self,
        slot: SessionSlot,
        now: Timestamp,
    ) -> Option<(SessionSlot, EndReason)> {
        Self::ending_in(&self.sessions, &self.lifetimes, &self.epochs, slot, now)
    }

    /// Returns the result of [`Store::ending`] while another field of the store is borrowed.
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

    /// Ends the session if it is due. Returns the reason, and what ended with it.
    pub(super) fn end_if_due(
        &mut self,
        slot: SessionSlot,
        now: Timestamp,
    ) -> Option<(EndReason, EndedTree)> {
        let (slot, reason) = self.ending(slot, now)?;
        Some((reason, self.end_tree(slot, reason, now)))
    }

    /// Ends a session and all its descendants in one step (R26), parents before their children. A
    /// descendant that has expired itself keeps that reason.
    ///
    /// A session is removed from its slot before its children are processed, so this terminates
    /// even if the links form a cycle.
    pub(super) fn end_tree(
        &mut self,
        slot: SessionSlot,
        reason: EndReason,
        now: Timestamp,
    ) -> EndedTree {
        let mut ended = EndedTree::default();
        let cause = reason.into_error();
        let root = self.sessions.remove_from_parent(slot);
        // No ancestor of the first session is due: callers pass the topmost session that is.
        let mut first = Some((slot, false));
        let mut queue = Vec::new();
        let mut next = 0_usize;
        while let Some((slot, parent_had_ended)) = first.take().or_else(|| {
            let queued = queue.get(next).copied();
            next = next.saturating_add(1);
            queued
        }) {
            let is_first = ended.all == 0;
            let Some(entry) = self.sessions.get(slot) else {
                debug_assert!(false, "a session that is linked or ended must exist");
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
            self.epochs.note_end(entry);
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

    /// Ends one session. Every session ends in this function (R17).
    ///
    /// The session is removed from every index (R21) and its last event is recorded. Unless its
    /// token has expired, the revocation is pending. While an older record could restore the
    /// session, a tombstone replaces its record (R12).
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

    /// Removes a session from every index, except the handle of its token and its record.
    pub(super) fn remove(&mut self, slot: SessionSlot) -> Option<Entry> {
        let removed = self.sessions.remove(slot);
        if let Some(entry) = &removed {
            self.expiry.remove(slot, entry);
            self.budget.release(entry.size());
        }
        removed
    }
}
