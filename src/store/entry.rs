//! The entry of a session in the store.

use std::rc::Rc;

use crate::collections::list::{Links, List};
use crate::domain::epoch::Epoch;
use crate::domain::event::Denial;
use crate::domain::session::Session;
use crate::domain::superseded::Superseded;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;
use crate::persistence::change_feed::FeedSlot;
use crate::store::budget::session_size;
use crate::store::plan::{NewToken, SessionVersion};
use crate::store::revocations::PendingKey;
use crate::store::slots::{AgentSlot, RoleSlot, SessionSlot};

/// A session, with the data that the store keeps for it.
#[derive(Debug)]
pub struct Entry {
    /// The session. Only its newest token is valid (R14).
    pub session: Session,
    /// The serial number: higher than those of all sessions before. It distinguishes the session
    /// from others that have had its slot.
    pub serial: u64,
    /// The slot of the agent.
    pub agent: AgentSlot,
    /// The slot of the role.
    pub role: RoleSlot,
    /// The epoch in which the create began.
    pub created_epoch: Epoch,
    /// The lifetime in seconds, which each refresh grants again (R5).
    pub lifetime: u64,
    /// When the session was last used (R28).
    pub used_at: Timestamp,
    /// The `used_at` in the session's record.
    pub recorded_use: Timestamp,
    /// The time under which the session is in the expiry index.
    pub indexed_at: Timestamp,
    /// The fingerprint of the current token.
    pub fingerprint: Fingerprint,
    /// The guard's handle of the current token.
    pub handle: Rc<str>,
    /// When the current token expires.
    pub token_expires_at: Timestamp,
    /// Until when the guard's validation of the current token is cached (R34). It is in no record.
    pub cached_until: Timestamp,
    /// The tokens before the current one.
    pub superseded: Superseded,
    /// The unconfirmed revocations of earlier tokens.
    pub unconfirmed: Vec<PendingKey>,
    /// The latest `expires-at` that the session ever had. Until then an older record could restore
    /// it.
    pub latest_end: Timestamp,
    /// The session's record in the feed.
    pub record: Option<FeedSlot>,
    /// The denials that were recorded in the last second.
    pub denials: DenialWindow,
    /// The number of operations in flight that need the error if the session ends.
    pub watchers: u32,
    /// The parent, which does not end before its child (R26).
    pub parent: Option<SessionSlot>,
    /// The children.
    pub children: List<SessionSlot>,
    /// The neighbours among the children of the parent.
    pub siblings: Links<SessionSlot>,
    /// The neighbours among the sessions of the role.
    pub same_role: Links<SessionSlot>,
    /// The neighbours among all sessions.
    pub neighbours: Links<SessionSlot>,
    /// The number of descendants, creates in flight included. It is counted for roots only.
    pub descendants: u32,
    /// A time before which no descendant expires. It is kept for roots only.
    pub descendants_earliest_end: Timestamp,
}

/// The values of an [`Entry`] that are not defaults.
#[derive(Debug)]
pub struct NewEntry {
    /// The session.
    pub session: Session,
    /// The serial number.
    pub serial: u64,
    /// The slot of the agent.
    pub agent: AgentSlot,
    /// The slot of the role.
    pub role: RoleSlot,
    /// The parent.
    pub parent: Option<SessionSlot>,
    /// The epoch in which the create began.
    pub created_epoch: Epoch,
    /// The lifetime in seconds.
    pub lifetime: u64,
    /// When the session was last used.
    pub used_at: Timestamp,
    /// The current token.
    pub token: NewToken,
}

impl From<NewEntry> for Entry {
    /// Returns an entry that is in no index yet.
    fn from(new: NewEntry) -> Self {
        Self {
            serial: new.serial,
            agent: new.agent,
            role: new.role,
            created_epoch: new.created_epoch,
            lifetime: new.lifetime,
            used_at: new.used_at,
            recorded_use: new.used_at,
            indexed_at: Timestamp::default(),
            fingerprint: new.token.fingerprint,
            handle: new.token.handle,
            token_expires_at: new.token.expires_at,
            cached_until: Timestamp::default(),
            superseded: Superseded::default(),
            unconfirmed: Vec::new(),
            latest_end: new.session.expires_at,
            record: None,
            denials: DenialWindow::default(),
            watchers: 0,
            parent: new.parent,
            children: List::default(),
            siblings: Links::NONE,
            same_role: Links::NONE,
            neighbours: Links::NONE,
            descendants: 0,
            descendants_earliest_end: Timestamp::MAX,
            session: new.session,
        }
    }
}

impl Entry {
    /// Returns the bytes that the session counts against `max-state-bytes`.
    #[must_use]
    pub fn size(&self) -> u64 {
        let attributes = &self.session.attributes;
        session_size(attributes, &self.handle, self.superseded.size())
    }

    /// Returns the version of this session, which is in `slot`, with its current token.
    #[must_use]
    pub fn version(&self, slot: SessionSlot) -> SessionVersion {
        SessionVersion {
            slot,
            serial: self.serial,
            generation: self.session.generation,
        }
    }

    /// Returns whether the session has a parent that was not restored.
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        self.parent.is_none() && self.session.parent.is_some()
    }

    /// Returns the links in the list of siblings.
    pub fn siblings(&mut self) -> &mut Links<SessionSlot> {
        &mut self.siblings
    }

    /// Returns the links in the list of the role's sessions.
    pub fn same_role(&mut self) -> &mut Links<SessionSlot> {
        &mut self.same_role
    }

    /// Returns the links in the list of all sessions.
    pub fn neighbours(&mut self) -> &mut Links<SessionSlot> {
        &mut self.neighbours
    }
}

/// The denials of a session that were recorded in the current window. Each reason is recorded once
/// in a window, so that repeated attempts do not fill the events.
#[derive(Debug, Default)]
pub struct DenialWindow {
    /// When the window began: the time of its first denial.
    since: Timestamp,
    /// The recorded reasons, one bit for each.
    recorded: u8,
}

impl DenialWindow {
    /// The length of a window.
    const SECONDS: u64 = 1;

    /// Returns whether this denial must be recorded, and marks it as recorded.
    pub fn admit(&mut self, denial: Denial, now: Timestamp) -> bool {
        if now >= self.since.after_seconds(Self::SECONDS) {
            *self = Self {
                since: now,
                recorded: 0,
            };
        }
        let bit = 1 << denial as u8;
        let is_new = self.recorded & bit == 0;
        self.recorded |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r32_each_reason_is_recorded_once_in_a_window() {
        let at = Timestamp::from_millis;
        let mut window = DenialWindow::default();
        assert!(window.admit(Denial::Scope, at(5_000)));
        assert!(!window.admit(Denial::Scope, at(5_999)));
        assert!(window.admit(Denial::Guard, at(5_999)));
        assert!(window.admit(Denial::Scope, at(6_000)));
    }

    #[test]
    fn r21_an_entry_takes_at_most_400_bytes() {
        assert!(size_of::<Entry>() <= 400, "{}", size_of::<Entry>());
    }
}
