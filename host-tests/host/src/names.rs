//! The WIT's names of cases, and descriptions of errors for people.

use crate::bindings::clawdb::session::guard::GuardError;
use crate::bindings::exports::clawdb::session::events::{Denial, EndReason};
use crate::bindings::exports::clawdb::session::sessions::{
    Duplicate, Error, InvalidArgument, Limit,
};

/// A run of events, as 16 hexadecimal digits: many readers of JSON take numbers of its size for others.
#[must_use]
pub fn event_run(run: u64) -> String {
    format!("{run:016x}")
}

/// The WIT's name of a reason.
#[must_use]
pub fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Revoked => "revoked",
        EndReason::RevokedAll => "revoked-all",
        EndReason::Cascade => "cascade",
        EndReason::Invalidated => "invalidated",
        EndReason::Expired => "expired",
        EndReason::Idle => "idle",
        EndReason::MaxLifetime => "max-lifetime",
        EndReason::Exhausted => "exhausted",
        EndReason::Theft => "theft",
        EndReason::Limit => "limit",
    }
}

/// The WIT's name of a denial.
#[must_use]
pub fn denial(denial: Denial) -> &'static str {
    match denial {
        Denial::Superseded => "superseded",
        Denial::Guard => "guard",
        Denial::Handle => "handle",
        Denial::Scope => "scope",
        Denial::Delegation => "delegation",
    }
}

/// The WIT's name of a limit.
#[must_use]
pub fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::MaxSessions => "max-sessions",
        Limit::MaxSessionsPerAgent => "max-sessions-per-agent",
        Limit::MaxStateBytes => "max-state-bytes",
        Limit::MaxSessionsPerRoot => "max-sessions-per-root",
        Limit::MaxDepth => "max-depth",
        Limit::MaxUses => "max-uses",
        Limit::Subscribers => "subscribers",
        Limit::UnconfirmedRevocations => "unconfirmed-revocations",
    }
}

/// The WIT's name of what a new session collided with.
#[must_use]
pub fn duplicate_name(duplicate: Duplicate) -> &'static str {
    match duplicate {
        Duplicate::SessionId => "session-id",
        Duplicate::Token => "token",
        Duplicate::Handle => "handle",
        Duplicate::AgentId => "agent-id",
        Duplicate::Role => "role",
    }
}

/// Describes an error of the component: the case of `sessions.error` in the WIT, and its details.
#[must_use]
pub fn describe(error: &Error) -> String {
    match error {
        Error::InvalidArgument(InvalidArgument { field, reason }) => {
            format!("invalid-argument: {field}: {reason}")
        }
        Error::InvalidToken => "invalid-token".into(),
        Error::SessionNotFound => "session-not-found".into(),
        Error::SessionExpired => "session-expired".into(),
        Error::SessionRevoked => "session-revoked".into(),
        Error::Conflict => "conflict".into(),
        Error::LimitReached(limit) => format!("limit-reached: {}", limit_name(*limit)),
        Error::ScopeDenied(scope) => format!("scope-denied: {scope}"),
        Error::Guard(error) => format!("guard: {}", describe_guard(error)),
        Error::AlreadyConfigured => "already-configured".into(),
        Error::AlreadyStarted => "already-started".into(),
        Error::NoStateKey => "no-state-key".into(),
        Error::RefusedRecord(refused) => {
            format!("refused-record: {}: {}", refused.key, refused.reason)
        }
        Error::Collision(duplicate) => format!("collision: {}", duplicate_name(*duplicate)),
        Error::EntropyUnavailable => "entropy-unavailable".into(),
        Error::ClockBehind(lag) => format!("clock-behind: {lag}"),
        Error::ClockNotBehind => "clock-not-behind".into(),
    }
}

/// Describes an error of the guard: the case of `guard.guard-error` in the WIT, and its reason.
#[must_use]
pub fn describe_guard(error: &GuardError) -> String {
    match error {
        GuardError::InvalidToken => "invalid-token".into(),
        GuardError::Expired => "expired".into(),
        GuardError::Revoked => "revoked".into(),
        GuardError::Denied(reason) => format!("denied: {reason}"),
        GuardError::Unavailable(reason) => format!("unavailable: {reason}"),
    }
}
