//! The component's values as JSON, with the names of the WIT. Times are RFC 3339.
//!
//! [`ToJson`] writes them. [`fields`] reads JSON objects field by field, and the records that
//! operations take implement its [`FromFields`](fields::FromFields).

pub mod fields;
mod records;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

pub use records::revoke_filter;

use crate::bindings::clawdb::session::guard::GuardError;
use crate::bindings::exports::clawdb::session::events::{Event, EventKind, EventPage};
use crate::bindings::exports::clawdb::session::persistence::{Change, ChangePage};
use crate::bindings::exports::clawdb::session::sessions::{
    Error, FlushReport, Revocation, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::Statistics;
use crate::error::{CallError, HostError};
use crate::handle::{Grant, Validated};
use crate::names::{denial, duplicate_name, end_reason, event_run, limit_name};

/// A value that an operation gives.
pub trait ToJson {
    /// Its JSON.
    fn to_json(&self) -> Value;
}

/// What an operation answers: `{"ok": ...}` or `{"err": {"kind": ...}}`.
pub fn answer<T: ToJson, E: ToJson>(result: &Result<T, E>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value.to_json() }),
        Err(error) => json!({ "err": error.to_json() }),
    }
}

/// A time of the component, in milliseconds since 1970, as RFC 3339 writes it. All times that the
/// component gives can be written so; another number stays a number.
#[must_use]
pub fn rfc3339(millis: u64, precision: SecondsFormat) -> String {
    let time = i64::try_from(millis)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.map_or_else(
        || millis.to_string(),
        |time| time.to_rfc3339_opts(precision, true),
    )
}

fn time(millis: u64) -> String {
    rfc3339(millis, SecondsFormat::AutoSi)
}

impl ToJson for () {
    fn to_json(&self) -> Value {
        Value::Null
    }
}

impl ToJson for u32 {
    fn to_json(&self) -> Value {
        json!(self)
    }
}

impl ToJson for Session {
    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "agent-id": self.agent_id,
            "workspace-id": self.workspace_id,
            "role": self.role,
            "scopes": self.scopes,
            "task-type": self.task_type,
            "created-at": time(self.created_at),
            "expires-at": time(self.expires_at),
            "metadata": self.metadata,
            "parent": self.parent,
            "root": self.root,
            "generation": self.generation,
            "uses-left": self.uses_left,
        })
    }
}

impl ToJson for Vec<Validated> {
    fn to_json(&self) -> Value {
        self.iter().map(answer).collect()
    }
}

impl ToJson for Grant {
    fn to_json(&self) -> Value {
        json!({ "session": self.session.to_json(), "token": &*self.token })
    }
}

impl ToJson for Revocation {
    fn to_json(&self) -> Value {
        json!({
            "session-id": self.session_id,
            "guard-confirmed": self.guard_confirmed,
            "guard-error": self.guard_error.as_ref().map(ToJson::to_json),
            "descendants": self.descendants,
        })
    }
}

impl ToJson for FlushReport {
    fn to_json(&self) -> Value {
        json!({ "settled": self.settled, "pending": self.pending })
    }
}

impl ToJson for SessionPage {
    fn to_json(&self) -> Value {
        let sessions: Vec<Value> = self.sessions.iter().map(ToJson::to_json).collect();
        json!({ "sessions": sessions, "next": self.next })
    }
}

impl ToJson for Event {
    fn to_json(&self) -> Value {
        let (kind, reason) = match self.kind {
            EventKind::Created => ("created", None),
            EventKind::Refreshed => ("refreshed", None),
            EventKind::Rotated => ("rotated", None),
            EventKind::Ended(reason) => ("ended", Some(end_reason(reason))),
            EventKind::Denied(reason) => ("denied", Some(denial(reason))),
        };
        let mut event = json!({
            "run": event_run(self.run),
            "sequence": self.sequence,
            "time": time(self.time),
            "session-id": self.session_id,
            "agent-id": self.agent_id,
            "parent": self.parent,
            "root": self.root,
            "generation": self.generation,
            "kind": kind,
        });
        if let Some(reason) = reason {
            event["reason"] = json!(reason);
        }
        if self.missed > 0 {
            event["missed"] = json!(self.missed);
        }
        event
    }
}

impl ToJson for Vec<Event> {
    fn to_json(&self) -> Value {
        self.iter().map(ToJson::to_json).collect()
    }
}

impl ToJson for EventPage {
    fn to_json(&self) -> Value {
        json!({
            "events": self.events.to_json(),
            "next": self.next,
            "missed": self.missed,
            "run": event_run(self.run),
        })
    }
}

impl ToJson for ChangePage {
    fn to_json(&self) -> Value {
        let change = |change: &Change| {
            json!({
                "sequence": change.sequence,
                "key": change.key,
                "value": change.value,
                "forget-at": change.forget_at.map(time),
            })
        };
        json!({
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
            "next": self.next,
            "more": self.more,
            "now": time(self.now),
        })
    }
}

impl ToJson for Statistics {
    fn to_json(&self) -> Value {
        json!({
            "version": self.version,
            "now": time(self.now),
            "clock-lag": self.clock_lag,
            "clock-behind": self.clock_behind,
            "live-sessions": self.live_sessions,
            "prunable-sessions": self.prunable_sessions,
            "creates-in-flight": self.creates_in_flight,
            "tracked-agents": self.tracked_agents,
            "pending-revocations": self.pending_revocations,
            "subscribers": self.subscribers,
            "tombstones": self.tombstones,
            "last-change": self.last_change,
            "state-bytes": self.state_bytes,
            "last-event": self.last_event,
            "event-run": event_run(self.event_run),
            "created": self.created,
            "refreshed": self.refreshed,
            "rotated": self.rotated,
            "denied": self.denied,
            "ended": self.ended,
        })
    }
}

impl ToJson for GuardError {
    fn to_json(&self) -> Value {
        match self {
            Self::InvalidToken => json!({ "kind": "invalid-token" }),
            Self::Expired => json!({ "kind": "expired" }),
            Self::Revoked => json!({ "kind": "revoked" }),
            Self::Denied(reason) => json!({ "kind": "denied", "reason": reason }),
            Self::Unavailable(reason) => json!({ "kind": "unavailable", "reason": reason }),
        }
    }
}

impl ToJson for Error {
    fn to_json(&self) -> Value {
        match self {
            Self::InvalidArgument(argument) => {
                json!({ "kind": "invalid-argument", "field": argument.field, "reason": argument.reason })
            }
            Self::InvalidToken => json!({ "kind": "invalid-token" }),
            Self::SessionNotFound => json!({ "kind": "session-not-found" }),
            Self::SessionExpired => json!({ "kind": "session-expired" }),
            Self::SessionRevoked => json!({ "kind": "session-revoked" }),
            Self::Conflict => json!({ "kind": "conflict" }),
            Self::LimitReached(limit) => {
                json!({ "kind": "limit-reached", "which": limit_name(*limit) })
            }
            Self::ScopeDenied(scope) => json!({ "kind": "scope-denied", "scope": scope }),
            Self::Guard(error) => json!({ "kind": "guard", "error": error.to_json() }),
            Self::AlreadyConfigured => json!({ "kind": "already-configured" }),
            Self::AlreadyStarted => json!({ "kind": "already-started" }),
            Self::NoStateKey => json!({ "kind": "no-state-key" }),
            Self::RefusedRecord(refused) => {
                json!({ "kind": "refused-record", "key": refused.key, "reason": refused.reason })
            }
            Self::Collision(duplicate) => {
                json!({ "kind": "collision", "which": duplicate_name(*duplicate) })
            }
            Self::EntropyUnavailable => json!({ "kind": "entropy-unavailable" }),
            Self::ClockBehind(lag) => json!({ "kind": "clock-behind", "lag": lag }),
            Self::ClockNotBehind => json!({ "kind": "clock-not-behind" }),
        }
    }
}

impl ToJson for HostError {
    fn to_json(&self) -> Value {
        match self {
            Self::Trapped { .. } => json!({ "kind": "trap", "reason": self.to_string() }),
            Self::Stopped => json!({ "kind": "stopped" }),
        }
    }
}

impl ToJson for CallError {
    fn to_json(&self) -> Value {
        match self {
            Self::Session(error) => error.to_json(),
            Self::Host(error) => error.to_json(),
        }
    }
}
