//! Freeing capacity for a new session (R19). Due sessions take no capacity, so they are ended
//! first. If that is not enough, the configuration decides whether the create is refused or a
//! session is evicted (R33).

use crate::domain::config::Overflow;
use crate::domain::error::{Error, Limit};
use crate::domain::event::EndReason;
use crate::domain::id::AgentId;
use crate::domain::timestamp::Timestamp;
use crate::store::budget::RENEWAL_RESERVE;
use crate::store::plan::{Ancestry, Reservation, SessionVersion};
use crate::store::revocations::PendingKey;
use crate::store::slots::{AgentSlot, SessionSlot};
use crate::store::state::Store;

/// The maximum number of due sessions of an agent, and of those that kill switches have left, that
/// one create ends (R20).
const MAX_DUE: usize = 64;

/// The maximum number of sessions, records and revocations that one call removes to free capacity
/// (R20).
const MAX_REMOVED: u32 = 10_000;

impl Store {
    /// Frees a slot and the bytes for a session of this size, by removing due sessions, expired
    /// revocations and unneeded records.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if that is not enough.
    pub(super) fn free_capacity(&mut self, size: u64, now: Timestamp) -> Result<(), Error> {
        let mut budget = MAX_REMOVED;
        if self.has_too_many_sessions() {
            self.clear_revoked(MAX_DUE, now);
        }
        while self.has_too_many_sessions() {
            if self.end_first_due(now, &mut budget) == 0 {
                return Err(Error::LimitReached(Limit::Sessions));
            }
        }
        self.free_bytes(size, now)
    }

    fn has_too_many_sessions(&self) -> bool {
        let count = self.sessions.len().saturating_add(self.sessions.reserved());
        count >= self.limits.max_sessions as usize
    }

    /// Reserves bytes for a renewal: for the token that it supersedes and for the revocation of
    /// that token. [`Store::release_bytes`] releases them.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if the state leaves too few bytes.
    pub fn reserve_bytes(&mut self, now: Timestamp) -> Result<(), Error> {
        self.free_bytes(RENEWAL_RESERVE, now)?;
        self.budget.add(RENEWAL_RESERVE);
        Ok(())
    }

    /// Releases the bytes that were reserved for a renewal.
    pub fn release_bytes(&mut self) {
        self.budget.release(RENEWAL_RESERVE);
    }

    fn free_bytes(&mut self, size: u64, now: Timestamp) -> Result<(), Error> {
        let (mut budget, mut removed) = (MAX_REMOVED, 0);
        while !self.budget.fits(size) {
            let more = if self.drop_expired_revocation(now) || self.drop_unneeded_record(now) {
                1
            } else {
                match self.end_first_due(now, &mut budget) {
                    0 => u32::try_from(self.clear_revoked(1, now)).unwrap_or(u32::MAX),
                    ended => ended,
                }
            };
            if more == 0 || removed >= MAX_REMOVED {
                return Err(Error::LimitReached(Limit::StateBytes));
            }
            removed = removed.saturating_add(more);
        }
        Ok(())
    }

    /// Frees a slot for another session of the agent, by ending due sessions of it. If that is not
    /// enough, it succeeds only if the commit can evict a session (R33).
    ///
    /// # Errors
    /// [`Error::LimitReached`] if no slot is free.
    pub(super) fn free_agent_capacity(
        &mut self,
        agent_id: AgentId,
        parent: Option<SessionVersion>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let max = self.limits.max_sessions_per_agent as usize;
        let Some(slot) = self.sessions.find_agent(&agent_id) else {
            return Ok(());
        };
        let agent = self.sessions.agent(slot);
        if agent.is_none_or(|agent| agent.count() < max) {
            return Ok(());
        }
        self.end_due_of_agent(slot, now);
        // The agent is dropped when its last session ends.
        let Some(agent) = self.sessions.agent(slot) else {
            return Ok(());
        };
        let has_capacity = match self.limits.agent_overflow {
            Overflow::Refuse => agent.count() < max,
            // All creates in flight must have a slot, and an ancestor of the new session cannot be
            // evicted.
            Overflow::EvictOldest => {
                let kept = parent.map_or(0, |parent| self.count_in_ancestry(agent_id, parent));
                agent.reserved().saturating_add(kept) < max
            }
        };
        if has_capacity {
            Ok(())
        } else {
            Err(Error::LimitReached(Limit::SessionsPerAgent))
        }
    }

    /// Returns how many sessions in this ancestry belong to the agent.
    fn count_in_ancestry(&self, agent_id: AgentId, session: SessionVersion) -> usize {
        let ancestry = self.sessions.ancestry(session.slot);
        ancestry
            .filter(|(_, entry)| entry.session.agent_id == agent_id)
            .count()
    }

    fn end_due_of_agent(&mut self, slot: AgentSlot, now: Timestamp) {
        // Once no such session is left, the agent's sessions need not be checked for them.
        self.clear_revoked(MAX_DUE, now);
        let Some(agent) = self.sessions.agent(slot) else {
            return;
        };
        if !self.epochs.may_revoke() && !agent.sessions.may_have_expired(now) {
            return;
        }
        let (lifetimes, epochs) = (&self.lifetimes, &self.epochs);
        let due = self
            .sessions
            .find_due_of_agent(slot, MAX_DUE, now, |sessions, slot| {
                let ends_at = lifetimes.ends_at(sessions, slot);
                match Self::ending_in(sessions, lifetimes, epochs, slot, now) {
                    Some(_) => ends_at.min(now),
                    None => ends_at,
                }
            });
        for slot in due {
            self.end_if_due(slot, now);
        }
    }

    /// Evicts the agent's oldest session that is no ancestor of the new one, if the agent has no
    /// slot left. Returns the pending revocations.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if there is no session to evict.
    pub(super) fn evict(
        &mut self,
        reservation: &Reservation,
        now: Timestamp,
    ) -> Result<Vec<PendingKey>, Error> {
        let max = self.limits.max_sessions_per_agent as usize;
        let is_full = |store: &Self| {
            let agent = store.sessions.agent(reservation.agent);
            agent.is_some_and(|agent| agent.sessions.len() >= max)
        };
        if is_full(self) {
            self.end_due_of_agent(reservation.agent, now);
        }
        if !is_full(self) {
            return Ok(Vec::new());
        }
        let oldest = self.oldest_except_ancestors(reservation);
        let slot = oldest.ok_or(Error::LimitReached(Limit::SessionsPerAgent))?;
        let ended = self.end_tree(slot, EndReason::Limit, now);
        Ok(ended.revocations().collect())
    }

    fn oldest_except_ancestors(&self, reservation: &Reservation) -> Option<SessionSlot> {
        let parent = reservation.ancestry.map(|ancestry| ancestry.parent.slot);
        let is_ancestor = |slot: SessionSlot| {
            parent.is_some_and(|parent| {
                let mut ancestry = self.sessions.ancestry(parent);
                ancestry.any(|(ancestor, _)| ancestor == slot)
            })
        };
        let agent = self.sessions.agent(reservation.agent)?;
        let mut oldest = agent.sessions.iter().map(|(_, slot)| slot);
        oldest.find(|slot| !is_ancestor(*slot))
    }

    /// Reserves a slot for a new descendant below the root of this session.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if the root has `max-sessions-per-root` descendants.
    pub(super) fn reserve_descendant(
        &mut self,
        parent: SessionVersion,
        now: Timestamp,
    ) -> Result<Ancestry, Error> {
        let top = self.sessions.ancestry(parent.slot).last();
        let (slot, entry) = top.ok_or(Error::SessionNotFound)?;
        let root = entry.version(slot);
        let max = self.limits.max_sessions_per_root;
        if entry.descendants >= max {
            let may_have_expired = entry.descendants_earliest_end <= now;
            self.clear_revoked(MAX_DUE, now);
            if may_have_expired || self.epochs.may_revoke() {
                self.end_due_descendants(slot, now);
            }
        }
        match self.sessions.expected_mut(root) {
            Some(entry) if entry.descendants < max => {
                entry.descendants = entry.descendants.saturating_add(1);
                Ok(Ancestry { parent, root })
            }
            _ => Err(Error::LimitReached(Limit::SessionsPerRoot)),
        }
    }

    /// Ends the due descendants of a root. It checks all descendants, and sets the time from which
    /// that is worth repeating.
    fn end_due_descendants(&mut self, root: SessionSlot, now: Timestamp) {
        let mut next = Timestamp::MAX;
        for slot in self.sessions.descendants_of(root) {
            // The session may have ended in this loop, with an ancestor.
            let ends_at = self.lifetimes.ends_at(&self.sessions, slot);
            if self.end_if_due(slot, now).is_none() && self.sessions.get(slot).is_some() {
                next = next.min(ends_at);
            }
        }
        if let Some(entry) = self.sessions.get_mut(root) {
            entry.descendants_earliest_end = next;
        }
    }
}
