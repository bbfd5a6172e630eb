//! Making a session: reserve a place, wait for the guard, commit, release.

use std::hash::BuildHasher;

use super::{Entry, RESERVE, RESERVED, Store};
use crate::agents::Agent;
use crate::clock::Timestamp;
use crate::error::{Duplicate, Error, Limit};
use crate::events::EventKind;
use crate::id::{AgentId, SessionId};
use crate::session::{Attributes, Session};
use crate::ticket::{Draft, NewToken, Reservation};

/// How many of an agent's sessions one create ends at most, when their time is over and it needs a
/// place (R20).
const MAX_LAPSED: usize = 1_000;

/// How much that is over by time one call ends at most to make room (R20).
const MAX_MADE_ROOM: u32 = 10_000;

impl Store {
    /// Keeps a place for a session, so that creates which overlap cannot pass a bound together
    /// (R19) or take the same id (R16).
    ///
    /// # Errors
    /// [`Error::Collision`], [`Error::LimitReached`].
    pub fn reserve(
        &mut self,
        id: SessionId,
        agent_id: AgentId,
        attributes: &Attributes,
        now: Timestamp,
    ) -> Result<Reservation, Error> {
        let key = self.seed.hash_one(id);
        if self.by_id.contains(key) {
            return Err(Error::Collision(Duplicate::SessionId));
        }
        let size = RESERVE.saturating_add(attributes.size());
        self.make_room_for_agent(agent_id, now)?;
        self.make_room(size, now)?;

        let epoch = self
            .agents
            .reserve(agent_id)
            .ok_or(Error::Collision(Duplicate::SessionId))?;
        self.by_id.insert(key, RESERVED);
        self.reserved = self.reserved.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        Ok(Reservation {
            id,
            agent_id,
            epoch,
            size,
        })
    }

    /// Gives a reserved place up.
    pub fn release(&mut self, reservation: &Reservation) {
        let key = self.seed.hash_one(reservation.id);
        if self.by_id.get(key) == Some(&RESERVED) {
            self.by_id.remove(key);
        }
        self.reserved = self.reserved.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(reservation.size);
        self.agents.release(reservation.agent_id);
    }

    /// Makes a session in a reserved place, which is to be released afterwards in any case.
    ///
    /// # Errors
    /// [`Error::SessionRevoked`] when the agent was cut off since (R13), [`Error::Guard`] for a
    /// token whose time is over, [`Error::Collision`] for one that is not new (R16).
    pub fn commit_create(
        &mut self,
        reservation: &Reservation,
        draft: Draft,
        token: NewToken,
        now: Timestamp,
    ) -> Result<Session, Error> {
        let epoch = self.agents.get(reservation.agent_id).map(Agent::epoch);
        if epoch != Some(reservation.epoch) {
            return Err(Error::SessionRevoked);
        }
        let expires_at = self.check_token(&token, draft.expires_at, now)?;
        let session = Session {
            id: reservation.id,
            agent_id: reservation.agent_id,
            workspace_id: self.limits.workspace_id,
            attributes: draft.attributes,
            created_at: draft.created_at,
            expires_at,
        };
        self.serial = self.serial.saturating_add(1);
        let entry = Entry {
            session: session.clone(),
            serial: self.serial,
            generation: 0,
            lifetime: draft.lifetime,
            fingerprint: token.fingerprint.clone(),
            handle: token.handle.clone(),
            token_expires_at: token.expires_at,
            watchers: 0,
        };
        self.bytes = self.bytes.saturating_add(entry.size());
        let slot = self.sessions.insert(entry);
        self.by_id.insert(self.seed.hash_one(session.id), slot);
        self.by_fingerprint.insert(token.fingerprint.key(), slot);
        self.handles.insert(self.seed.hash_one(token.handle), ());
        self.expiry.insert((session.expires_at, slot));
        self.agents
            .add(session.agent_id, self.serial, slot, session.expires_at);
        self.totals.created = self.totals.created.saturating_add(1);
        self.events
            .record(now, session.id, session.agent_id, EventKind::Created);
        Ok(session)
    }

    /// What is over by time holds no place: as much of it is ended as a new session needs.
    fn make_room(&mut self, size: u64, now: Timestamp) -> Result<(), Error> {
        let max = self.limits.max_sessions as usize;
        while self.sessions.len().saturating_add(self.reserved) >= max {
            if !self.lapse_first(now) {
                return Err(Error::LimitReached(Limit::Sessions));
            }
        }
        self.make_room_for_bytes(size, now)
    }

    /// Keeps room for what a refresh leaves behind until the guard confirms it: the revocation of a
    /// token. Goes with [`Store::give_back`].
    ///
    /// # Errors
    /// [`Error::LimitReached`].
    pub fn set_aside(&mut self, now: Timestamp) -> Result<(), Error> {
        self.make_room_for_bytes(RESERVE, now)?;
        self.bytes = self.bytes.saturating_add(RESERVE);
        Ok(())
    }

    /// Gives up what was set aside.
    pub fn give_back(&mut self) {
        self.bytes = self.bytes.saturating_sub(RESERVE);
    }

    fn make_room_for_bytes(&mut self, size: u64, now: Timestamp) -> Result<(), Error> {
        for _ in 0..MAX_MADE_ROOM {
            if self.bytes.saturating_add(size) <= self.limits.max_state_bytes {
                return Ok(());
            }
            if !self.drop_expired_revocation(now) && !self.lapse_first(now) {
                break;
            }
        }
        Err(Error::LimitReached(Limit::StateBytes))
    }

    fn make_room_for_agent(&mut self, agent_id: AgentId, now: Timestamp) -> Result<(), Error> {
        let max = self.limits.max_sessions_per_agent as usize;
        let full = Error::LimitReached(Limit::SessionsPerAgent);
        let Some(agent) = self.agents.get(agent_id).filter(|it| it.places() >= max) else {
            return Ok(());
        };
        if !agent.may_be_due(now) {
            return Err(full);
        }
        let sessions = &self.sessions;
        let expiry_of = |slot| sessions.get(slot).map(|entry| entry.session.expires_at);
        let due = self.agents.take_due(agent_id, MAX_LAPSED, now, expiry_of);
        if due.is_empty() {
            return Err(full);
        }
        for slot in due {
            self.lapse(slot, now);
        }
        Ok(())
    }
}
