//! The WIT's names of members and cases. The code has each name once: here, or in the list of a
//! record's members.

use std::fmt;

use crate::bindings::exports::clawdb::session::events::{Denial, EndReason, EventKind};
use crate::bindings::exports::clawdb::session::sessions::{Duplicate, Limit};
use crate::bindings::exports::clawdb::session::settings::Overflow;
use crate::error::SessionError;
use crate::guard::GuardError;

/// A name of the WIT, with hyphens and with underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// With hyphens, as in the WIT: `agent-id`.
    pub kebab: &'static str,
    /// With underscores: `agent_id`.
    pub snake: &'static str,
}

/// Returns the bytes of a name with hyphens in place of underscores. `N` is its length.
#[doc(hidden)]
#[must_use]
pub const fn kebab<const N: usize>(snake: &str) -> [u8; N] {
    let mut bytes = [b'-'; N];
    let mut at = 0;
    while at < N {
        if snake.as_bytes()[at] != b'_' {
            bytes[at] = snake.as_bytes()[at];
        }
        at += 1;
    }
    bytes
}

/// Expands to the [`Name`] of an item of the WIT, from its name with underscores.
#[doc(hidden)]
#[macro_export]
macro_rules! name {
    ($snake:ident) => {{
        const SNAKE: &str = ::core::stringify!($snake);
        const BYTES: [u8; SNAKE.len()] = $crate::names::kebab(SNAKE);
        const KEBAB: &str = match ::core::str::from_utf8(&BYTES) {
            Ok(kebab) => kebab,
            Err(_) => ::core::panic!("a name is ASCII"),
        };
        $crate::names::Name {
            kebab: KEBAB,
            snake: SNAKE,
        }
    }};
}

/// Returns a run of events as 16 hexadecimal digits. Many JSON parsers would round it as a number.
#[must_use]
pub fn event_run(run: u64) -> String {
    format!("{run:016x}")
}

/// Implements the functions that return the names of the cases of a type.
macro_rules! names {
    (@cases $self:ident { $($case:ident $(($payload:tt))? = $name:ident,)* }) => {
        match $self { $(Self::$case $(($payload))? => name!($name),)* }
    };
    (enum $type:ident $cases:tt) => {
        impl $type {
            /// Returns the WIT's name of the case.
            #[must_use]
            pub const fn name(self) -> Name {
                names!(@cases self $cases)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name().kebab)
            }
        }
    };
    (variant $type:ident $cases:tt) => {
        impl $type {
            /// Returns the WIT's name of the case, without its payload.
            #[must_use]
            pub const fn kind(&self) -> Name {
                names!(@cases self $cases)
            }
        }
    };
}

names!(
    enum EndReason {
        Revoked = revoked,
        RevokedAll = revoked_all,
        Cascade = cascade,
        Invalidated = invalidated,
        Expired = expired,
        Idle = idle,
        MaxLifetime = max_lifetime,
        Exhausted = exhausted,
        Theft = theft,
        Limit = limit,
    }
);

names!(
    enum Denial {
        Superseded = superseded,
        Guard = guard,
        Handle = handle,
        Scope = scope,
        Delegation = delegation,
    }
);

names!(
    enum Limit {
        MaxSessions = max_sessions,
        MaxSessionsPerAgent = max_sessions_per_agent,
        MaxStateBytes = max_state_bytes,
        MaxSessionsPerRoot = max_sessions_per_root,
        MaxDepth = max_depth,
        MaxUses = max_uses,
        Subscribers = subscribers,
        UnconfirmedRevocations = unconfirmed_revocations,
    }
);

names!(
    enum Duplicate {
        SessionId = session_id,
        Token = token,
        Handle = handle,
        AgentId = agent_id,
        Role = role,
    }
);

names!(
    enum Overflow {
        Refuse = refuse,
        EvictOldest = evict_oldest,
    }
);

names!(variant EventKind {
    Created = created,
    Refreshed = refreshed,
    Rotated = rotated,
    Ended(_) = ended,
    Denied(_) = denied,
});

names!(variant GuardError {
    InvalidToken = invalid_token,
    Expired = expired,
    Revoked = revoked,
    Denied(_) = denied,
    Unavailable(_) = unavailable,
});

names!(variant SessionError {
    InvalidArgument(_) = invalid_argument,
    InvalidToken = invalid_token,
    SessionNotFound = session_not_found,
    SessionExpired = session_expired,
    SessionRevoked = session_revoked,
    Conflict = conflict,
    LimitReached(_) = limit_reached,
    ScopeDenied(_) = scope_denied,
    Guard(_) = guard,
    AlreadyConfigured = already_configured,
    AlreadyStarted = already_started,
    NoStateKey = no_state_key,
    RefusedRecord(_) = refused_record,
    Collision(_) = collision,
    EntropyUnavailable = entropy_unavailable,
    ClockBehind(_) = clock_behind,
    ClockNotBehind = clock_not_behind,
});

impl EventKind {
    /// Returns the reason of an end or a denial.
    #[must_use]
    pub const fn reason(&self) -> Option<Name> {
        match self {
            Self::Ended(reason) => Some(reason.name()),
            Self::Denied(denial) => Some(denial.name()),
            Self::Created | Self::Refreshed | Self::Rotated => None,
        }
    }
}

impl fmt::Display for EventKind {
    /// Writes the WIT's name of the case, and the reason if it has one, such as `ended: revoked`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().kebab)?;
        match self.reason() {
            Some(reason) => write!(f, ": {}", reason.kebab),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_form_with_hyphens_and_one_with_underscores() {
        let expected = Name {
            kebab: "max-sessions-per-agent",
            snake: "max_sessions_per_agent",
        };
        assert_eq!(Limit::MaxSessionsPerAgent.name(), expected);
        assert_eq!(EndReason::MaxLifetime.to_string(), "max-lifetime");
    }

    #[test]
    fn an_event_kind_is_displayed_as_the_wits_names_of_the_kind_and_reason() {
        for (kind, expected) in [
            (EventKind::Created, "created"),
            (EventKind::Rotated, "rotated"),
            (EventKind::Ended(EndReason::Revoked), "ended: revoked"),
            (
                EventKind::Ended(EndReason::MaxLifetime),
                "ended: max-lifetime",
            ),
            (EventKind::Denied(Denial::Scope), "denied: scope"),
        ] {
            assert_eq!(kind.to_string(), expected);
        }
    }

    #[test]
    fn an_error_is_displayed_as_its_kind_and_payload() {
        let guard = GuardError::Denied("not for you".into());
        for (error, expected) in [
            (SessionError::Conflict, "conflict"),
            (
                SessionError::LimitReached(Limit::MaxDepth),
                "limit-reached: max-depth",
            ),
            (
                SessionError::Collision(Duplicate::SessionId),
                "collision: session-id",
            ),
            (SessionError::ClockBehind(61_000), "clock-behind: 61000"),
            (SessionError::Guard(guard), "guard: denied: not for you"),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }
}
