//! Records of the state: what each says, and the members of its JSON (R23, R24).
//!
//! # Members
//!
//! After the seal, each has `format`, `key`, `sequence`, `at` (when it was written), `workspace`,
//! `last-serial` and `last-era` (which no session and no cut-off had passed), `clocks-accepted`
//! (how often an earlier time had been accepted, if ever), and one object for what it is about.
//! Times are in milliseconds since 1970, bytes are hexadecimal.
//!
//! | object | of the key | members |
//! |---|---|---|
//! | `meta` | `meta` | `fingerprint-key` (wrapped) and its `salt`; `events`, which no event has passed; `closed-run`, the run of the events that was closed at `events`, where that was so |
//! | `session` | `session/<id>` | `agent`, `role`, `scopes`, `task-type`, `metadata`, `created-at`, `expires-at`, `lifetime` (seconds), `serial`, `used-at`, `fingerprint`, `handle`, `token-expires-at`, `parent`, `root`, `generation`, `uses-left`, `superseded` (each `fingerprint`, `replaced-by`, `by-host`, `unanswered`), `grace-until`, `grace-until-by-host` (where it is another), `until`, `began` (the epoch in which its create began), `owed` (the revocations that the guard has not confirmed, each `handle`, `expires-at`) |
//! | `ended` | `session/<id>` | `until`, `owed` |
//! | `cut-off` | `cut-off/<epoch>` | `era` (the epoch), `until`, and `agent` or `role` unless it was for everything |
//! | `revocation` | `revocation/<number>` | `handle`, `expires-at`: a token that belongs to no session and is to be revoked; or `done`, when it was |
//!
//! # Formats
//!
//! | format | what came with it |
//! |---|---|
//! | 1 | sessions, their ends, the key of the fingerprints |
//! | 2 | delegation, rotation, uses and kill switches (R25-R33): `parent`, `root`, `generation`, `uses-left`, `superseded`, `grace-until`, `grace-until-by-host`, `until`, `began`, `owed`; records `cut-off` and `revocation`; `workspace`, `last-serial`, `last-era` and `clocks-accepted` in all; `closed-run` in `meta` |
//!
//! A member that a format added has a default in records of earlier formats: a session of format 1
//! is a root with its first token. Unknown members are ignored. A format gets a new number when a
//! component that does not know it would misread its records.

use std::rc::Rc;

use crate::domain::epoch::Epoch;
use crate::domain::error::{Error, RefusedRecord};
use crate::domain::event::Run;
use crate::domain::id::SessionId;
use crate::domain::session::{RevokeFilter, Session};
use crate::domain::state_key::SALT_BYTES;
use crate::domain::superseded::{GraceWindow, SupersededToken};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{Fingerprint, FingerprintKey};

/// The format that is written.
pub(super) const FORMAT: u64 = 2;

/// A record and its position in the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it changed last, counted in changes.
    pub sequence: u64,
    /// What it is about.
    pub key: String,
    /// The record, sealed.
    pub value: String,
    /// From when on it is needed no longer.
    pub forget_at: Option<Timestamp>,
}

/// A part of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// In order of their sequence.
    pub changes: Vec<Change>,
    /// What to read after the next time.
    pub next: u64,
    /// Whether there is more.
    pub more: bool,
    /// The time.
    pub now: Timestamp,
}

/// The members that all records have, besides their keys.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// When it changed last, counted in changes.
    pub sequence: u64,
    /// The time inside when it was written; or, if an earlier time was accepted between its change
    /// and that, the last time before the first such acceptance. The time inside is not before it
    /// (R6), unless an earlier time was accepted since.
    pub at: Timestamp,
    /// How often an earlier time had been accepted by then.
    pub clocks_accepted: u64,
    /// No session had a higher serial number when it was written.
    pub last_serial: u64,
    /// No cut-off had a later epoch when it was written.
    pub last_epoch: Epoch,
}

/// What a record says.
#[derive(Debug)]
pub enum RecordBody {
    /// What belongs to no session.
    Meta(MetaRecord),
    /// A live session.
    Session(Box<SessionRecord>),
    /// A session that has ended.
    Ended(EndedRecord),
    /// The cut-off of a kill switch.
    Cutoff(CutoffRecord),
    /// The pending revocation with this number, of a token that belongs to no session.
    Revocation(u64, UnconfirmedRevocation),
    /// The revocation with this number is pending no longer.
    Revoked(u64),
}

/// What belongs to no session.
#[derive(Debug)]
pub struct MetaRecord {
    /// The key of the fingerprints.
    pub key: Rc<FingerprintKey>,
    /// The salt that it is wrapped with.
    pub salt: [u8; SALT_BYTES],
    /// No event has a higher sequence number.
    pub events: u64,
    /// The run whose last event has that number, if it was closed.
    pub closed_run: Option<Run>,
}

/// A live session.
#[derive(Debug)]
pub struct SessionRecord {
    /// The session.
    pub session: Session,
    /// Its serial number.
    pub serial: u64,
    /// The epoch in which its create began.
    pub created_epoch: Epoch,
    /// In seconds.
    pub lifetime: u64,
    /// When it was last used.
    pub used_at: Timestamp,
    /// The fingerprint of its current token.
    pub fingerprint: Fingerprint,
    /// The guard's handle of its current token.
    pub handle: Rc<str>,
    /// When its current token expires by itself.
    pub token_expires_at: Timestamp,
    /// The tokens before its current one, oldest first.
    pub superseded: Vec<SupersededToken>,
    /// Until when the newest of them can be presented once more, if it can.
    pub grace: Option<GraceWindow>,
    /// Until when an older record of it could restore it.
    pub until: Timestamp,
    /// The revocations of its tokens that the guard has not confirmed.
    pub unconfirmed: Vec<UnconfirmedRevocation>,
}

/// A session that has ended.
#[derive(Debug)]
pub struct EndedRecord {
    /// The session.
    pub id: SessionId,
    /// Until when an older record of it could restore it.
    pub until: Timestamp,
    /// The revocations of its tokens that the guard has not confirmed.
    pub unconfirmed: Vec<UnconfirmedRevocation>,
}

/// The cut-off of a kill switch.
#[derive(Clone, Debug)]
pub struct CutoffRecord {
    /// Which sessions it revokes.
    pub filter: RevokeFilter,
    /// It revokes what began before this epoch.
    pub epoch: Epoch,
    /// Until when a session that it revokes could be restored.
    pub until: Timestamp,
}

/// A token that the guard is still to revoke.
#[derive(Debug)]
pub struct UnconfirmedRevocation {
    /// The guard's handle of it.
    pub handle: Rc<str>,
    /// When it expires by itself.
    pub token_expires_at: Timestamp,
}

impl RecordBody {
    /// Returns the key of the record.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Meta(_) => "meta".into(),
            Self::Session(record) => format!("session/{}", record.session.id),
            Self::Ended(record) => format!("session/{}", record.id),
            Self::Cutoff(record) => format!("cut-off/{}", record.epoch.get()),
            Self::Revocation(number, _) | Self::Revoked(number) => format!("revocation/{number}"),
        }
    }
}

/// An [`Error::RefusedRecord`]. It carries at most 64 printable characters of the record's key.
pub fn refused(key: &str, why: &str) -> Error {
    let key: String = key
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    Error::RefusedRecord(RefusedRecord {
        key,
        reason: why.into(),
    })
}
