//! Decoding records into values that are within their bounds. A record with any other value is
//! refused (R24).

use std::rc::Rc;

use crate::domain::epoch::Epoch;
use crate::domain::error::Error;
use crate::domain::event::Run;
use crate::domain::id::{AgentId, SessionId, WorkspaceId};
use crate::domain::scope::Scopes;
use crate::domain::session::{Attributes, Metadata, RevokeFilter, Role, Session, TaskType};
use crate::domain::state_key::{StateKey, StateKeys};
use crate::domain::superseded::{GraceWindow, MAX_SUPERSEDED, Renewal, Reply, SupersededToken};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{Fingerprint, FingerprintKey, is_handle};
use crate::persistence::hex;
use crate::persistence::json::Object;
use crate::persistence::record::{
    Change, CutoffRecord, EndedRecord, FORMAT, Header, MetaRecord, RecordBody, SessionRecord,
    UnconfirmedRevocation, refused,
};

/// The maximum number of unconfirmed revocations of a session, which bounds the size of its record.
pub const MAX_UNCONFIRMED: usize = 64;

/// A record that was opened and decoded.
#[derive(Debug)]
pub struct DecodedRecord {
    /// The members that all records have.
    pub header: Header,
    /// Whether the record must be written again, in the current format and under the current key.
    pub is_outdated: bool,
    /// The content of the record.
    pub body: RecordBody,
}

/// Decodes a record of an instance of this workspace.
///
/// # Errors
/// [`Error::RefusedRecord`] with the fault of the record.
pub fn decode(
    change: &Change,
    keys: &StateKeys,
    workspace: WorkspaceId,
) -> Result<DecodedRecord, Error> {
    let refuse = |why: &str| refused(&change.key, why);
    let opened = keys.open(&change.value).ok_or_else(|| {
        refuse(
            "it is damaged, or sealed with a key that is neither state-key nor one of \
             previous-state-keys",
        )
    })?;
    let record = Object::parse(&opened.object).ok_or_else(|| refuse("it is not JSON"))?;
    let (format, header) = read_header(change, &record, workspace)?;
    let body = read_body(change, &record, opened.key, workspace);
    let body = body.map_err(|error| refuse(&reason_of(error)))?;
    Ok(DecodedRecord {
        header,
        is_outdated: format < FORMAT || !opened.is_current,
        body: body.ok_or_else(|| refuse("it has no object that fits its key"))?,
    })
}

/// Returns the format and the header of a record whose seal was verified.
///
/// # Errors
/// [`Error::RefusedRecord`] if the format is not known, or if the key, the sequence number or the
/// workspace is another one.
fn read_header(
    change: &Change,
    record: &Object<'_>,
    workspace: WorkspaceId,
) -> Result<(u64, Header), Error> {
    let refuse = |why: &str| refused(&change.key, why);
    let format = record.number("format").unwrap_or_default();
    if !(1..=FORMAT).contains(&format) {
        let why = format!("it has format {format}; this component reads formats 1 to {FORMAT}");
        return Err(refuse(&why));
    }
    let key = record.text("key").unwrap_or_default();
    let sequence = record.count("sequence").unwrap_or_default();
    // Sequence numbers begin with 1.
    if key != change.key || sequence != change.sequence || sequence == 0 {
        return Err(refuse(&format!(
            "it is the record of key {key} and sequence {sequence}"
        )));
    }
    // In format 1 only the object of a session has the workspace.
    let workspace = String::from(workspace);
    let has_workspace = |object: &Object<'_>| Some(object.text("workspace")? == workspace);
    let is_same = has_workspace(record).or_else(|| has_workspace(&record.object("session")?));
    if !is_same.unwrap_or(format == 1) {
        return Err(refuse("it belongs to another workspace"));
    }
    let at = record.count("at").map(Timestamp::from_millis);
    let header = Header {
        sequence,
        at: at.ok_or_else(|| refuse("it has no time"))?,
        clocks_accepted: record.count("clocks-accepted").unwrap_or_default(),
        last_serial: record.count("last-serial").unwrap_or_default(),
        last_epoch: Epoch::new(record.count("last-era").unwrap_or_default()),
    };
    Ok((format, header))
}

/// Returns the content of a record, or `None` if the record has no object that fits its key.
fn read_body(
    change: &Change,
    record: &Object<'_>,
    sealed_with: &StateKey,
    workspace: WorkspaceId,
) -> Result<Option<RecordBody>, Error> {
    let key = change.key.as_str();
    let (kind, name) = key.split_once('/').unwrap_or((key, ""));
    if kind == "session" {
        let id = SessionId::parse("key", name)?;
        return Ok(if let Some(ended) = record.object("ended") {
            Some(RecordBody::Ended(read_ended(id, &ended)?))
        } else if let Some(session) = record.object("session") {
            let session = read_session(id, &session, workspace)?;
            Some(RecordBody::Session(Box::new(session)))
        } else {
            None
        });
    }
    // The object of the other kinds has the name of the kind.
    let Some(object) = record.object(kind) else {
        return Ok(None);
    };
    // The number of a revocation is that of its first change.
    let number = name.parse().ok().filter(|it| *it <= change.sequence);
    Ok(match kind {
        "meta" => Some(RecordBody::Meta(read_meta(&object, sealed_with)?)),
        "cut-off" => {
            let cutoff = read_cutoff(&object)?;
            (cutoff.epoch.get().to_string() == name).then_some(RecordBody::Cutoff(cutoff))
        }
        "revocation" if object.flag("done") => number.map(RecordBody::Revoked),
        "revocation" => {
            let revocation = read_revocation(&object)?;
            number.map(|number| RecordBody::Revocation(number, revocation))
        }
        _ => None,
    })
}

fn read_meta(meta: &Object<'_>, sealed_with: &StateKey) -> Result<MetaRecord, Error> {
    let wrapped = bytes(meta, "fingerprint-key")?;
    let salt = bytes(meta, "salt")?;
    let secret = sealed_with.wrap(&wrapped, &salt);
    let key = FingerprintKey::from_secret(secret).ok_or(Error::EntropyUnavailable)?;
    Ok(MetaRecord {
        key: Rc::new(key),
        salt,
        events: count(meta, "events")?,
        closed_run: meta.number("closed-run").and_then(Run::new),
    })
}

fn read_session(
    id: SessionId,
    record: &Object<'_>,
    workspace_id: WorkspaceId,
) -> Result<SessionRecord, Error> {
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
            "must be another session, and its root must be given",
        ));
    }
    let uses_left = record.count("uses-left").map(|uses| {
        let uses = u32::try_from(uses).ok().filter(|uses| *uses > 0);
        uses.ok_or_else(|| missing("uses-left"))
    });
    let expires_at = time(record, "expires-at")?;
    let until = record
        .count("until")
        .map_or(expires_at, Timestamp::from_millis);
    let used_at = time(record, "used-at")?;
    let session = Session {
        id,
        agent_id,
        workspace_id,
        attributes: Rc::new(attributes),
        created_at: time(record, "created-at")?,
        expires_at,
        parent,
        root: root.unwrap_or(id),
        generation: record.count("generation").unwrap_or_default(),
        uses_left: uses_left.transpose()?,
    };
    Ok(SessionRecord {
        session,
        // Serial numbers begin with 1.
        serial: record
            .count("serial")
            .filter(|serial| *serial > 0)
            .ok_or_else(|| missing("serial"))?,
        created_epoch: Epoch::new(record.count("began").unwrap_or_default()),
        lifetime: count(record, "lifetime")?,
        used_at,
        fingerprint: Fingerprint::from_bytes(bytes(record, "fingerprint")?),
        handle: read_handle(record)?,
        token_expires_at: time(record, "token-expires-at")?,
        superseded: read_superseded(record)?,
        grace: read_grace(record),
        until: until.max(expires_at),
        unconfirmed: read_unconfirmed(record)?,
    })
}

fn read_superseded(record: &Object<'_>) -> Result<Vec<SupersededToken>, Error> {
    let mut tokens = Vec::new();
    for token in record.list("superseded") {
        tokens.push(SupersededToken {
            fingerprint: Fingerprint::from_bytes(bytes(&token, "fingerprint")?),
            replaced_by: count(&token, "replaced-by")?,
            renewal: if token.flag("by-host") {
                Renewal::Refresh
            } else if token.flag("by-retry") {
                Renewal::Retry
            } else {
                Renewal::Rotation
            },
            reply: if token.flag("unanswered") {
                Reply::Lost
            } else {
                Reply::Ended
            },
        });
    }
    if tokens.len() > MAX_SUPERSEDED {
        return Err(Error::invalid("superseded", "must be at most 8"));
    }
    Ok(tokens)
}

fn read_grace(record: &Object<'_>) -> Option<GraceWindow> {
    let time = |name| record.count(name).map(Timestamp::from_millis);
    time("grace-until").map(|until| GraceWindow {
        until,
        until_by_host: time("grace-until-by-host").unwrap_or(until),
    })
}

fn read_ended(id: SessionId, record: &Object<'_>) -> Result<EndedRecord, Error> {
    Ok(EndedRecord {
        id,
        until: time(record, "until")?,
        unconfirmed: read_unconfirmed(record)?,
    })
}

fn read_unconfirmed(record: &Object<'_>) -> Result<Vec<UnconfirmedRevocation>, Error> {
    let mut revocations = Vec::new();
    for revocation in record.list("owed") {
        revocations.push(read_revocation(&revocation)?);
    }
    // An ended session can have one more than a live one: that of its last token.
    if revocations.len() > MAX_UNCONFIRMED.saturating_add(1) {
        return Err(Error::invalid("owed", "must be at most 65"));
    }
    Ok(revocations)
}

fn read_revocation(record: &Object<'_>) -> Result<UnconfirmedRevocation, Error> {
    Ok(UnconfirmedRevocation {
        handle: read_handle(record)?,
        token_expires_at: time(record, "expires-at")?,
    })
}

fn read_handle(record: &Object<'_>) -> Result<Rc<str>, Error> {
    let handle = text(record, "handle")?;
    if is_handle(handle) {
        return Ok(handle.into());
    }
    let reason = format!("must have 1 to 512 bytes, not {}", handle.len());
    Err(Error::invalid("handle", reason))
}

fn read_cutoff(record: &Object<'_>) -> Result<CutoffRecord, Error> {
    let filter = match (record.text("agent"), record.text("role")) {
        (Some(agent), _) => RevokeFilter::Agent(AgentId::parse("agent", agent)?),
        (None, Some(role)) => RevokeFilter::Role(Role::parse(role.into())?),
        (None, None) => RevokeFilter::Everything,
    };
    Ok(CutoffRecord {
        filter,
        epoch: Epoch::new(count(record, "era")?),
        until: time(record, "until")?,
    })
}

fn text<'a>(record: &'a Object<'_>, name: &'static str) -> Result<&'a str, Error> {
    record.text(name).ok_or_else(|| missing(name))
}

fn count(record: &Object<'_>, name: &'static str) -> Result<u64, Error> {
    record.count(name).ok_or_else(|| missing(name))
}

fn time(record: &Object<'_>, name: &'static str) -> Result<Timestamp, Error> {
    count(record, name).map(Timestamp::from_millis)
}

fn bytes<const N: usize>(record: &Object<'_>, name: &'static str) -> Result<[u8; N], Error> {
    hex::decode(text(record, name)?).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> Error {
    Error::invalid(name, "is missing or malformed")
}

/// Returns the human-readable reason for refusing a record with this faulty member.
#[must_use]
pub fn reason_of(error: Error) -> String {
    match error {
        Error::InvalidArgument(argument) => format!("{} {}", argument.field, argument.reason),
        _ => "a member of it is not valid".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::encode::encode;

    fn keys() -> StateKeys {
        let key = StateKey::parse("state-key", &[1; 32]).unwrap();
        StateKeys::new(key, vec![]).unwrap()
    }

    fn change(body: &RecordBody) -> Change {
        let header = Header {
            sequence: 7,
            at: Timestamp::from_millis(1_000),
            clocks_accepted: 2,
            last_serial: 3,
            last_epoch: Epoch::new(4),
        };
        let key = body.key();
        Change {
            sequence: 7,
            value: encode(&keys(), WorkspaceId::NIL, &header, &key, body),
            key,
            forget_at: None,
        }
    }

    fn session() -> RecordBody {
        let id = |last: u8| {
            SessionId::parse(
                "id",
                &format!("0a9e0000-0000-4000-8000-0000000000{last:02x}"),
            )
        };
        let time = Timestamp::from_millis;
        let token = |byte: u8| Fingerprint::from_bytes([byte; 32]);
        RecordBody::Session(Box::new(SessionRecord {
            session: Session {
                id: id(1).unwrap(),
                agent_id: AgentId::parse("agent", "0a9e0000-0000-4000-8000-000000000009").unwrap(),
                workspace_id: WorkspaceId::NIL,
                attributes: Rc::new(Attributes {
                    role: Role::parse("worker".into()).unwrap(),
                    scopes: Scopes::parse(&["memory:read".into()]).unwrap(),
                    task_type: Some(TaskType::parse("search".into()).unwrap()),
                    metadata: Metadata::parse("{\"a\":1}".into()).unwrap(),
                }),
                created_at: time(10),
                expires_at: time(20),
                parent: Some(id(2).unwrap()),
                root: id(3).unwrap(),
                generation: 5,
                uses_left: Some(6),
            },
            serial: 11,
            created_epoch: Epoch::new(2),
            lifetime: 60,
            used_at: time(12),
            fingerprint: token(1),
            handle: "handle".into(),
            token_expires_at: time(19),
            superseded: vec![SupersededToken {
                fingerprint: token(2),
                replaced_by: 5,
                renewal: Renewal::Retry,
                reply: Reply::Lost,
            }],
            grace: Some(GraceWindow {
                until: time(13),
                until_by_host: time(14),
            }),
            until: time(30),
            unconfirmed: vec![UnconfirmedRevocation {
                handle: "before".into(),
                token_expires_at: time(18),
            }],
        }))
    }

    fn bodies() -> Vec<RecordBody> {
        let RecordBody::Session(record) = session() else {
            panic!("it is a session");
        };
        vec![
            session(),
            RecordBody::Meta(MetaRecord {
                key: Rc::new(FingerprintKey::from_secret([9; 32]).unwrap()),
                salt: [3; 16],
                events: 1_024,
                closed_run: Run::new(8),
            }),
            RecordBody::Ended(EndedRecord {
                id: record.session.id,
                until: Timestamp::from_millis(30),
                unconfirmed: record.unconfirmed,
            }),
            RecordBody::Cutoff(CutoffRecord {
                filter: RevokeFilter::Role(Role::parse("worker".into()).unwrap()),
                epoch: Epoch::new(4),
                until: Timestamp::from_millis(30),
            }),
            RecordBody::Revocation(
                5,
                UnconfirmedRevocation {
                    handle: "handle".into(),
                    token_expires_at: Timestamp::from_millis(18),
                },
            ),
            RecordBody::Revoked(5),
        ]
    }

    #[test]
    fn r23_an_encoded_record_of_each_kind_decodes_to_the_same_values() {
        for body in bodies() {
            let change = change(&body);
            let decoded = decode(&change, &keys(), WorkspaceId::NIL).unwrap();
            assert!(!decoded.is_outdated);
            assert_eq!(
                (decoded.header.sequence, decoded.header.last_serial),
                (7, 3)
            );
            assert_eq!(decoded.header.last_epoch, Epoch::new(4));
            assert_eq!(decoded.header.clocks_accepted, 2);
            // `Debug` compares everything except secrets. Encoding the record again compares these.
            assert_eq!(format!("{:?}", decoded.body), format!("{body:?}"));
            assert_eq!(self::change(&decoded.body), change);
        }
    }

    #[test]
    fn r24_a_record_of_format_1_is_outdated_and_only_there_it_needs_no_workspace() {
        let workspace = "\"workspace\":\"00000000-0000-0000-0000-000000000000\",";
        let other = "\"workspace\":\"00000000-0000-4000-8000-000000000001\",";
        let current = format!("\"format\":{FORMAT}");
        for (format, to, is_read) in [
            (1, workspace, true),
            (1, "", true),
            (1, other, false),
            (FORMAT, workspace, true),
            (FORMAT, "", false),
            (FORMAT, other, false),
            (0, workspace, false),
            (FORMAT + 1, workspace, false),
        ] {
            let mut change = change(&RecordBody::Revoked(5));
            let object = crate::persistence::seal::unchecked(&change.value).unwrap();
            let object = object.replace(&current, &format!("\"format\":{format}"));
            change.value = keys().seal(&object.replace(workspace, to));
            let decoded = decode(&change, &keys(), WorkspaceId::NIL);
            let is_outdated = decoded.map(|it| it.is_outdated).ok();
            assert_eq!(is_outdated, is_read.then_some(format == 1), "{format} {to}");
        }
    }

    #[test]
    fn r24_counts_that_no_instance_reaches_are_refused() {
        let change = |body: &RecordBody, sequence: u64, number: &str, other: &str| {
            let header = Header {
                sequence,
                at: Timestamp::from_millis(1_000),
                clocks_accepted: 0,
                last_serial: 11,
                last_epoch: Epoch::new(4),
            };
            let key = body.key();
            let record = encode(&keys(), WorkspaceId::NIL, &header, &key, body);
            let object = crate::persistence::seal::unchecked(&record).unwrap();
            let value = keys().seal(&object.replace(number, other));
            let forget_at = None;
            decode(
                &Change {
                    sequence,
                    key,
                    value,
                    forget_at,
                },
                &keys(),
                WorkspaceId::NIL,
            )
        };
        let bodies: [RecordBody; 6] = bodies().try_into().unwrap();
        let [session, meta, _, cutoff, _, revoked] = bodies;
        let most = format!("{}", u64::MAX / 2);
        let too_many = format!("{}", u64::MAX / 2 + 1);
        for (body, name, number) in [
            (&session, "serial", "11"),
            (&session, "lifetime", "60"),
            (&meta, "events", "1024"),
            (&cutoff, "until", "30"),
        ] {
            let replaced = |other: &str| {
                let [number, other] = [number, other].map(|it| format!("\"{name}\":{it}"));
                change(body, 7, &number, &other).map(drop)
            };
            assert_eq!(replaced(&most), Ok(()), "{name}");
            assert!(replaced(&too_many).is_err(), "{name}");
        }
        assert!(change(&session, 7, "\"serial\":11", "\"serial\":0").is_err());
        for (sequence, is_refused) in [(0, true), (4, true), (5, false)] {
            let result = change(&revoked, sequence, "", "");
            assert_eq!(result.is_err(), is_refused, "{sequence}");
        }
        assert!(change(&meta, 0, "", "").is_err());
    }

    /// Returns a record of a session whose text was changed, decoded.
    fn decode_changed(
        record: SessionRecord,
        from: &str,
        to: &str,
    ) -> Result<SessionRecord, String> {
        let mut change = change(&RecordBody::Session(Box::new(record)));
        let object = crate::persistence::seal::unchecked(&change.value).unwrap();
        assert!(object.contains(from), "{object}");
        change.value = keys().seal(&object.replacen(from, to, 1));
        match decode(&change, &keys(), WorkspaceId::NIL).map(|it| it.body) {
            Ok(RecordBody::Session(record)) => Ok(*record),
            Err(error) => Err(error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn session_record() -> SessionRecord {
        let RecordBody::Session(record) = session() else {
            panic!("it is a session");
        };
        *record
    }

    #[test]
    fn r24_a_session_whose_members_contradict_each_other_is_refused() {
        let root = ",\"root\":\"0a9e0000-0000-4000-8000-000000000003\"";
        let parent = "\"parent\":\"0a9e0000-0000-4000-8000-000000000002\"";
        let itself = "\"parent\":\"0a9e0000-0000-4000-8000-000000000001\"";
        for (from, to) in [
            (root, ""),
            (parent, "\"other\":0"),
            (parent, itself),
            ("\"uses-left\":6", "\"uses-left\":0"),
            ("\"uses-left\":6", "\"uses-left\":4294967296"),
        ] {
            assert!(
                decode_changed(session_record(), from, to).is_err(),
                "{from} {to}"
            );
        }
        let most = decode_changed(
            session_record(),
            "\"uses-left\":6",
            "\"uses-left\":4294967295",
        );
        assert_eq!(most.unwrap().session.uses_left, Some(u32::MAX));
        // A member that has a wrong type is named.
        let error = decode_changed(session_record(), "\"role\":\"worker\"", "\"role\":1");
        assert!(
            error
                .unwrap_err()
                .contains(": role is missing or malformed")
        );
    }

    #[test]
    fn r24_lists_are_refused_if_they_are_longer_than_any_instance_makes_them() {
        for (superseded, unconfirmed, is_refused) in [
            (8, 65, false),
            (9, 65, true),
            (8, 66, true),
            (20, 200, true),
            (0, 0, false),
        ] {
            let record = SessionRecord {
                superseded: vec![session_record().superseded[0].clone(); superseded],
                unconfirmed: (0..unconfirmed)
                    .map(|number| UnconfirmedRevocation {
                        handle: format!("handle-{number}").into(),
                        token_expires_at: Timestamp::from_millis(18),
                    })
                    .collect(),
                ..session_record()
            };
            let decoded = decode_changed(record, "worker", "worker");
            assert_eq!(decoded.is_err(), is_refused, "{superseded} {unconfirmed}");
        }
    }

    #[test]
    fn r24_a_record_under_another_key_sequence_or_workspace_is_refused() {
        let other = "0a9e0000-0000-4000-8000-00000000000a";
        let other = WorkspaceId::parse("workspace", other).unwrap();
        for body in bodies() {
            let good = change(&body);
            let mut moved = good.clone();
            moved.sequence += 1;
            let mut renamed = good.clone();
            renamed.key.push('1');
            for (change, workspace) in [
                (&moved, WorkspaceId::NIL),
                (&renamed, WorkspaceId::NIL),
                (&good, other),
            ] {
                let result = decode(change, &keys(), workspace);
                assert!(matches!(result, Err(Error::RefusedRecord(_))), "{result:?}");
            }
        }
    }
}
