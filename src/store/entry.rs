//! What is kept of a session.

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

/// A session and what the store keeps of it.
#[derive(Debug)]
pub struct Entry {
    /// Its generation counts the tokens that the session has had. Only the newest is valid (R14).
    pub session: Session,
    /// Distinguishes the session from every other that was ever in its slot; rises with each
    /// session.
    pub serial: u64,
    /// The agent's slot.
    pub agent: AgentSlot,
    /// The role's slot.
    pub role: RoleSlot,
    /// The epoch in which its create began.
    pub created_epoch: Epoch,
    /// In seconds; each refresh grants it again (R5).
    pub lifetime: u64,
    /// When it was last used (R28).
    pub used_at: Timestamp,
    /// When it was last used according to its record.
    pub recorded_use: Timestamp,
    /// Under which time it is in the expiry index.
    pub indexed_at: Timestamp,
    /// The fingerprint of its current token.
    pub fingerprint: Fingerprint,
    /// The guard's handle of its current token.
    pub handle: Rc<str>,
    /// When its current token expires by itself.
    pub token_expires_at: Timestamp,
    /// Until when the guard's validation of its token is cached (R34). It is in no record.
    pub cached_until: Timestamp,
    /// The tokens before its current one.
    pub superseded: Superseded,
    /// The tokens that it had whose revocation the guard has not confirmed.
    pub unconfirmed: Vec<PendingKey>,
    /// The latest end that it ever had. An older record of it could restore it until then.
    pub latest_end: Timestamp,
    /// Its record in the feed.
    pub record: Option<FeedSlot>,
    /// Which denials were recorded lately.
    pub denials: DenialWindow,
    /// How many operations in flight want to know how it ends.
    pub watchers: u32,
    /// The session that it was delegated from, which lives as long as it does (R26).
    pub parent: Option<SessionSlot>,
    /// The sessions that were delegated from it.
    pub children: List<SessionSlot>,
    /// Its neighbours among the children of its parent.
    pub siblings: Links<SessionSlot>,
    /// Its neighbours among the sessions of its role.
    pub same_role: Links<SessionSlot>,
    /// How many descendants it has, creates in flight included. Counted for roots only.
    pub descendants: u32,
    /// None of its descendants ends before this. Kept for roots only.
    pub descendants_end_from: Timestamp,
}

/// What an [`Entry`] is made of.
#[derive(Debug)]
pub struct NewEntry {
    /// The session.
    pub session: Session,
    /// Its serial number.
    pub serial: u64,
    /// The agent's slot.
    pub agent: AgentSlot,
    /// The role's slot.
    pub role: RoleSlot,
    /// The session that it was delegated from.
    pub parent: Option<SessionSlot>,
    /// The epoch in which its create began.
    pub created_epoch: Epoch,
    /// In seconds.
    pub lifetime: u64,
    /// When it was last used.
    pub used_at: Timestamp,
    /// Its token.
    pub token: NewToken,
}

impl From<NewEntry> for Entry {
    /// Returns a session that is in no index yet.
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
            descendants: 0,
            descendants_end_from: Timestamp::MAX,
            session: new.session,
        }
    }
}

impl Entry {
    /// Returns what it counts against `max-state-bytes`.
    #[must_use]
    pub fn size(&self) -> u64 {
        let attributes = &self.session.attributes;
        session_size(attributes, &self.handle, self.superseded.size())
    }

    /// Returns the session in `slot` at its current token, as an operation in flight expects it.
    #[must_use]
    pub fn version(&self, slot: SessionSlot) -> SessionVersion {
        SessionVersion {
            slot,
            serial: self.serial,
            generation: self.session.generation,
        }
    }

    /// Returns whether it was delegated from a session that is not there: one that was not
    /// restored with it.
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        self.parent.is_none() && self.session.parent.is_some()
    }

    /// Returns its links among its siblings.
    pub fn siblings(&mut self) -> &mut Links<SessionSlot> {
        &mut self.siblings
    }

    /// Returns its links among the sessions of its role.
    pub fn same_role(&mut self) -> &mut Links<SessionSlot> {
        &mut self.same_role
    }
}

/// Which denials of a session were recorded in the last window, so that repeated attempts do not
/// fill the events.
#[derive(Debug, Default)]
pub struct DenialWindow {
    /// When the first of them was, which began the window.
    since: Timestamp,
    /// A bit for each reason.
    recorded: u8,
}

impl DenialWindow {
    /// How long a window is. Each reason is recorded once in it.
    const SECONDS: u64 = 1;

    /// Returns whether this denial is to be recorded, and counts it as recorded.
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

    /// There can be millions of sessions.
    #[test]
    fn r21_what_is_kept_of_a_session_stays_small() {
        assert!(size_of::<Entry>() <= 392, "{}", size_of::<Entry>());
    }
}
