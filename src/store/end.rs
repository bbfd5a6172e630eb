//! Ending sessions, and what the guard has not confirmed of it.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::rc::Rc;

use super::{EndOutcome, Entry, Link, Store, pending_size};
use crate::domain::error::Error;
use crate::domain::event::{EndReason, EventKind};
use crate::domain::id::SessionId;
use crate::domain::timestamp::Timestamp;
use crate::store::plan::SessionVersion;
use crate::store::revocations::{Owner, PendingKey, Settled};

/// What ended in one step: a session and all below it.
#[derive(Debug, Default)]
pub struct EndedTree {
    /// How many were live until then.
    pub live: usize,
    /// How many there were in all.
    pub all: u32,
    /// Until when one of them could come back.
    pub until: Timestamp,
    /// The guard's part of the session's own token, if that is still good with it.
    pub own: Option<PendingKey>,
    /// The same of those below it.
    pub below: Vec<PendingKey>,
}

impl EndedTree {
    /// The guard's part of all of them, the session's own first.
    pub fn revocations(self) -> impl Iterator<Item = PendingKey> {
        self.own.into_iter().chain(self.below)
    }
}

impl Store {
    /// Ends a live session and all below it (R26).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] when it is unknown or its time is over; nothing changes then
    /// (R15).
    pub fn revoke(
        &mut self,
        id: SessionId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<EndedTree, Error> {
        let slot = self.slot_of(id)?;
        if self.end_of(slot, now).is_some() {
            return Err(Error::SessionNotFound);
        }
        self.forget_each_yes(now);
        Ok(self.end_tree(slot, reason, now))
    }

    /// A token that was superseded was presented for rotation: nobody knows which of the two bearers
    /// is the thief (R27). Gives the guard's part.
    pub fn end_stolen(&mut self, expected: SessionVersion, now: Timestamp) -> Vec<PendingKey> {
        if self.entry(expected).is_none() {
            return Vec::new();
        }
        self.forget_each_yes(now);
        let ended = self.end_tree(expected.slot, EndReason::Theft, now);
        ended.revocations().collect()
    }

    /// Ends sessions whose time is over, at most `max` and what is below the last, and tells how
    /// many.
    pub fn prune(&mut self, max: u32, budget: u32, now: Timestamp) -> u32 {
        let (mut pruned, mut budget) = (0_u32, budget);
        while pruned < max
            && let Some(slot) = self.first_over(now, &mut budget)
        {
            pruned = pruned.saturating_add(self.end_found(slot, now));
        }
        // Revocations that time has settled go with them.
        for _ in 0..max {
            if !self.drop_expired_revocation(now) {
                break;
            }
        }
        for _ in 0..max {
            if !self.drop_due_record(now) {
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
        let pending = self.add_pending(Owner::Nobody(Link::NONE), handle, token_expires_at);
        self.record_revocation(pending);
        Some(pending)
    }

    /// The handle to revoke, while that is pending.
    #[must_use]
    pub fn pending_handle(&self, key: &PendingKey) -> Option<Rc<str>> {
        self.pending.get(key)
    }

    /// The guard has confirmed a revocation; tells whether it was pending until now.
    pub fn settle(&mut self, key: &PendingKey) -> bool {
        let settled = self.pending.settle(key);
        settled.is_some_and(|settled| self.forget_pending(&settled))
    }

    /// Forgets one revocation whose token's time is over; tells whether there was one.
    pub fn drop_expired_revocation(&mut self, now: Timestamp) -> bool {
        let expired = self.pending.pop_expired(now);
        expired.is_some_and(|settled| self.forget_pending(&settled))
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

    /// Ends the session that was over first, and what is below it; tells how many that were.
    pub(super) fn end_first_over(&mut self, now: Timestamp, budget: &mut u32) -> u32 {
        let slot = self.first_over(now, budget);
        slot.map_or(0, |slot| self.end_found(slot, now))
    }

    /// Ends a session that was found over; tells how many ended with it.
    fn end_found(&mut self, slot: u32, now: Timestamp) -> u32 {
        match self.end_of(slot, now) {
            Some((slot, reason)) => self.end_tree(slot, reason, now).all,
            None => 0,
        }
    }

    /// Ends the session if it, or one above it, is over, and tells why that is.
    pub(super) fn end_if_over(&mut self, slot: u32, now: Timestamp) -> Option<EndReason> {
        let (slot, reason) = self.end_of(slot, now)?;
        if reason == EndReason::RevokedAll {
            self.end_cut_off(slot, now);
        } else {
            self.end_tree(slot, reason, now);
        }
        Some(reason)
    }

    /// Ends a session and all below it in one step (R26), the upper before the lower. One below that
    /// is over by itself has its own reason.
    ///
    /// A session leaves its slot before those below it are looked at, so this comes to an end
    /// whatever the links say.
    pub(super) fn end_tree(&mut self, slot: u32, reason: EndReason, now: Timestamp) -> EndedTree {
        let mut ended = EndedTree::default();
        let cause = reason.into_error();
        let root = self.leave_parent(slot);
        // Those above it live: whoever finds one of them over ends that one.
        let mut first = Some((slot, false));
        let mut queue = VecDeque::new();
        while let Some((slot, above_is_dead)) = first.take().or_else(|| queue.pop_front()) {
            let is_first = ended.all == 0;
            let Some(entry) = self.sessions.get(slot) else {
                continue;
            };
            let own = self.time_over(entry, now);
            let is_dead = above_is_dead || own.is_some();
            let reason = match own {
                Some(own) => own,
                None if is_first => reason,
                None if !is_dead && self.is_cut_off(entry) => EndReason::RevokedAll,
                None => EndReason::Cascade,
            };
            let error = match reason {
                EndReason::Cascade => cause.clone(),
                reason => reason.into_error(),
            };
            ended.until = ended.until.max(entry.until);
            queue.extend(self.children_of(slot).map(|child| (child, is_dead)));
            let revocation = self.end(slot, reason, error, now);
            if is_first {
                ended.own = revocation;
            } else {
                ended.below.extend(revocation);
            }
            ended.all = ended.all.saturating_add(1);
            ended.live = ended.live.saturating_add((!is_dead).into());
        }
        if let Some(root) = root.and_then(|root| self.sessions.get_mut(root)) {
            root.descendants = root.descendants.saturating_sub(ended.all);
        }
        ended
    }

    /// The slots below this one, the upper before the lower.
    pub(super) fn descendants_of(&self, slot: u32) -> Vec<u32> {
        let mut below: Vec<u32> = self.children_of(slot).collect();
        let mut at = 0;
        while let Some(slot) = below.get(at).copied() {
            at = at.saturating_add(1);
            below.extend(self.children_of(slot));
        }
        below
    }

    pub(super) fn children_of(&self, slot: u32) -> impl Iterator<Item = u32> {
        let first = self.sessions.get(slot);
        let first = first.and_then(|entry| entry.children.first());
        std::iter::successors(first, |slot| self.sessions.get(*slot)?.siblings.after())
    }

    /// The session is below nobody any more. Gives the top of its delegations, if that is another.
    pub(super) fn leave_parent(&mut self, slot: u32) -> Option<u32> {
        let entry = self.sessions.get_mut(slot)?;
        let siblings = entry.siblings;
        let parent = std::mem::replace(&mut entry.parent, Link::NONE).get()?;
        let mut children = self.sessions.get(parent)?.children;
        children.remove(&mut self.sessions, siblings, Entry::siblings);
        self.sessions.get_mut(parent)?.children = children;
        self.chain(parent).last().map(|(root, _)| root)
    }

    /// The one way in which a session ends (R17): it leaves every index (R21), its last event is
    /// recorded, the guard's part is pending if its token is still good there, and its record says that
    /// it has ended for as long as it could otherwise come back (R12).
    fn end(
        &mut self,
        slot: u32,
        reason: EndReason,
        error: Error,
        now: Timestamp,
    ) -> Option<PendingKey> {
        let entry = self.take_out(slot)?;
        if entry.watchers > 0 {
            let watchers = entry.watchers;
            let key = self.seed.hash_one(entry.serial);
            self.end_outcomes
                .insert(key, EndOutcome { error, watchers });
        }
        self.totals.ended = self.totals.ended.saturating_add(1);
        let kind = EventKind::Ended(reason);
        self.events.record(now, &entry.session, kind);
        let (owner, handle) = (Owner::Session(entry.session.id), entry.handle.clone());
        let pending = (entry.token_expires_at > now)
            .then(|| self.add_pending(owner, handle, entry.token_expires_at));
        if pending.is_none() {
            self.handles.remove(self.seed.hash_one(&entry.handle));
        }
        self.record_end(entry, pending, now);
        pending
    }

    /// A session leaves every index, but for the handle of its token and its record.
    pub(super) fn take_out(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.sessions.remove(slot)?;
        let session = &entry.session;
        self.by_id.remove(session.id.key());
        self.forget_fingerprint(&entry.fingerprint, slot);
        for token in entry.superseded.tokens() {
            self.forget_fingerprint(&token.fingerprint, slot);
        }
        self.expiry.remove(&(entry.indexed_at, slot));
        if let Some(agent) = self.agents.get_mut(entry.agent) {
            agent.members.remove(entry.serial, slot);
        }
        self.agents.forget_if_idle(entry.agent);
        if let Some(group) = self.roles.get_mut(entry.role) {
            let members = &mut group.members;
            members.remove(&mut self.sessions, entry.same_role, Entry::same_role);
        }
        self.roles.forget_if_idle(entry.role);
        self.bytes = self.bytes.saturating_sub(entry.size());
        Some(entry)
    }

    pub(super) fn add_pending(
        &mut self,
        owner: Owner,
        handle: Rc<str>,
        token_expires_at: Timestamp,
    ) -> PendingKey {
        self.bytes = self.bytes.saturating_add(pending_size(&handle));
        self.pending.add(owner, handle, token_expires_at)
    }

    fn forget_pending(&mut self, settled: &Settled) -> bool {
        self.handles.remove(self.seed.hash_one(&settled.handle));
        self.bytes = self.bytes.saturating_sub(pending_size(&settled.handle));
        self.note_settled(settled);
        true
    }
}
