//! What answers look like.

use chrono::SecondsFormat;
use clawdb_session_host::json::rfc3339;
use clawdb_session_host::names::{denial, end_reason};
use clawdb_session_host::{Event, EventKind, Grant, Revocation, Session, SessionPage};
use serde::Serialize;
use serde_json::value::RawValue;

/// A session and its token.
#[derive(Serialize)]
pub struct GrantForm {
    session_id: String,
    token: String,
    agent_id: String,
    role: String,
    scopes: Vec<String>,
    expires_at: String,
}

/// A session.
#[derive(Serialize)]
pub struct SessionForm {
    session_id: String,
    agent_id: String,
    workspace_id: String,
    role: String,
    scopes: Vec<String>,
    task_type: Option<String>,
    created_at: String,
    expires_at: String,
    /// The JSON text that the session was created with.
    metadata: Box<RawValue>,
    parent: Option<String>,
    root: String,
    generation: u64,
    uses_left: Option<u32>,
}

/// A part of a listing.
#[derive(Serialize)]
pub struct PageForm {
    sessions: Vec<SessionForm>,
    next: Option<u64>,
}

/// What became of a revocation.
#[derive(Serialize)]
pub struct RevocationForm {
    session_id: String,
    guard_confirmed: bool,
    descendants: u32,
}

/// What a kill switch did.
#[derive(Serialize)]
pub struct RevokedForm {
    pub revoked: u32,
}

/// Something that happened.
#[derive(Serialize)]
pub struct EventForm {
    sequence: u64,
    time: String,
    session_id: String,
    agent_id: String,
    parent: Option<String>,
    root: String,
    generation: u64,
    kind: &'static str,
    reason: Option<String>,
    missed: u64,
}

impl From<Grant> for GrantForm {
    fn from(Grant { session, token }: Grant) -> Self {
        Self {
            session_id: session.id,
            token: token.into(),
            agent_id: session.agent_id,
            role: session.role,
            scopes: session.scopes,
            expires_at: time(session.expires_at),
        }
    }
}

impl From<Session> for SessionForm {
    fn from(session: Session) -> Self {
        Self {
            session_id: session.id,
            agent_id: session.agent_id,
            workspace_id: session.workspace_id,
            role: session.role,
            scopes: session.scopes,
            task_type: session.task_type,
            created_at: time(session.created_at),
            expires_at: time(session.expires_at),
            metadata: json(session.metadata),
            parent: session.parent,
            root: session.root,
            generation: session.generation,
            uses_left: session.uses_left,
        }
    }
}

impl From<SessionPage> for PageForm {
    fn from(page: SessionPage) -> Self {
        Self {
            sessions: page.sessions.into_iter().map(Into::into).collect(),
            next: page.next,
        }
    }
}

impl From<Revocation> for RevocationForm {
    fn from(revocation: Revocation) -> Self {
        Self {
            session_id: revocation.session_id,
            guard_confirmed: revocation.guard_confirmed,
            descendants: revocation.descendants,
        }
    }
}

impl From<Event> for EventForm {
    fn from(event: Event) -> Self {
        let (kind, reason) = match event.kind {
            EventKind::Created => ("created", None),
            EventKind::Refreshed => ("refreshed", None),
            EventKind::Rotated => ("rotated", None),
            EventKind::Ended(reason) => ("ended", Some(end_reason(reason))),
            EventKind::Denied(reason) => ("denied", Some(denial(reason))),
        };
        Self {
            sequence: event.sequence,
            time: time(event.time),
            session_id: event.session_id,
            agent_id: event.agent_id,
            parent: event.parent,
            root: event.root,
            generation: event.generation,
            kind,
            reason: reason.map(|reason| reason.replace('-', "_")),
            missed: event.missed,
        }
    }
}

/// Returns the JSON text as it is, without white space around it.
fn json(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| {
        debug_assert!(false, "the component takes only JSON as metadata");
        RawValue::NULL.to_owned()
    })
}

fn time(millis: u64) -> String {
    rfc3339(millis, SecondsFormat::AutoSi)
}
