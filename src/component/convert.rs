//! Conversions between the WIT types and the types of the core.

use super::VERSION;
use super::bindings::{events, guard as wit_guard, persistence, sessions, settings};
use crate::{
    AgentId, Attributes, Change, ChangePage, Claims, Config, CreateRequest, Denial, Duplicate,
    EndReason, Error, Event, EventKind, EventPage, FlushReport, GuardError, Limit, MaxUses,
    Metadata, Overflow, RevokeFilter, Role, Run, Scopes, SessionId, SessionPage, Statistics,
    TaskType, Timestamp, WorkspaceId,
};

/// Returns the number of a run, or 0 for none.
fn number_of(run: Option<Run>) -> u64 {
    run.map_or(0, Run::get)
}

/// Returns a count as `u32`. Counts are bounded by `max-sessions`, far below `u32::MAX`.
pub(super) fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl TryFrom<sessions::CreateRequest> for CreateRequest {
    type Error = Error;

    fn try_from(request: sessions::CreateRequest) -> Result<Self, Error> {
        Ok(Self {
            agent_id: AgentId::parse("agent-id", &request.agent_id)?,
            attributes: Attributes {
                role: Role::parse(request.role)?,
                scopes: Scopes::parse(&request.scopes)?,
                task_type: request.task_type.map(TaskType::parse).transpose()?,
                metadata: request
                    .metadata
                    .map(Metadata::parse)
                    .transpose()?
                    .unwrap_or_default(),
            },
            expires_in: request.expires_in,
            max_uses: request.max_uses.map(MaxUses::new).transpose()?,
        })
    }
}

impl TryFrom<sessions::RevokeFilter> for RevokeFilter {
    type Error = Error;

    fn try_from(filter: sessions::RevokeFilter) -> Result<Self, Error> {
        Ok(match filter {
            sessions::RevokeFilter::Everything => Self::Everything,
            sessions::RevokeFilter::Role(role) => Self::Role(Role::parse(role)?),
            sessions::RevokeFilter::Root(id) => Self::Root(SessionId::parse("root", &id)?),
        })
    }
}

impl TryFrom<settings::Config> for Config {
    type Error = Error;

    fn try_from(config: settings::Config) -> Result<Self, Error> {
        let workspace_id = config
            .workspace_id
            .map(|id| WorkspaceId::parse("workspace-id", &id));
        Ok(Self {
            workspace_id: workspace_id.transpose()?,
            default_ttl: config.default_ttl,
            max_lifetime: config.max_lifetime,
            max_sessions: config.max_sessions,
            max_sessions_per_agent: config.max_sessions_per_agent,
            agent_overflow: config.agent_overflow.map(|overflow| match overflow {
                settings::Overflow::Refuse => Overflow::Refuse,
                settings::Overflow::EvictOldest => Overflow::EvictOldest,
            }),
            max_sessions_per_root: config.max_sessions_per_root,
            max_depth: config.max_depth,
            rotation_grace: config.rotation_grace,
            idle_timeout: config.idle_timeout,
            guard_recheck_interval: config.guard_recheck_interval,
            clock_tolerance: config.clock_tolerance,
            event_capacity: config.event_capacity,
            max_state_bytes: config.max_state_bytes,
            state_key: config.state_key,
            previous_state_keys: config.previous_state_keys,
        })
    }
}

impl From<Statistics> for settings::Statistics {
    fn from(stats: Statistics) -> Self {
        Self {
            version: VERSION.into(),
            now: stats.now.as_millis(),
            live_sessions: count(stats.live_sessions),
            clock_lag: stats.clock_lag,
            clock_behind: stats.clock_behind,
            prunable_sessions: count(stats.prunable_sessions),
            creates_in_flight: count(stats.creates_in_flight),
            tracked_agents: count(stats.tracked_agents),
            pending_revocations: count(stats.pending_revocations),
            subscribers: count(stats.subscribers),
            tombstones: count(stats.tombstones),
            last_change: stats.last_change,
            state_bytes: stats.state_bytes,
            last_event: stats.last_event,
            event_run: number_of(stats.event_run),
            created: stats.totals.created,
            refreshed: stats.totals.refreshed,
            rotated: stats.totals.rotated,
            denied: stats.totals.denied,
            ended: stats.totals.ended,
        }
    }
}

impl From<FlushReport> for sessions::FlushReport {
    fn from(report: FlushReport) -> Self {
        Self {
            settled: count(report.settled),
            pending: count(report.pending),
        }
    }
}

impl From<SessionPage> for sessions::SessionPage {
    fn from(page: SessionPage) -> Self {
        Self {
            sessions: page.sessions.into_iter().map(Into::into).collect(),
            next: page.next,
        }
    }
}

impl From<EventPage> for events::EventPage {
    fn from(page: EventPage) -> Self {
        Self {
            events: page.events.into_iter().map(Into::into).collect(),
            next: page.next,
            missed: page.missed,
            run: number_of(page.run),
        }
    }
}

impl From<ChangePage> for persistence::ChangePage {
    fn from(page: ChangePage) -> Self {
        Self {
            changes: page.changes.into_iter().map(Into::into).collect(),
            next: page.next,
            more: page.more,
            now: page.now.as_millis(),
        }
    }
}

impl From<Change> for persistence::Change {
    fn from(change: Change) -> Self {
        Self {
            sequence: change.sequence,
            key: change.key,
            value: change.value,
            forget_at: change.forget_at.map(Timestamp::as_millis),
        }
    }
}

impl From<persistence::Change> for Change {
    fn from(change: persistence::Change) -> Self {
        Self {
            sequence: change.sequence,
            key: change.key,
            value: change.value,
            forget_at: change.forget_at.map(Timestamp::from_millis),
        }
    }
}

impl From<crate::Session> for sessions::Session {
    fn from(session: crate::Session) -> Self {
        let attributes = &session.attributes;
        let id = String::from(session.id);
        // Formatting an id takes longer than copying its text.
        let root = if session.root == session.id {
            id.clone()
        } else {
            session.root.into()
        };
        Self {
            id,
            agent_id: session.agent_id.into(),
            workspace_id: session.workspace_id.into(),
            role: attributes.role.as_str().into(),
            scopes: attributes.scopes.to_list(),
            task_type: attributes
                .task_type
                .as_ref()
                .map(|task| task.as_str().into()),
            created_at: session.created_at.as_millis(),
            expires_at: session.expires_at.as_millis(),
            metadata: attributes.metadata.text().into(),
            parent: session.parent.map(Into::into),
            root,
            generation: session.generation,
            uses_left: session.uses_left,
        }
    }
}

impl From<crate::Grant> for sessions::Grant {
    fn from(grant: crate::Grant) -> Self {
        Self {
            session: grant.session.into(),
            token: grant.token.into_exposed(),
        }
    }
}

impl From<crate::Revocation> for sessions::Revocation {
    fn from(revocation: crate::Revocation) -> Self {
        Self {
            session_id: revocation.session_id.into(),
            guard_confirmed: revocation.guard.is_ok(),
            guard_error: revocation.guard.err().map(Into::into),
            descendants: count(revocation.descendants),
        }
    }
}

impl From<Event> for events::Event {
    fn from(event: Event) -> Self {
        Self {
            run: number_of(event.run),
            sequence: event.sequence,
            time: event.time.as_millis(),
            session_id: event.session_id.into(),
            agent_id: event.agent_id.into(),
            parent: event.parent.map(Into::into),
            root: event.root.into(),
            generation: event.generation,
            kind: match event.kind {
                EventKind::Created => events::EventKind::Created,
                EventKind::Refreshed => events::EventKind::Refreshed,
                EventKind::Rotated => events::EventKind::Rotated,
                EventKind::Ended(reason) => events::EventKind::Ended(reason.into()),
                EventKind::Denied(denial) => events::EventKind::Denied(denial.into()),
            },
            missed: 0,
        }
    }
}

impl From<EndReason> for events::EndReason {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Revoked => Self::Revoked,
            EndReason::RevokedAll => Self::RevokedAll,
            EndReason::Cascade => Self::Cascade,
            EndReason::Invalidated => Self::Invalidated,
            EndReason::Expired => Self::Expired,
            EndReason::Idle => Self::Idle,
            EndReason::MaxLifetime => Self::MaxLifetime,
            EndReason::Exhausted => Self::Exhausted,
            EndReason::Theft => Self::Theft,
            EndReason::Limit => Self::Limit,
        }
    }
}

impl From<Denial> for events::Denial {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Superseded => Self::Superseded,
            Denial::Guard => Self::Guard,
            Denial::Handle => Self::Handle,
            Denial::Scope => Self::Scope,
            Denial::Delegation => Self::Delegation,
        }
    }
}

impl From<Error> for sessions::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidArgument(argument) => Self::InvalidArgument(sessions::InvalidArgument {
                field: argument.field.into(),
                reason: argument.reason,
            }),
            Error::InvalidToken => Self::InvalidToken,
            Error::SessionNotFound => Self::SessionNotFound,
            Error::SessionExpired => Self::SessionExpired,
            Error::SessionRevoked => Self::SessionRevoked,
            Error::Conflict => Self::Conflict,
            Error::LimitReached(limit) => Self::LimitReached(match limit {
                Limit::Sessions => sessions::Limit::MaxSessions,
                Limit::SessionsPerAgent => sessions::Limit::MaxSessionsPerAgent,
                Limit::StateBytes => sessions::Limit::MaxStateBytes,
                Limit::SessionsPerRoot => sessions::Limit::MaxSessionsPerRoot,
                Limit::Depth => sessions::Limit::MaxDepth,
                Limit::Uses => sessions::Limit::MaxUses,
                Limit::Subscribers => sessions::Limit::Subscribers,
                Limit::UnconfirmedRevocations => sessions::Limit::UnconfirmedRevocations,
            }),
            Error::ScopeDenied(scope) => Self::ScopeDenied(scope),
            Error::Guard(error) => Self::Guard(error.into()),
            Error::AlreadyConfigured => Self::AlreadyConfigured,
            Error::AlreadyStarted => Self::AlreadyStarted,
            Error::NoStateKey => Self::NoStateKey,
            Error::RefusedRecord(refused) => Self::RefusedRecord(sessions::RefusedRecord {
                key: refused.key,
                reason: refused.reason,
            }),
            Error::Collision(duplicate) => Self::Collision(match duplicate {
                Duplicate::SessionId => sessions::Duplicate::SessionId,
                Duplicate::Token => sessions::Duplicate::Token,
                Duplicate::Handle => sessions::Duplicate::Handle,
                Duplicate::AgentId => sessions::Duplicate::AgentId,
                Duplicate::Role => sessions::Duplicate::Role,
            }),
            Error::EntropyUnavailable => Self::EntropyUnavailable,
            Error::ClockBehind(lag) => Self::ClockBehind(lag),
            Error::ClockNotBehind => Self::ClockNotBehind,
        }
    }
}

impl From<wit_guard::Claims> for Claims {
    fn from(claims: wit_guard::Claims) -> Self {
        Self {
            handle: claims.handle,
            expires_at: Timestamp::from_millis(claims.expires_at),
        }
    }
}

impl From<GuardError> for wit_guard::GuardError {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::InvalidToken => Self::InvalidToken,
            GuardError::Expired => Self::Expired,
            GuardError::Revoked => Self::Revoked,
            GuardError::Denied(reason) => Self::Denied(reason),
            GuardError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl From<wit_guard::GuardError> for GuardError {
    fn from(error: wit_guard::GuardError) -> Self {
        match error {
            wit_guard::GuardError::InvalidToken => Self::InvalidToken,
            wit_guard::GuardError::Expired => Self::Expired,
            wit_guard::GuardError::Revoked => Self::Revoked,
            wit_guard::GuardError::Denied(reason) => Self::Denied(reason),
            wit_guard::GuardError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}
