//! Making a session: reserve a place, wait for the guard, commit, release.

use std::hash::BuildHasher;
use std::rc::Rc;

use super::{Entry, Link, RESERVE, RESERVED, Store};
use crate::domain::config::Overflow;
use crate::domain::error::{Duplicate, Error, Limit};
use crate::domain::event::{Denial, EndReason, EventKind};
use crate::domain::id::{AgentId, SessionId};
use crate::domain::session::{Attributes, Session};
use crate::domain::timestamp::Timestamp;
use crate::store::plan::{Ancestry, NewSession, NewToken, Reservation, SessionVersion};
use crate::store::revocations::PendingKey;
use crate::store::session_index::GroupId;

/// How many of an agent's sessions one create ends at most, when they are over and it needs a place
/// (R20).
const MAX_LAPSED: usize = 64;

/// How much that is over by time one call ends at most to make room (R20).
const MAX_MADE_ROOM: u32 = 10_000;

/// A session that was made.
#[derive(Debug)]
pub struct Created {
    /// Names it.
    pub expected: SessionVersion,
    /// The session.
    pub session: Session,
    /// The guard's part of those that made room for it (R33).
    pub evicted: Vec<PendingKey>,
}

impl Store {
    /// The session to delegate from, if it may delegate these scopes (R25).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], [`Error::SessionExpired`], [`Error::ScopeDenied`],
    /// [`Error::LimitReached`].
    pub fn plan_delegation(
        &mut self,
        parent: SessionId,
        attributes: &Attributes,
        now: Timestamp,
    ) -> Result<(SessionVersion, Timestamp), Error> {
        let expected = self.find(parent, now)?;
        let entry = self.entry(expected).ok_or(Error::SessionNotFound)?;
        let (session, slot) = (&entry.session, expected.slot);
        let granted = &session.attributes.scopes;
        let missing = attributes
            .scopes
            .iter()
            .find(|wanted| !granted.cover(wanted));
        // The parent's depth is one less than its chain is long; the child's is one more.
        let depth = self.chain(slot).count();
        let refusal = if let Some(scope) = missing {
            Error::ScopeDenied(scope.into())
        } else if session.uses_left.is_some() {
            Error::LimitReached(Limit::Uses)
        } else if depth > self.limits.max_depth as usize {
            Error::LimitReached(Limit::Depth)
        } else {
            return Ok((expected, session.expires_at));
        };
        self.deny(slot, Denial::Delegation, now);
        Err(refusal)
    }

    /// Keeps a place for a session, so that creates which overlap cannot pass a bound together
    /// (R19) or take the same id (R16).
    ///
    /// # Errors
    /// [`Error::Collision`], [`Error::LimitReached`].
    pub fn reserve(
        &mut self,
        id: SessionId,
        agent_id: AgentId,
        attributes: &Rc<Attributes>,
        parent: Option<SessionVersion>,
        now: Timestamp,
    ) -> Result<Reservation, Error> {
        let key = id.key();
        if self.by_id.contains(key)
            || self.tombstone(id).is_some()
            || !self.agents.can_reserve(&agent_id)
            || !self.roles.can_reserve(&attributes.role)
        {
            return Err(Error::Collision(Duplicate::SessionId));
        }
        let size = RESERVE.saturating_add(attributes.size());
        self.make_room_for_agent(agent_id, parent, now)?;
        self.make_room(size, now)?;
        let above = match parent {
            Some(parent) => Some(self.reserve_below(parent, now)?),
            None => None,
        };

        let agent = self.agents.reserve(&agent_id);
        let role = self.roles.reserve(&attributes.role);
        self.by_id.insert(key, RESERVED);
        self.reserved = self.reserved.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        Ok(Reservation {
            id,
            agent_id,
            agent,
            role,
            attributes: Rc::clone(attributes),
            above,
            created_epoch: self.epoch,
            size,
        })
    }

    /// Gives a reserved place up.
    pub fn release(&mut self, reservation: &Reservation) {
        let key = reservation.id.key();
        if self.by_id.get(key) == Some(&RESERVED) {
            self.by_id.remove(key);
            // The session did not come to be.
            if let Some(above) = reservation.above
                && let Some(root) = self.entry_mut(above.root)
            {
                root.descendants = root.descendants.saturating_sub(1);
            }
        }
        self.reserved = self.reserved.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(reservation.size);
        self.agents.release(reservation.agent);
        self.roles.release(reservation.role);
    }

    /// Makes a session in a reserved place, which is to be released afterwards in any case.
    ///
    /// # Errors
    /// [`Error::SessionRevoked`] when a kill switch was for it since (R13, R31), or the parent was
    /// revoked (R26), [`Error::SessionExpired`] when the parent's time is over,
    /// [`Error::LimitReached`] when nobody can make room for it (R33), [`Error::Guard`] for a token
    /// whose time is over, [`Error::Collision`] for one that is not new (R16).
    pub fn commit_create(
        &mut self,
        place: &Reservation,
        draft: NewSession,
        token: NewToken,
        now: Timestamp,
    ) -> Result<Created, Error> {
        if place.created_epoch < self.cut_off
            || self.agents.is_cut_off(place.agent, place.created_epoch)
            || self.roles.is_cut_off(place.role, place.created_epoch)
        {
            return Err(Error::SessionRevoked);
        }
        let mut wanted = draft.expires_at;
        let mut above = None;
        if let Some(Ancestry { parent, .. }) = place.above {
            let entry = self.check_life(parent, now)?;
            wanted = wanted.min(entry.session.expires_at);
            above = Some((parent.slot, entry.session.id, entry.session.root));
        }
        let expires_at = self.check_token(&token, wanted, now)?;
        let evicted = self.evict(place, now)?;

        self.serial = self.serial.saturating_add(1);
        let session = Session {
            id: place.id,
            agent_id: place.agent_id,
            workspace_id: self.limits.workspace_id,
            attributes: Rc::clone(&place.attributes),
            created_at: draft.created_at,
            expires_at,
            parent: above.map(|(_, parent, _)| parent),
            root: above.map_or(place.id, |(.., root)| root),
            generation: 0,
            uses_left: draft.max_uses.map(crate::domain::session::MaxUses::get),
        };
        let (serial, created_epoch) = (self.serial, place.created_epoch);
        let mut entry = Entry::new(
            session.clone(),
            serial,
            created_epoch,
            draft.lifetime,
            token,
        );
        entry.used_at = now;
        entry.recorded_use = now;
        entry.agent = place.agent;
        entry.role = place.role;
        entry.parent = above.map_or(Link::NONE, |(slot, ..)| slot.into());
        let expected = self.insert(entry);
        self.record_session(expected.slot);
        self.totals.created = self.totals.created.saturating_add(1);
        self.events.record(now, &session, EventKind::Created);
        Ok(Created {
            expected,
            session,
            evicted,
        })
    }

    /// Puts a session into every index.
    pub(super) fn insert(&mut self, entry: Entry) -> SessionVersion {
        let (id, serial) = (entry.session.id, entry.serial);
        let (agent, role) = (entry.agent, entry.role);
        let (fingerprint, handle) = (entry.fingerprint.key(), self.seed.hash_one(&entry.handle));
        let parent = entry.parent;
        self.latest_until = self.latest_until.max(entry.until);
        self.bytes = self.bytes.saturating_add(entry.size());

        let slot = self.sessions.insert(entry);
        self.by_id.insert(id.key(), slot);
        self.by_fingerprint.insert(fingerprint, slot);
        self.handles.insert(handle, ());
        if let Some(parent) = parent.get() {
            self.join_parent(parent, slot);
        }
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.members.add(serial, slot);
        }
        self.note_end(slot);
        if let Some(role) = self.roles.get_mut(role) {
            role.members
                .push(&mut self.sessions, slot, Entry::same_role);
        }
        SessionVersion {
            slot,
            serial,
            generation: 0,
        }
    }

    /// The session in `slot` is the youngest child of the one in `parent`.
    pub(super) fn join_parent(&mut self, parent: u32, slot: u32) {
        if let Some(entry) = self.sessions.get(parent) {
            let mut children = entry.children;
            children.push(&mut self.sessions, slot, Entry::siblings);
            if let Some(entry) = self.sessions.get_mut(parent) {
                entry.children = children;
            }
        }
    }

    /// Counts a session that is to be below this one.
    fn reserve_below(&mut self, parent: SessionVersion, now: Timestamp) -> Result<Ancestry, Error> {
        let top = self.chain(parent.slot).last();
        let (slot, entry) = top.ok_or(Error::SessionNotFound)?;
        let root = SessionVersion {
            slot,
            serial: entry.serial,
            generation: entry.session.generation,
        };
        let max = self.limits.max_sessions_per_root;
        if entry.descendants >= max && entry.none_over_before <= now {
            self.end_over_below(slot, now);
        }
        match self.entry_mut(root) {
            Some(entry) if entry.descendants < max => {
                entry.descendants = entry.descendants.saturating_add(1);
                Ok(Ancestry { parent, root })
            }
            _ => Err(Error::LimitReached(Limit::SessionsPerRoot)),
        }
    }

    /// Ends what is over below a root. All of it is looked at, but once for many that were over.
    fn end_over_below(&mut self, root: u32, now: Timestamp) {
        let mut next = Timestamp::MAX;
        for slot in self.descendants_of(root) {
            // It may have ended with one above it just now.
            let over_at = self.over_at(slot);
            if self.end_if_over(slot, now).is_none() && self.sessions.get(slot).is_some() {
                next = next.min(over_at);
            }
        }
        if let Some(entry) = self.sessions.get_mut(root) {
            entry.none_over_before = next;
        }
    }

    /// What is over by time holds no place: as much of it is ended as a new session needs.
    fn make_room(&mut self, size: u64, now: Timestamp) -> Result<(), Error> {
        let max = self.limits.max_sessions as usize;
        let mut budget = MAX_MADE_ROOM;
        if self.sessions.len().saturating_add(self.reserved) >= max {
            self.clear_away_before(now);
        }
        while self.sessions.len().saturating_add(self.reserved) >= max {
            if self.end_first_over(now, &mut budget) == 0 {
                return Err(Error::LimitReached(Limit::Sessions));
            }
        }
        self.make_room_for_bytes(size, now)
    }

    /// Keeps room for what a refresh leaves behind until the guard confirms it: the revocation of a
    /// token. Goes with [`Store::release_bytes`].
    ///
    /// # Errors
    /// [`Error::LimitReached`].
    pub fn reserve_bytes(&mut self, now: Timestamp) -> Result<(), Error> {
        self.make_room_for_bytes(RESERVE, now)?;
        self.bytes = self.bytes.saturating_add(RESERVE);
        Ok(())
    }

    /// Gives up what was set aside.
    pub fn release_bytes(&mut self) {
        self.bytes = self.bytes.saturating_sub(RESERVE);
    }

    fn make_room_for_bytes(&mut self, size: u64, now: Timestamp) -> Result<(), Error> {
        let (mut budget, mut made) = (MAX_MADE_ROOM, 0);
        while self.bytes.saturating_add(size) > self.limits.max_state_bytes {
            let more = if self.drop_expired_revocation(now) || self.drop_due_record(now) {
                1
            } else {
                self.end_first_over(now, &mut budget)
            };
            if more == 0 || made >= MAX_MADE_ROOM {
                return Err(Error::LimitReached(Limit::StateBytes));
            }
            made = made.saturating_add(more);
        }
        Ok(())
    }

    /// Sees to it that the agent can have a session more: what is over by time is ended, and where
    /// that is not enough the configuration says what happens (R33).
    fn make_room_for_agent(
        &mut self,
        agent_id: AgentId,
        parent: Option<SessionVersion>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let max = self.limits.max_sessions_per_agent as usize;
        let Some(id) = self.agents.find(&agent_id) else {
            return Ok(());
        };
        let agent = self.agents.get(id);
        if agent.is_none_or(|agent| agent.places() < max) {
            return Ok(());
        }
        self.end_over_of_agent(id, now);
        // It is forgotten if all its sessions were over.
        let Some(agent) = self.agents.get(id) else {
            return Ok(());
        };
        let has_room = match self.limits.agent_overflow {
            Overflow::Refuse => agent.places() < max,
            // All that are to be must find room, and the new one's own chain makes none.
            Overflow::EvictOldest => {
                let above = parent.map_or(0, |parent| self.of_agent_above(agent_id, parent));
                agent.reserved().saturating_add(above) < max
            }
        };
        if has_room {
            Ok(())
        } else {
            Err(Error::LimitReached(Limit::SessionsPerAgent))
        }
    }

    /// How many sessions of the agent are in this session's chain.
    fn of_agent_above(&self, agent_id: AgentId, below: SessionVersion) -> usize {
        let chain = self.chain(below.slot);
        chain
            .filter(|(_, entry)| entry.session.agent_id == agent_id)
            .count()
    }

    fn end_over_of_agent(&mut self, id: GroupId, now: Timestamp) {
        let may_be_cut_off = !self.cut_offs.is_empty() || self.restored_cutoffs.is_some();
        let Some(agent) = self.agents.get_mut(id) else {
            return;
        };
        if !may_be_cut_off && !agent.members.may_be_over(now) {
            return;
        }
        let mut sessions = std::mem::take(&mut agent.members);
        let over = sessions.find_over(MAX_LAPSED, now, |slot| match self.end_of(slot, now) {
            Some(_) => now,
            None => self.over_at(slot),
        });
        if let Some(agent) = self.agents.get_mut(id) {
            agent.members = sessions;
        }
        for slot in over {
            self.end_if_over(slot, now);
        }
    }

    /// Ends the agent's oldest session, if the new one finds no room otherwise, but none that it is
    /// delegated from. Gives the guard's part.
    fn evict(&mut self, place: &Reservation, now: Timestamp) -> Result<Vec<PendingKey>, Error> {
        let max = self.limits.max_sessions_per_agent as usize;
        let is_full = |store: &Self| {
            let agent = store.agents.get(place.agent);
            agent.is_some_and(|agent| agent.members.len() >= max)
        };
        if is_full(self) {
            self.end_over_of_agent(place.agent, now);
        }
        if !is_full(self) {
            return Ok(Vec::new());
        }
        let oldest = self.oldest_but_above(place);
        let slot = oldest.ok_or(Error::LimitReached(Limit::SessionsPerAgent))?;
        let ended = self.end_tree(slot, EndReason::Limit, now);
        Ok(ended.revocations().collect())
    }

    fn oldest_but_above(&self, place: &Reservation) -> Option<u32> {
        let parent = place.above.map(|above| above.parent.slot);
        let is_above = |slot: u32| {
            parent.is_some_and(|parent| self.chain(parent).any(|(above, _)| above == slot))
        };
        let agent = self.agents.get(place.agent)?;
        let mut oldest = agent.members.behind(0).map(|(_, slot)| slot);
        oldest.find(|slot| !is_above(*slot))
    }
}
