//! Frees the capacity that a new session needs: sessions that have ended count against no bound, and the
//! configuration says what happens where that is not enough (R19, R33).

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

/// How many of an agent's sessions that have ended one create removes at most (R20).
const MAX_ENDED_OF_AGENT: usize = 64;

/// How much that is needed no longer one call removes at most to make room (R20).
const MAX_REMOVED: u32 = 10_000;

impl Store {
    /// Frees the bytes for a session of this size, as far as sessions have ended and records and
    /// revocations are needed no longer.
    ///
    /// # Errors
    /// [`Error::LimitReached`].
    pub(super) fn free_capacity(&mut self, size: u64, now: Timestamp) -> Result<(), Error> {
        let mut budget = MAX_REMOVED;
        if self.has_too_many_sessions() {
            self.clear_restored_revoked(now);
        }
        while self.has_too_many_sessions() {
            if self.end_first_ended(now, &mut budget) == 0 {
                return Err(Error::LimitReached(Limit::Sessions));
            }
        }
        self.free_bytes(size, now)
    }

    fn has_too_many_sessions(&self) -> bool {
        let count = self.sessions.len().saturating_add(self.sessions.reserved());
        count >= self.limits.max_sessions as usize
    }

    /// Reserves bytes for what a renewal leaves behind until the guard confirms it: the revocation
    /// of a token. Release them with [`Store::release_bytes`].
    ///
    /// # Errors
    /// [`Error::LimitReached`].
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
                self.end_first_ended(now, &mut budget)
            };
            if more == 0 || removed >= MAX_REMOVED {
                return Err(Error::LimitReached(Limit::StateBytes));
            }
            removed = removed.saturating_add(more);
        }
        Ok(())
    }

    /// Frees the capacity for one more session of the agent, as far as its sessions have ended. Otherwise
    /// the configuration says what happens (R33).
    ///
    /// # Errors
    /// [`Error::LimitReached`].
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
        self.end_ended_of_agent(slot, now);
        // It is dropped if all its sessions have ended.
        let Some(agent) = self.sessions.agent(slot) else {
            return Ok(());
        };
        let has_capacity = match self.limits.agent_overflow {
            Overflow::Refuse => agent.count() < max,
            // All creates in flight must fit, and no ancestor of the new session is evicted.
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

    /// Returns how many sessions in this ancestry are the agent's.
    fn count_in_ancestry(&self, agent_id: AgentId, session: SessionVersion) -> usize {
        let ancestry = self.sessions.ancestry(session.slot);
        ancestry
            .filter(|(_, entry)| entry.session.agent_id == agent_id)
            .count()
    }

    fn end_ended_of_agent(&mut self, slot: AgentSlot, now: Timestamp) {
        let Some(agent) = self.sessions.agent(slot) else {
            return;
        };
        if !self.epochs.may_revoke() && !agent.sessions.may_have_expired(now) {
            return;
        }
        let (lifetimes, epochs) = (&self.lifetimes, &self.epochs);
        let ended =
            self.sessions
                .find_ended_of_agent(slot, MAX_ENDED_OF_AGENT, now, |sessions, slot| {
                    match Self::ending_in(sessions, lifetimes, epochs, slot, now) {
                        Some(_) => now,
                        None => lifetimes.ends_at(sessions, slot),
                    }
                });
        for slot in ended {
            self.end_if_due(slot, now);
        }
    }

    /// Ends the agent's oldest session, if the new one does not fit otherwise, but none of
    /// its ancestors. Returns the pending revocations.
    ///
    /// # Errors
    /// [`Error::LimitReached`] if there is no session to end.
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
            self.end_ended_of_agent(reservation.agent, now);
        }
        if !is_full(self) {
            return Ok(Vec::new());
        }
        let oldest = self.oldest_but_ancestors(reservation);
        let slot = oldest.ok_or(Error::LimitReached(Limit::SessionsPerAgent))?;
        let ended = self.end_tree(slot, EndReason::Limit, now);
        Ok(ended.revocations().collect())
    }

    fn oldest_but_ancestors(&self, reservation: &Reservation) -> Option<SessionSlot> {
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

    /// Counts a descendant that is to be created below this session.
    ///
    /// # Errors
    /// [`Error::LimitReached`].
    pub(super) fn reserve_descendant(
        &mut self,
        parent: SessionVersion,
        now: Timestamp,
    ) -> Result<Ancestry, Error> {
        let top = self.sessions.ancestry(parent.slot).last();
        let (slot, entry) = top.ok_or(Error::SessionNotFound)?;
        let root = entry.version(slot);
        let max = self.limits.max_sessions_per_root;
        if entry.descendants >= max && entry.descendants_end_from <= now {
            self.end_ended_descendants(slot, now);
        }
        match self.sessions.expected_mut(root) {
            Some(entry) if entry.descendants < max => {
                entry.descendants = entry.descendants.saturating_add(1);
                Ok(Ancestry { parent, root })
            }
            _ => Err(Error::LimitReached(Limit::SessionsPerRoot)),
        }
    }

    /// Ends the descendants of a root that have ended by time. All are looked at, but not again
    /// before the next one ends.
    fn end_ended_descendants(&mut self, root: SessionSlot, now: Timestamp) {
        let mut next = Timestamp::MAX;
        for slot in self.sessions.descendants_of(root) {
            // It may have ended with an ancestor just now.
            let ends_at = self.lifetimes.ends_at(&self.sessions, slot);
            if self.end_if_due(slot, now).is_none() && self.sessions.get(slot).is_some() {
                next = next.min(ends_at);
            }
        }
        if let Some(entry) = self.sessions.get_mut(root) {
            entry.descendants_end_from = next;
        }
    }
}
