//! Creating a session: reserve it, wait for the guard, commit it, release the reservation.

use std::rc::Rc;

use crate::domain::error::{Duplicate, Error, Limit};
use crate::domain::event::{Denial, EventKind};
use crate::domain::id::{AgentId, SessionId};
use crate::domain::session::{Attributes, MaxUses, Session};
use crate::domain::timestamp::Timestamp;
use crate::store::budget::reservation_size;
use crate::store::entry::{Entry, NewEntry};
use crate::store::plan::{Ancestry, NewSession, NewToken, Reservation, SessionVersion};
use crate::store::revocations::PendingKey;
use crate::store::state::Store;

/// The result of a create.
#[derive(Debug)]
pub struct Created {
    /// The version of the new session.
    pub expected: SessionVersion,
    /// The session.
    pub session: Session,
    /// The pending revocations of the sessions that were evicted for it (R33).
    pub evicted: Vec<PendingKey>,
}

impl Store {
    /// Returns the parent and its expiry, if it may delegate these scopes (R25).
    ///
    /// # Errors
    /// [`Error::SessionNotFound`] or [`Error::SessionExpired`] if the parent is not live,
    /// [`Error::ScopeDenied`] for the first scope that it lacks, [`Error::LimitReached`] if its
    /// uses are limited or it is at the greatest depth.
    pub fn plan_delegation(
        &mut self,
        parent: SessionId,
        attributes: &Attributes,
        now: Timestamp,
    ) -> Result<(SessionVersion, Timestamp), Error> {
        let expected = self.find(parent, now)?;
        let entry = self.expected(expected)?;
        let session = &entry.session;
        let granted = &session.attributes.scopes;
        let missing = attributes
            .scopes
            .iter()
            .find(|wanted| !granted.cover(wanted));
        // The depth of the child: the ancestry of its parent includes the parent.
        let depth = self.sessions.depth_of(expected.slot);
        let refusal = if let Some(scope) = missing {
            Error::ScopeDenied(scope.into())
        } else if session.uses_left.is_some() {
            Error::LimitReached(Limit::Uses)
        } else if depth > self.limits.max_depth as usize {
            Error::LimitReached(Limit::Depth)
        } else {
            return Ok((expected, session.expires_at));
        };
        self.deny(expected.slot, Denial::Delegation, now);
        Err(refusal)
    }

    /// Reserves a session, so that overlapping creates cannot exceed a limit together (R19) or take
    /// the same id (R16).
    ///
    /// # Errors
    /// [`Error::Collision`] if the id, or the hash of the agent or the role, is taken,
    /// [`Error::LimitReached`] if a limit leaves no capacity.
    pub fn reserve(
        &mut self,
        id: SessionId,
        agent_id: AgentId,
        attributes: &Rc<Attributes>,
        parent: Option<SessionVersion>,
        now: Timestamp,
    ) -> Result<Reservation, Error> {
        if self.sessions.has_id(id) || self.tombstone(id).is_some() {
            return Err(Error::Collision(Duplicate::SessionId));
        }
        self.sessions
            .check_index(&agent_id, &attributes.role)
            .map_err(Error::Collision)?;
        let size = reservation_size(attributes);
        self.free_agent_capacity(agent_id, parent, now)?;
        self.free_capacity(size, now)?;
        let ancestry = match parent {
            Some(parent) => Some(self.reserve_descendant(parent, now)?),
            None => None,
        };

        let (agent, role) = self.sessions.reserve(id, &agent_id, &attributes.role);
        self.budget.add(size);
        Ok(Reservation {
            id,
            agent_id,
            agent,
            role,
            attributes: Rc::clone(attributes),
            ancestry,
            created_epoch: self.epochs.current(),
            size,
        })
    }

    /// Releases a reservation. If no session was created with it, its id and its slot below the
    /// root are free again.
    pub fn release(&mut self, reservation: &Reservation) {
        if self.sessions.release(reservation)
            && let Some(ancestry) = reservation.ancestry
            && let Some(root) = self.sessions.expected_mut(ancestry.root)
        {
            root.descendants = root.descendants.saturating_sub(1);
        }
        self.budget.release(reservation.size);
    }

    /// Creates a session that was reserved. The caller must release the reservation afterwards in
    /// any case.
    ///
    /// # Errors
    /// [`Error::SessionRevoked`] if a kill switch has revoked the create since (R13, R31) or the
    /// parent was revoked (R26), [`Error::SessionExpired`] if the wanted expiry has passed or the
    /// parent has expired, [`Error::LimitReached`] if no session can be evicted for it (R33),
    /// [`Error::Guard`] if the token has expired, [`Error::Collision`] if the token or its handle
    /// is in use (R16).
    pub fn commit_create(
        &mut self,
        reservation: &Reservation,
        new: NewSession,
        token: NewToken,
        now: Timestamp,
    ) -> Result<Created, Error> {
        let created_epoch = reservation.created_epoch;
        if self.epochs.is_revoked(created_epoch) || self.sessions.is_revoked(reservation) {
            return Err(Error::SessionRevoked);
        }
        let mut wanted = new.expires_at;
        let mut ancestors = None;
        if let Some(Ancestry { parent, .. }) = reservation.ancestry {
            let entry = self.check_live(parent, now)?;
            wanted = wanted.min(entry.session.expires_at);
            ancestors = Some((parent.slot, entry.session.id, entry.session.root));
        }
        let expires_at = self.check_token(&token, wanted, now)?;
        let evicted = self.evict(reservation, now)?;

        let session = Session {
            id: reservation.id,
            agent_id: reservation.agent_id,
            workspace_id: self.limits.workspace_id,
            attributes: Rc::clone(&reservation.attributes),
            created_at: new.created_at,
            expires_at,
            parent: ancestors.map(|(_, parent, _)| parent),
            root: ancestors.map_or(reservation.id, |(.., root)| root),
            generation: 0,
            uses_left: new.max_uses.map(MaxUses::get),
        };
        let entry = Entry::from(NewEntry {
            session: session.clone(),
            serial: self.sessions.next_serial(),
            agent: reservation.agent,
            role: reservation.role,
            parent: ancestors.map(|(slot, ..)| slot),
            created_epoch,
            lifetime: new.lifetime,
            used_at: now,
            token,
        });
        let serial = entry.serial;
        let slot = self.insert(entry);
        self.record_session(slot);
        self.totals.created = self.totals.created.saturating_add(1);
        self.events.record(now, &session, EventKind::Created);
        Ok(Created {
            expected: SessionVersion {
                slot,
                serial,
                generation: 0,
            },
            session,
            evicted,
        })
    }
}
