//! What can be said in a conversation.

use clawdb_session_host::json::fields;
use clawdb_session_host::json::fields::{Fields, FromFields, Invalid, Read, object, one_of};
use clawdb_session_host::json::revoke_filter;
use clawdb_session_host::{Change, Config, CreateRequest, Page, RevokeFilter};
use serde_json::value::RawValue;

use crate::control::GuardMode;

/// A line of a conversation.
pub enum Request {
    /// An operation of the component.
    Call(Operation),
    /// Something about the conversation.
    Control(Control),
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, for people, in at most 256 bytes.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        fields::read("line", line).map_err(|error| match error {
            Invalid::Syntax(reason) => fields::shortened(&format!("not JSON: {reason}")),
            Invalid::Field(reason) => reason,
        })
    }
}

/// Something about the conversation.
pub enum Control {
    /// Starts a call and answers when it is done or waits for the guard.
    Start {
        /// What `finish` calls it.
        name: String,
        /// The call.
        call: Operation,
    },
    /// Waits for the end of a started call and gives its answer.
    Finish {
        /// Its name.
        name: String,
    },
    /// `events.subscribe`
    Subscribe {
        /// What `read` calls it.
        name: String,
        /// After which event.
        since: u64,
    },
    /// Gives the events that have been pushed and not been read, at most `limit`.
    Read {
        /// The subscription's name.
        name: String,
        /// How many.
        limit: Option<usize>,
    },
    /// Drops a subscription.
    Unsubscribe {
        /// Its name.
        name: String,
    },
    /// Goes on with another instance, without sessions, over the same clock, guard and random source
    /// (with controls).
    Restart {},
    /// Changes the clock (with controls).
    Clock {
        /// By so many seconds, also negative or fractional.
        advance: Option<f64>,
        /// To this time.
        set: Option<String>,
    },
    /// Changes the guard, or tells how often it was called (with controls).
    Guard {
        /// How it answers.
        mode: Option<GuardMode>,
        /// Which of its functions.
        on: GuardFunctions,
        /// Whether to tell.
        calls: bool,
    },
    /// Changes the random source (with controls).
    Entropy {
        /// How it answers.
        mode: EntropyMode,
    },
}

/// An operation of the component, with the names of the WIT.
pub enum Operation {
    /// `sessions.create`
    Create(CreateRequest),
    /// `sessions.delegate`
    Delegate {
        parent_session_id: String,
        request: CreateRequest,
    },
    /// `sessions.validate`
    Validate { token: String },
    /// `sessions.validate-many`
    ValidateMany { tokens: Vec<String> },
    /// `sessions.authorize`
    Authorize { token: String, scope: String },
    /// `sessions.rotate`
    Rotate { token: String },
    /// `sessions.touch`
    Touch { session_id: String },
    /// `sessions.refresh`
    Refresh { session_id: String },
    /// `sessions.revoke`
    Revoke { session_id: String },
    /// `sessions.revoke-by-token`
    RevokeByToken { token: String },
    /// `sessions.revoke-all-for-agent`
    RevokeAllForAgent { agent_id: String },
    /// `sessions.revoke-all`
    RevokeAll { filter: RevokeFilter },
    /// `sessions.flush-guard-revocations`
    FlushGuardRevocations {},
    /// `sessions.get`
    Get { session_id: String },
    /// `sessions.list-for-agent`
    ListForAgent { agent_id: String, page: Page },
    /// `sessions.active-count`
    ActiveCount {},
    /// `sessions.prune-expired`
    PruneExpired { limit: Option<u32> },
    /// `legacy.create-session`
    CreateSession {
        agent_id: String,
        role: String,
        scopes: Vec<String>,
        task_type: Option<String>,
    },
    /// `legacy.get-session`
    GetSession { id: String },
    /// `legacy.invalidate`
    Invalidate { id: String },
    /// `events.poll-events`
    PollEvents { since: u64, limit: u32 },
    /// `persistence.changes`
    Changes { since: u64, limit: u32 },
    /// `persistence.restore`
    Restore { changes: Vec<Change> },
    /// `persistence.close-event-run`
    CloseEventRun {},
    /// `settings.configure`
    Configure(Box<Config>),
    /// `settings.accept-clock`
    AcceptClock {},
    /// `settings.stats`
    Stats {},
}

impl<'a> FromFields<'a> for Request {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        let op: String = fields.required("op")?;
        if let Some(control) = Control::read(&op, fields)? {
            return Ok(Self::Control(control));
        }
        Operation::read(&op, fields).map(Self::Call)
    }
}

impl Control {
    /// Reads the fields of a control; none where `op` is not one.
    fn read(op: &str, fields: &mut Fields<'_>) -> Result<Option<Self>, Invalid> {
        Ok(Some(match op {
            "start" => Self::Start {
                name: fields.required("name")?,
                call: fields.required_by("call", object)?,
            },
            "finish" => Self::Finish {
                name: fields.required("name")?,
            },
            "subscribe" => Self::Subscribe {
                name: fields.required("name")?,
                since: fields.required("since")?,
            },
            "read" => Self::Read {
                name: fields.required("name")?,
                limit: fields.optional("limit")?,
            },
            "unsubscribe" => Self::Unsubscribe {
                name: fields.required("name")?,
            },
            "restart" => Self::Restart {},
            "clock" => Self::Clock {
                advance: fields.optional("advance")?,
                set: fields.optional("set")?,
            },
            "guard" => Self::Guard {
                mode: fields.optional("mode")?,
                on: fields.optional("on")?.unwrap_or_default(),
                calls: fields.optional("calls")?.unwrap_or_default(),
            },
            "entropy" => Self::Entropy {
                mode: fields.required("mode")?,
            },
            _ => return Ok(None),
        }))
    }
}

impl<'a> FromFields<'a> for Operation {
    fn from_fields(fields: &mut Fields<'a>) -> Result<Self, Invalid> {
        let op: String = fields.required("op")?;
        Self::read(&op, fields)
    }
}

impl Operation {
    /// Reads the fields of an operation.
    fn read(op: &str, fields: &mut Fields<'_>) -> Result<Self, Invalid> {
        Ok(match op {
            "create" => Self::Create(CreateRequest::from_fields(fields)?),
            "delegate" => Self::Delegate {
                parent_session_id: fields.required("parent-session-id")?,
                request: fields.required_by("request", object)?,
            },
            "validate" => Self::Validate {
                token: fields.required("token")?,
            },
            "validate-many" => Self::ValidateMany {
                tokens: fields.required("tokens")?,
            },
            "authorize" => Self::Authorize {
                token: fields.required("token")?,
                scope: fields.required("scope")?,
            },
            "rotate" => Self::Rotate {
                token: fields.required("token")?,
            },
            "touch" => Self::Touch {
                session_id: fields.required("session-id")?,
            },
            "refresh" => Self::Refresh {
                session_id: fields.required("session-id")?,
            },
            "revoke" => Self::Revoke {
                session_id: fields.required("session-id")?,
            },
            "revoke-by-token" => Self::RevokeByToken {
                token: fields.required("token")?,
            },
            "revoke-all-for-agent" => Self::RevokeAllForAgent {
                agent_id: fields.required("agent-id")?,
            },
            "revoke-all" => Self::RevokeAll {
                filter: fields.required_by("filter", revoke_filter)?,
            },
            "flush-guard-revocations" => Self::FlushGuardRevocations {},
            "get" => Self::Get {
                session_id: fields.required("session-id")?,
            },
            "list-for-agent" => Self::ListForAgent {
                agent_id: fields.required("agent-id")?,
                page: fields.optional_by("page", object)?.unwrap_or(Page {
                    cursor: None,
                    limit: None,
                }),
            },
            "active-count" => Self::ActiveCount {},
            "prune-expired" => Self::PruneExpired {
                limit: fields.optional("limit")?,
            },
            "create-session" => Self::CreateSession {
                agent_id: fields.required("agent-id")?,
                role: fields.required("role")?,
                scopes: fields.optional("scopes")?.unwrap_or_default(),
                task_type: fields.optional("task-type")?,
            },
            "get-session" => Self::GetSession {
                id: legacy_id(fields)?,
            },
            "invalidate" => Self::Invalidate {
                id: legacy_id(fields)?,
            },
            "poll-events" => Self::PollEvents {
                since: fields.required("since")?,
                limit: fields.required("limit")?,
            },
            "changes" => Self::Changes {
                since: fields.required("since")?,
                limit: fields.required("limit")?,
            },
            "restore" => Self::Restore {
                changes: fields.required("changes")?,
            },
            "configure" => Self::Configure(Box::new(Config::from_fields(fields)?)),
            "accept-clock" => Self::AcceptClock {},
            "close-event-run" => Self::CloseEventRun {},
            "stats" => Self::Stats {},
            _ => return Err(fields.invalid("op", "is not an operation")),
        })
    }
}

/// The id of a session, which the legacy operations call `id` and the others `session-id`.
fn legacy_id(fields: &mut Fields<'_>) -> Result<String, Invalid> {
    match fields.optional("session-id")? {
        Some(id) => Ok(id),
        None => fields.required("id"),
    }
}

/// One function of the guard, or all.
#[derive(Clone, Copy, Default)]
pub enum GuardFunctions {
    #[default]
    All,
    Issue,
    Validate,
    Revoke,
}

impl<'a> Read<'a> for GuardFunctions {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        let functions = [
            ("all", Self::All),
            ("issue", Self::Issue),
            ("validate", Self::Validate),
            ("revoke", Self::Revoke),
        ];
        one_of(path, value, &functions)
    }
}

impl<'a> Read<'a> for GuardMode {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        let modes = [
            ("ok", Self::Ok),
            ("hold", Self::Hold),
            ("deny", Self::Deny),
            ("unavailable", Self::Unavailable),
            ("revoked", Self::Revoked),
            ("wrong-handle", Self::WrongHandle),
            ("short", Self::Short),
            ("trap", Self::Trap),
        ];
        one_of(path, value, &modes)
    }
}

/// How the random source answers.
#[derive(Clone, Copy)]
pub enum EntropyMode {
    /// Random bytes.
    Ok,
    /// The same bytes at each call.
    Repeat,
}

impl<'a> Read<'a> for EntropyMode {
    fn read(path: &str, value: &'a RawValue) -> Result<Self, Invalid> {
        one_of(path, value, &[("ok", Self::Ok), ("repeat", Self::Repeat)])
    }
}
