//! Reading records that are given back, into types that cannot be wrong. What cannot be in a state is
//! refused by name (R24).

use std::rc::Rc;

use super::current::MAX_OWED;
use super::{Entry, Store, Superseded, TOMBSTONE, pending_size};
use crate::domain::error::Error;
use crate::domain::event::Run;
use crate::domain::id::{AgentId, SessionId};
use crate::domain::scope::Scopes;
use crate::domain::session::{Attributes, Metadata, RevokeFilter, Role, Session, TaskType};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{Fingerprint, FingerprintKey};
use crate::persistence::change_feed::CutoffRecord;
use crate::persistence::hex;
use crate::persistence::json::Object;
use crate::persistence::record::{Change, Header, read_head, refused};
use crate::persistence::seal::{SALT_BYTES, StateKey};
use crate::store::plan::NewToken;
use crate::store::session_index::Epoch;
use crate::store::superseded::{Grace, MAX_REMEMBERED, Remembered};

/// A record that was opened and read, in types that cannot be wrong.
#[derive(Debug)]
pub(super) struct Restored {
    pub sequence: u64,
    /// When it was written.
    pub at: Timestamp,
    /// How often an earlier time had been accepted then.
    pub clocks_accepted: u64,
    /// No session had a higher serial number then.
    pub serial: u64,
    /// No kill switch had come later.
    pub epoch: Epoch,
    /// It is to be given again, in the current format and under the current key.
    pub is_outdated: bool,
    pub what: DecodedBody,
}

/// What a record says.
#[derive(Debug)]
pub(super) enum DecodedBody {
    Meta(Meta),
    Session(Box<Entry>, Vec<UnconfirmedRevocation>),
    Ended(SessionId, Timestamp, Vec<UnconfirmedRevocation>),
    CutOff(CutoffRecord),
    Revocation(u64, UnconfirmedRevocation),
    /// A token that was issued in vain, and is revoked.
    Revoked(u64),
}

/// What belongs to no session.
#[derive(Debug)]
pub(super) struct Meta {
    pub key: Rc<FingerprintKey>,
    pub salt: [u8; SALT_BYTES],
    /// No event has a higher sequence number.
    pub events: u64,
    /// The run whose last event has that number, if it was closed.
    pub closed_run: Option<Run>,
}

/// A token that the guard is still to revoke.
#[derive(Debug)]
pub(super) struct UnconfirmedRevocation {
    pub handle: Rc<str>,
    pub token_expires_at: Timestamp,
}

impl Restored {
    /// What it counts against `max-state-bytes`.
    pub fn size(&self) -> u64 {
        let debts = |debts: &[UnconfirmedRevocation]| {
            let sizes = debts.iter().map(|debt| pending_size(&debt.handle));
            sizes.fold(0, u64::saturating_add)
        };
        match &self.what {
            DecodedBody::Meta(_) => 0,
            DecodedBody::Session(entry, unconfirmed) => {
                entry.size().saturating_add(debts(unconfirmed))
            }
            DecodedBody::Ended(_, _, unconfirmed) => debts(unconfirmed).saturating_add(TOMBSTONE),
            DecodedBody::CutOff(_) | DecodedBody::Revoked(_) => TOMBSTONE,
            DecodedBody::Revocation(_, debt) => pending_size(&debt.handle),
        }
    }
}

impl Store {
    /// Reads what a record says.
    pub(super) fn read(&self, change: &Change) -> Result<Restored, Error> {
        let refuse = |why: &str| refused(&change.key, why);
        let feed = self.feed.as_ref().ok_or(Error::NoStateKey)?;
        let opened = feed.keys.open(&change.value).ok_or_else(|| {
            refuse("is damaged, or not sealed with state-key or one of previous-state-keys")
        })?;
        let record = Object::parse(&opened.object).ok_or_else(|| refuse("is not JSON"))?;
        let head = read_head(change, &record, self.limits.workspace_id)?;
        let what = self.read_body(&head, &record, opened.key);
        let what = what.map_err(|error| refuse(&reason_of(error)))?;
        Ok(Restored {
            sequence: change.sequence,
            at: head.at,
            clocks_accepted: head.clocks_accepted,
            serial: head.serial,
            epoch: head.epoch,
            is_outdated: head.is_old || !opened.is_current,
            what: what.ok_or_else(|| refuse("does not say what its key is about"))?,
        })
    }

    fn read_body(
        &self,
        head: &Header<'_>,
        record: &Object<'_>,
        key: &StateKey,
    ) -> Result<Option<DecodedBody>, Error> {
        let (kind, name) = head.key.split_once('/').unwrap_or((head.key, ""));
        let body = |about| record.object(about);
        Ok(match kind {
            "meta" => body("meta")
                .map(|meta| self.read_meta(meta, key))
                .transpose()?,
            "session" => {
                let id = SessionId::parse("key", name)?;
                if let Some(ended) = body("ended") {
                    Some(DecodedBody::Ended(
                        id,
                        time(ended, "until")?,
                        read_owed(ended)?,
                    ))
                } else if let Some(session) = body("session") {
                    let entry = self.read_session(id, session)?;
                    Some(DecodedBody::Session(Box::new(entry), read_owed(session)?))
                } else {
                    None
                }
            }
            "cut-off" => {
                let switch = body("cut-off").map(read_cut_off).transpose()?;
                switch
                    .filter(|it| it.epoch.to_string() == name)
                    .map(DecodedBody::CutOff)
            }
            "revocation" if body("revocation").is_some_and(|it| it.flag("done")) => {
                name.parse().ok().map(DecodedBody::Revoked)
            }
            "revocation" => {
                let debt = body("revocation").map(read_debt).transpose()?;
                name.parse()
                    .ok()
                    .zip(debt)
                    .map(|(number, debt)| DecodedBody::Revocation(number, debt))
            }
            _ => None,
        })
    }

    fn read_meta(&self, meta: &Object<'_>, key: &StateKey) -> Result<DecodedBody, Error> {
        let wrapped = bytes(meta, "fingerprint-key")?;
        let salt = bytes(meta, "salt")?;
        let secret = key.wrap(&wrapped, &salt);
        let known = self.fingerprint_key.as_ref();
        if known.is_some_and(|(known, _)| *known.secret() != secret) {
            return Err(Error::invalid(
                "fingerprint-key",
                "is that of other sessions",
            ));
        }
        let key = FingerprintKey::from_secret(secret).ok_or(Error::EntropyUnavailable)?;
        Ok(DecodedBody::Meta(Meta {
            key: Rc::new(key),
            salt,
            events: number(meta, "events")?,
            closed_run: meta.number("closed-run").and_then(Run::new),
        }))
    }

    fn read_session(&self, id: SessionId, record: &Object<'_>) -> Result<Entry, Error> {
        let agent_id = AgentId::parse("agent", text(record, "agent")?)?;
        let task_type = record
            .text("task-type")
            .map(|task| TaskType::parse(task.into()));
        let attributes = Attributes {
            role: Role::parse(text(record, "role")?.into())?,
            scopes: Scopes::parse_joined(text(record, "scopes")?)?,
            task_type: task_type.transpose()?,
            metadata: Metadata::parse(text(record, "metadata")?.into())?,
        };
        if !self.agents.can_reserve(&agent_id) || !self.roles.can_reserve(&attributes.role) {
            // Once in some 2^64 pairs; another instance draws another seed.
            return Err(Error::invalid("agent", "has no place in this instance"));
        }
        let session_id = |name| {
            record
                .text(name)
                .map(|id| SessionId::parse(name, id))
                .transpose()
        };
        let (parent, root) = (session_id("parent")?, session_id("root")?);
        if parent.is_some() != root.is_some() || parent == Some(id) {
            return Err(Error::invalid(
                "parent",
                "must be another session, with its root",
            ));
        }
        let uses_left = record.number("uses-left").map(|uses| {
            let uses = u32::try_from(uses).ok().filter(|uses| *uses > 0);
            uses.ok_or_else(|| missing("uses-left"))
        });
        let expires_at = time(record, "expires-at")?;
        let until = record
            .number("until")
            .map_or(expires_at, Timestamp::from_millis);
        let used_at = time(record, "used-at")?;
        let session = Session {
            id,
            agent_id,
            workspace_id: self.limits.workspace_id,
            attributes: Rc::new(attributes),
            created_at: time(record, "created-at")?,
            expires_at,
            parent,
            root: root.unwrap_or(id),
            generation: record.number("generation").unwrap_or_default(),
            uses_left: uses_left.transpose()?,
        };
        let token = NewToken {
            fingerprint: Fingerprint::from_bytes(bytes(record, "fingerprint")?),
            handle: read_handle(record)?,
            expires_at: time(record, "token-expires-at")?,
        };
        let serial = number(record, "serial")?;
        let created_epoch = record.number("began").unwrap_or_default();
        let lifetime = number(record, "lifetime")?;
        let mut entry = Entry::new(session, serial, created_epoch, lifetime, token);
        entry.used_at = used_at;
        entry.recorded_use = used_at;
        entry.superseded = read_superseded(record)?;
        entry.until = until.max(expires_at);
        Ok(entry)
    }
}

fn read_superseded(record: &Object<'_>) -> Result<Superseded, Error> {
    let tokens = record.list("superseded").map(|token| {
        Ok(Remembered {
            fingerprint: Fingerprint::from_bytes(bytes(token, "fingerprint")?),
            replaced_by: number(token, "replaced-by")?,
            by_host: token.flag("by-host"),
            unanswered: token.flag("unanswered"),
        })
    });
    let tokens: Vec<Remembered> = tokens.collect::<Result<_, Error>>()?;
    if tokens.len() > MAX_REMEMBERED {
        return Err(Error::invalid("superseded", "must be at most 8"));
    }
    let time = |name| record.number(name).map(Timestamp::from_millis);
    let grace = time("grace-until").map(|until| Grace {
        until,
        until_by_host: time("grace-until-by-host").unwrap_or(until),
    });
    Ok(Superseded::restored(tokens, grace))
}

fn read_owed(record: &Object<'_>) -> Result<Vec<UnconfirmedRevocation>, Error> {
    let unconfirmed: Vec<UnconfirmedRevocation> = record
        .list("owed")
        .map(read_debt)
        .collect::<Result<_, Error>>()?;
    // One more than a live session can have: its own, when it has ended.
    if unconfirmed.len() > MAX_OWED.saturating_add(1) {
        return Err(Error::invalid("owed", "must be at most 65"));
    }
    Ok(unconfirmed)
}

fn read_debt(record: &Object<'_>) -> Result<UnconfirmedRevocation, Error> {
    Ok(UnconfirmedRevocation {
        handle: read_handle(record)?,
        token_expires_at: time(record, "expires-at")?,
    })
}

fn read_handle(record: &Object<'_>) -> Result<Rc<str>, Error> {
    let handle = text(record, "handle")?;
    if crate::ports::guard::is_handle(handle) {
        return Ok(handle.into());
    }
    Err(Error::invalid("handle", "must have 1 to 512 bytes"))
}

fn read_cut_off(record: &Object<'_>) -> Result<CutoffRecord, Error> {
    let filter = match (record.text("agent"), record.text("role")) {
        (Some(agent), _) => RevokeFilter::Agent(AgentId::parse("agent", agent)?),
        (None, Some(role)) => RevokeFilter::Role(Role::parse(role.into())?),
        (None, None) => RevokeFilter::Everything,
    };
    Ok(CutoffRecord {
        filter,
        epoch: number(record, "era")?,
        until: time(record, "until")?,
    })
}

fn text<'a>(record: &'a Object<'_>, name: &'static str) -> Result<&'a str, Error> {
    record.text(name).ok_or_else(|| missing(name))
}

fn number(record: &Object<'_>, name: &'static str) -> Result<u64, Error> {
    record.number(name).ok_or_else(|| missing(name))
}

fn time(record: &Object<'_>, name: &'static str) -> Result<Timestamp, Error> {
    number(record, name).map(Timestamp::from_millis)
}

fn bytes<const N: usize>(record: &Object<'_>, name: &'static str) -> Result<[u8; N], Error> {
    hex::decode(text(record, name)?).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> Error {
    Error::invalid(name, "is missing or not what it must be")
}

/// What is wrong with a part of a record, for people.
fn reason_of(error: Error) -> String {
    match error {
        Error::InvalidArgument(argument) => format!("{} {}", argument.field, argument.reason),
        _ => "has a part that is not valid".into(),
    }
}
