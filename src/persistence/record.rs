//! Records of the state: what each says, and its JSON (R23, R24).
//!
//! # Members
//!
//! After the seal, each has `format`, `key`, `sequence`, `at` (when it was written), `workspace`,
//! `last-serial` and `last-epoch` (which no session and no kill switch had passed), `clocks-accepted`
//! (how often an earlier time had been accepted, if ever), and one object for what it is about.
//! Times are in milliseconds since 1970, bytes are hexadecimal.
//!
//! | object | of the key | members |
//! |---|---|---|
//! | `meta` | `meta` | `fingerprint-key` (wrapped) and its `salt`; `events`, which no event has passed; `closed-run`, the run of the events that was closed at `events`, where that was so |
//! | `session` | `session/<id>` | `agent`, `role`, `scopes`, `task-type`, `metadata`, `created-at`, `expires-at`, `lifetime` (seconds), `serial`, `used-at`, `fingerprint`, `handle`, `token-expires-at`, `parent`, `root`, `generation`, `uses-left`, `superseded` (each `fingerprint`, `replaced-by`, `by-host`, `unanswered`), `grace-until`, `grace-until-by-host` (where it is another), `until`, `created_epoch`, `unconfirmed` (each `handle`, `expires-at`) |
//! | `ended` | `session/<id>` | `until`, `unconfirmed` |
//! | `cut-off` | `cut-off/<epoch>` | `epoch`, `until`, and `agent` or `role` unless it was for everything |
//! | `revocation` | `revocation/<number>` | `handle`, `expires-at`: a token that was issued in vain; or `done`, when it was revoked |
//!
//! # Formats
//!
//! | format | what came with it |
//! |---|---|
//! | 1 | sessions, their ends, the key of the fingerprints |
//! | 2 | delegation, rotation, uses and kill switches (R25-R33): `parent`, `root`, `generation`, `uses-left`, `superseded`, `grace-until`, `grace-until-by-host`, `until`, `created_epoch`, `unconfirmed`; records `cut-off` and `revocation`; `workspace`, `last-serial`, `last-epoch` and `clocks-accepted` in all; `closed-run` in `meta` |
//!
//! A member that a format added has, in records of those before it, the value that the state had when
//! there was no such thing: a session of format 1 is at the top, with its first token. Members that
//! are not known are passed over. A format gets a new number when a component that does not know it
//! would take its records for something else than they say.

use crate::domain::error::Error;
use crate::domain::id::WorkspaceId;
use crate::domain::timestamp::Timestamp;
use crate::persistence::json::{Object, Writer};
use crate::persistence::seal::StateKeys;
use crate::store::session_index::Epoch;

/// The format that is written.
const FORMAT: u64 = 2;

/// A record and its place in the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it changed last, counted in changes.
    pub sequence: u64,
    /// What it is about.
    pub key: String,
    /// The record, sealed.
    pub value: String,
    /// From when on it is of no use.
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

/// The members that all records have.
#[derive(Debug)]
pub struct Header<'a> {
    /// Whether it is of an older format than the one that is written.
    pub is_old: bool,
    /// The time inside when it was written; or, if an earlier time was accepted between its change and
    /// that, the last time before the first such acceptance. The time inside is not before it (R6),
    /// but where an earlier time was accepted since.
    pub at: Timestamp,
    /// How often an earlier time had been accepted by then.
    pub clocks_accepted: u64,
    /// The key of the record.
    pub key: &'a str,
    /// No session had a higher serial number when it was written.
    pub serial: u64,
    /// No kill switch had come later.
    pub epoch: Epoch,
}

/// What all records are written with.
#[derive(Debug)]
pub struct HeaderOf<'a> {
    /// What it is about.
    pub key: &'a str,
    /// When it changed last.
    pub sequence: u64,
    /// When it is written.
    pub at: Timestamp,
    /// How often an earlier time was accepted.
    pub clocks_accepted: u64,
    /// Whose instance it is of.
    pub workspace: WorkspaceId,
    /// The serial number of the newest session.
    pub serial: u64,
    /// How many kill switches there were.
    pub epoch: Epoch,
}

/// Writes a record: its head, and a body under the name of what it is about.
#[must_use]
pub fn write(keys: &StateKeys, head: &HeaderOf<'_>, (about, body): (&str, Writer)) -> String {
    let mut record = Writer::new();
    record.number("format", FORMAT);
    record.text("key", head.key);
    record.number("sequence", head.sequence);
    record.number("at", head.at.as_millis());
    if head.clocks_accepted > 0 {
        record.number("clocks-accepted", head.clocks_accepted);
    }
    record.text("workspace", &head.workspace.to_string());
    record.number("last-serial", head.serial);
    record.number("last-era", head.epoch);
    record.object(about, body);
    keys.seal(&record.finish())
}

/// Reads the head of a record whose seal was found good.
///
/// # Errors
/// [`Error::RefusedRecord`] when it is not the one of its key and sequence number, or is of a format
/// that is not known.
pub fn read_head<'a>(
    change: &'a Change,
    record: &'a Object<'a>,
    workspace: WorkspaceId,
) -> Result<Header<'a>, Error> {
    let refuse = |why: &str| refused(&change.key, why);
    let format = record.number("format").unwrap_or_default();
    if !(1..=FORMAT).contains(&format) {
        let why = format!("is of format {format}, and this component reads 1 to {FORMAT}");
        return Err(refuse(&why));
    }
    let key = record.text("key").unwrap_or_default();
    let sequence = record.number("sequence").unwrap_or_default();
    if key != change.key || sequence != change.sequence {
        return Err(refuse(&format!(
            "is the one of {key} with sequence {sequence}"
        )));
    }
    // Format 1 had it in its sessions only.
    let session = record.object("session");
    let said = record.text("workspace");
    let said = said.or_else(|| session?.text("workspace"));
    let is_ours = said.map_or(format == 1, |said| said == workspace.to_string());
    if !is_ours {
        return Err(refuse("is of another workspace"));
    }
    let at = record.number("at").map(Timestamp::from_millis);
    Ok(Header {
        is_old: format < FORMAT,
        at: at.ok_or_else(|| refuse("says no time"))?,
        clocks_accepted: record.number("clocks-accepted").unwrap_or_default(),
        key,
        serial: record.number("last-serial").unwrap_or_default(),
        epoch: record.number("last-era").unwrap_or_default(),
    })
}

/// An [`Error::RefusedRecord`]. The record's key is told as far as it can be one.
pub fn refused(key: &str, why: &str) -> Error {
    let key: String = key
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    Error::RefusedRecord(format!("{key}: {why}"))
}
