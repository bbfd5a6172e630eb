//! The records of the state and the members of their JSON (R23, R24).
//!
//! Times are in milliseconds since 1970, and bytes are hexadecimal. A member without a value, an
//! empty list and a flag that is false are omitted.
//!
//! # Members of every record
//!
//! | member | value |
//! |---|---|
//! | `seal` | the seal of all other members |
//! | `format` | the format |
//! | `key`, `sequence` | the key of the record and the sequence number of its last change |
//! | `at` | the time inside when the record was written |
//! | `clocks-accepted` | how often an earlier time had been accepted, if ever |
//! | `workspace` | the workspace of the instance |
//! | `last-serial` | the highest serial number of a session so far |
//! | `last-era` | the latest epoch so far |
//!
//! Besides these, each record has one object. Its name depends on the subject of the record.
//!
//! # `meta`, with the key `meta`
//!
//! | member | value |
//! |---|---|
//! | `fingerprint-key`, `salt` | the key of the fingerprints, wrapped, and the salt |
//! | `events` | a sequence number that no event has exceeded |
//! | `closed-run` | the run of events that was closed at `events`, if it was |
//!
//! # `session`, with the key `session/<id>`
//!
//! | member | value |
//! |---|---|
//! | `agent`, `role`, `scopes`, `task-type`, `metadata` | those of the request |
//! | `created-at`, `expires-at` | those of the session |
//! | `parent`, `root` | the ids of both, for a session that was delegated |
//! | `generation`, `uses-left` | those of the session |
//! | `lifetime` | the lifetime in seconds, which each refresh grants again |
//! | `serial` | the serial number |
//! | `used-at` | when the session was last used |
//! | `fingerprint`, `handle`, `token-expires-at` | those of the current token |
//! | `superseded` | earlier tokens: each `fingerprint`, `replaced-by`, and the flags below |
//! | `grace-until`, `grace-until-by-host` | the grace of the newest; the second if it differs |
//! | `until` | until when an older record could restore the session |
//! | `began` | the epoch in which the create began |
//! | `owed` | the unconfirmed revocations: each `handle`, `expires-at` |
//!
//! The flags of a superseded token: `by-host` if a refresh replaced it, `by-retry` if a rotation
//! with the token before it did, `unanswered` if that call has not returned.
//!
//! # `ended`, with the key `session/<id>`
//!
//! `until` and `owed`, as in `session`.
//!
//! # `cut-off`, with the key `cut-off/<epoch>`
//!
//! | member | value |
//! |---|---|
//! | `era` | the epoch |
//! | `agent`, `role` | the one that the cut-off is for; neither if it is for everything |
//! | `until` | until when an older record could restore a session that it revokes |
//!
//! # `revocation`, with the key `revocation/<number>`
//!
//! The revocation of a token without a session: `handle` and `expires-at` while it is pending, and
//! only the flag `done` when it is not.
//!
//! # Formats
//!
//! - Format 1 has sessions, their ends and the key of the fingerprints.
//! - Format 2 adds delegation, rotation, uses and kill switches (R25-R33). New are the records
//!   `cut-off` and `revocation`; in every record `workspace`, `last-serial`, `last-era` and
//!   `clocks-accepted`; in `meta` `closed-run`; in `session` `parent`, `root`, `generation`,
//!   `uses-left`, `superseded`, `grace-until`, `grace-until-by-host`, `until`, `began` and `owed`.
//!
//! A member that a format adds has a default in records of earlier formats: a session of format 1
//! is a root with its first token. Unknown members are ignored. A new format number is needed if an
//! older component would misread the records.

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
    /// The sequence number of the record's last change.
    pub sequence: u64,
    /// The key of the record.
    pub key: String,
    /// The sealed record.
    pub value: String,
    /// From when the record is not needed; `None` if it is always needed.
    pub forget_at: Option<Timestamp>,
}

/// A part of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// The records in the order of their sequence numbers.
    pub changes: Vec<Change>,
    /// The `since` of the next page.
    pub next: u64,
    /// Whether more records have changed.
    pub more: bool,
    /// The time inside.
    pub now: Timestamp,
}

/// The members that all records have, besides their keys.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// The sequence number of the record's last change.
    pub sequence: u64,
    /// The time inside when the record was written. If an earlier time was accepted between the
    /// record's change and then, it is the time before the first such acceptance. A restored time
    /// inside is not earlier (R6), unless an earlier time was accepted since.
    pub at: Timestamp,
    /// How often an earlier time had been accepted at that time.
    pub clocks_accepted: u64,
    /// The highest serial number of a session when the record was written.
    pub last_serial: u64,
    /// The latest epoch when the record was written.
    pub last_epoch: Epoch,
}

/// The content of a record.
#[derive(Debug)]
pub enum RecordBody {
    /// The key of the fingerprints and the run of events.
    Meta(MetaRecord),
    /// A session.
    Session(Box<SessionRecord>),
    /// A session that has ended.
    Ended(EndedRecord),
    /// The cut-off of a kill switch.
    Cutoff(CutoffRecord),
    /// The pending revocation with this number, of a token without a session.
    Revocation(u64, UnconfirmedRevocation),
    /// The revocation with this number, which is no longer pending.
    Revoked(u64),
}

/// The record of what does not belong to one session.
#[derive(Debug)]
pub struct MetaRecord {
    /// The key of the fingerprints.
    pub key: Rc<FingerprintKey>,
    /// The salt that the key is wrapped with.
    pub salt: [u8; SALT_BYTES],
    /// A sequence number that no event has exceeded.
    pub events: u64,
    /// The closed run, if there is one. The number of its last event is `events`.
    pub closed_run: Option<Run>,
}

/// The record of a session.
#[derive(Debug)]
pub struct SessionRecord {
    /// The session.
    pub session: Session,
    /// The serial number.
    pub serial: u64,
    /// The epoch in which the create began.
    pub created_epoch: Epoch,
    /// The lifetime in seconds.
    pub lifetime: u64,
    /// When the session was last used.
    pub used_at: Timestamp,
    /// The fingerprint of the current token.
    pub fingerprint: Fingerprint,
    /// The guard's handle of the current token.
    pub handle: Rc<str>,
    /// When the current token expires.
    pub token_expires_at: Timestamp,
    /// The tokens before the current one, oldest first.
    pub superseded: Vec<SupersededToken>,
    /// The grace of the newest superseded token, if it has one.
    pub grace: Option<GraceWindow>,
    /// Until when an older record could restore the session.
    pub until: Timestamp,
    /// The unconfirmed revocations of earlier tokens.
    pub unconfirmed: Vec<UnconfirmedRevocation>,
}

/// The record of a session that has ended.
#[derive(Debug)]
pub struct EndedRecord {
    /// The id of the session.
    pub id: SessionId,
    /// Until when an older record could restore the session.
    pub until: Timestamp,
    /// The unconfirmed revocations of its tokens.
    pub unconfirmed: Vec<UnconfirmedRevocation>,
}

/// The record of the cut-off of a kill switch.
#[derive(Clone, Debug)]
pub struct CutoffRecord {
    /// The sessions that the cut-off revokes.
    pub filter: RevokeFilter,
    /// The epoch that the cut-off began. It revokes sessions and creates of earlier epochs.
    pub epoch: Epoch,
    /// Until when an older record could restore a session that it revokes.
    pub until: Timestamp,
}

/// A token whose revocation the guard has not confirmed.
#[derive(Debug)]
pub struct UnconfirmedRevocation {
    /// The guard's handle of the token.
    pub handle: Rc<str>,
    /// When the token expires.
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

/// Returns an [`Error::RefusedRecord`] with at most 64 visible characters of the record's key.
pub fn refused(key: &str, why: &str) -> Error {
    let key: String = key
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    let reason = why.into();
    Error::RefusedRecord(Box::new(RefusedRecord { key, reason }))
}
