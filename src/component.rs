//! World `session`: WIT exports to the core, the core's ports to WIT imports. Nothing
//! is decided here.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use wit_bindgen::{StreamReader, StreamResult, StreamWriter, spawn_local};

use crate::{AgentId, SessionId, WorkspaceId};
use crate::{
    Attributes, Change, Claims, Clock, Config, CreateRequest, Denial, Duplicate, EndReason, Error,
    Event, EventKind, Guard, GuardError, IssueRequest, IssuedToken, Limit, MaxUses, Metadata,
    Notice, Overflow, RevokeFilter, Role, Run, Scope, Scopes, SessionManager, Subscription,
    SystemEntropy, TaskType, Timestamp, Token,
};

#[allow(clippy::pedantic, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        world: "session",
        path: "wit",
        generate_all,
    });
}

use bindings::clawdb::session::guard as wit_guard;
use bindings::exports::clawdb::session::{events, legacy, persistence, sessions, settings};
use bindings::wasi::{clocks::system_clock, random::random};

bindings::export!(Component with_types_in bindings);

/// What the component says to be.
const VERSION: &str = if cfg!(feature = "next") {
    concat!(env!("CARGO_PKG_VERSION"), "-next")
} else {
    env!("CARGO_PKG_VERSION")
};

/// What is the default too, but through a call less for each allocation. Natively, where only Clippy
/// reads this, the allocator is the program's to choose.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;

/// The component.
struct Component;

type Manager = SessionManager<HostGuard, HostClock, SystemEntropy>;

/// The one manager of this instance.
fn manager() -> Rc<Manager> {
    thread_local! {
        static MANAGER: Rc<Manager> = Rc::new(SessionManager::new(HostGuard, HostClock, SystemEntropy));
    }
    MANAGER.with(Rc::clone)
}

// Ports.

struct HostGuard;

impl Guard for HostGuard {
    async fn issue_session_token(
        &self,
        request: IssueRequest<'_>,
    ) -> Result<IssuedToken, GuardError> {
        let issued = wit_guard::issue_session_token(wit_guard::IssueRequest {
            principal: request.principal(),
            task: request.task().into(),
            session_id: request.session_id.into(),
            agent_id: request.agent_id.into(),
            workspace_id: request.workspace_id.into(),
            role: request.attributes.role.as_str().into(),
            scopes: request.attributes.scopes.iter().map(Into::into).collect(),
            expires_at: request.expires_at.as_millis(),
        })
        .await?;
        Ok(IssuedToken {
            token: issued.token,
            handle: issued.handle,
            expires_at: Timestamp::from_millis(issued.expires_at),
        })
    }

    async fn validate_token(&self, token: Token) -> Result<Claims, GuardError> {
        Ok(wit_guard::validate_token(token.into_exposed())
            .await?
            .into())
    }

    async fn validate_tokens(&self, tokens: Vec<Token>) -> Vec<Result<Claims, GuardError>> {
        let tokens = tokens.into_iter().map(Token::into_exposed).collect();
        let results = wit_guard::validate_tokens(tokens).await.into_iter();
        results.map(|result| Ok(result?.into())).collect()
    }

    async fn revoke_tokens(&self, handles: &[Rc<str>]) -> Vec<Result<(), GuardError>> {
        let handles = handles.iter().map(|handle| String::from(&**handle));
        let results = wit_guard::revoke_tokens(handles.collect()).await;
        let results = results.into_iter();
        results.map(|result| result.map_err(Into::into)).collect()
    }
}

struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Option<Timestamp> {
        let system_clock::Instant {
            seconds,
            nanoseconds,
        } = system_clock::now();
        Timestamp::from_unix(seconds, nanoseconds)
    }
}

/// What `getrandom` calls on this target (`--cfg getrandom_backend="custom"`): fills `len` bytes
/// from `wasi:random`, which may give fewer than it was asked for at a time.
///
/// # Safety
/// `dest` must be valid for writes of `len` bytes, as `getrandom` promises its backend.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    dest: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    // SAFETY: the caller gives `len` writable bytes; zeroing them makes them initialised for the
    // slice.
    let mut missing = unsafe {
        dest.write_bytes(0, len);
        std::slice::from_raw_parts_mut(dest, len)
    };
    while !missing.is_empty() {
        let given = random::get_random_bytes(missing.len() as u64);
        // A source that gives nothing will go on giving nothing. One that gives too much is not
        // trusted for more.
        let count = given.len().min(missing.len());
        let (Some(bytes), Some((filled, rest))) =
            (given.get(..count), missing.split_at_mut_checked(count))
        else {
            return Err(getrandom::Error::UNEXPECTED);
        };
        if filled.is_empty() {
            return Err(getrandom::Error::UNEXPECTED);
        }
        filled.copy_from_slice(bytes);
        missing = rest;
    }
    Ok(())
}

// Exports.

impl sessions::Guest for Component {
    async fn create(request: sessions::CreateRequest) -> Result<sessions::Grant, sessions::Error> {
        Ok(manager().create(request.try_into()?).await?.into())
    }

    async fn delegate(
        parent_session_id: String,
        request: sessions::CreateRequest,
    ) -> Result<sessions::Grant, sessions::Error> {
        let parent = SessionId::parse("parent-session-id", &parent_session_id)?;
        let request = request.try_into()?;
        Ok(manager().delegate(parent, request).await?.into())
    }

    async fn validate(token: String) -> Result<sessions::Session, sessions::Error> {
        Ok(manager().validate(Token::parse(token)?).await?.into())
    }

    async fn validate_many(
        tokens: Vec<String>,
    ) -> Result<Vec<Result<sessions::Session, sessions::Error>>, sessions::Error> {
        let tokens = tokens.into_iter().map(Token::parse).collect();
        let answers = manager().validate_many(tokens).await?;
        let translate = |answer: Result<crate::Session, Error>| Ok(answer?.into());
        Ok(answers.into_iter().map(translate).collect())
    }

    async fn authorize(token: String, scope: String) -> Result<sessions::Session, sessions::Error> {
        let (token, scope) = (Token::parse(token)?, Scope::parse(scope)?);
        Ok(manager().authorize(token, &scope).await?.into())
    }

    async fn rotate(token: String) -> Result<sessions::Grant, sessions::Error> {
        Ok(manager().rotate(Token::parse(token)?).await?.into())
    }

    fn touch(session_id: String) -> Result<(), sessions::Error> {
        let id = SessionId::parse("session-id", &session_id)?;
        Ok(manager().touch(id)?)
    }

    async fn refresh(session_id: String) -> Result<sessions::Grant, sessions::Error> {
        let id = SessionId::parse("session-id", &session_id)?;
        Ok(manager().refresh(id).await?.into())
    }

    async fn revoke(session_id: String) -> Result<sessions::Revocation, sessions::Error> {
        let id = SessionId::parse("session-id", &session_id)?;
        Ok(manager().revoke(id).await?.into())
    }

    async fn revoke_by_token(token: String) -> Result<sessions::Revocation, sessions::Error> {
        let token = Token::parse(token)?;
        Ok(manager().revoke_by_token(token).await?.into())
    }

    async fn revoke_all_for_agent(agent_id: String) -> Result<u32, sessions::Error> {
        let id = AgentId::parse("agent-id", &agent_id)?;
        Ok(count(manager().revoke_all(RevokeFilter::Agent(id)).await))
    }

    async fn revoke_all(filter: sessions::RevokeFilter) -> Result<u32, sessions::Error> {
        let filter = match filter {
            sessions::RevokeFilter::Everything => RevokeFilter::Everything,
            sessions::RevokeFilter::Role(role) => RevokeFilter::Role(Role::parse(role)?),
            sessions::RevokeFilter::Root(id) => RevokeFilter::Root(SessionId::parse("root", &id)?),
        };
        Ok(count(manager().revoke_all(filter).await))
    }

    async fn flush_guard_revocations() -> sessions::FlushReport {
        let report = manager().flush_guard_revocations().await;
        sessions::FlushReport {
            settled: count(report.settled),
            pending: count(report.pending),
        }
    }

    fn get(session_id: String) -> Result<sessions::Session, sessions::Error> {
        let id = SessionId::parse("session-id", &session_id)?;
        Ok(manager().get(id)?.into())
    }

    fn list_for_agent(
        agent_id: String,
        page: sessions::Page,
    ) -> Result<sessions::SessionPage, sessions::Error> {
        let id = AgentId::parse("agent-id", &agent_id)?;
        let page = manager().list_for_agent(id, page.cursor, page.limit)?;
        Ok(sessions::SessionPage {
            sessions: page.sessions.into_iter().map(Into::into).collect(),
            next: page.next,
        })
    }

    fn active_count() -> u32 {
        count(manager().active_count())
    }

    fn prune_expired(limit: Option<u32>) -> u32 {
        manager().prune_expired(limit)
    }
}

impl legacy::Guest for Component {
    async fn create_session(
        agent_id: String,
        role: String,
        scopes: Vec<String>,
        task_type: Option<String>,
    ) -> Result<sessions::Grant, sessions::Error> {
        <Self as sessions::Guest>::create(sessions::CreateRequest {
            agent_id,
            role,
            scopes,
            task_type,
            expires_in: None,
            metadata: None,
            max_uses: None,
        })
        .await
    }

    fn get_session(id: String) -> Result<sessions::Session, sessions::Error> {
        let id = SessionId::parse("id", &id)?;
        Ok(manager().get(id)?.into())
    }

    fn invalidate(id: String) -> Result<(), sessions::Error> {
        let id = SessionId::parse("id", &id)?;
        Ok(manager().invalidate(id)?)
    }
}

impl events::Guest for Component {
    fn poll_events(since: u64, limit: u32) -> Result<events::EventPage, sessions::Error> {
        let page = manager().poll_events(since, limit)?;
        Ok(events::EventPage {
            events: page.events.into_iter().map(Into::into).collect(),
            next: page.next,
            missed: page.missed,
            run: number_of(page.run),
        })
    }

    async fn subscribe(since: u64) -> Result<StreamReader<events::Event>, sessions::Error> {
        let subscription = manager().subscribe(since).await?;
        let (writer, reader) = bindings::wit_stream::new();
        spawn_local(push(subscription, writer));
        Ok(reader)
    }
}

impl persistence::Guest for Component {
    fn changes(since: u64, limit: u32) -> Result<persistence::ChangePage, sessions::Error> {
        let page = manager().changes(since, limit)?;
        let change = |change: Change| persistence::Change {
            sequence: change.sequence,
            key: change.key,
            value: change.value,
            forget_at: change.forget_at.map(Timestamp::as_millis),
        };
        Ok(persistence::ChangePage {
            changes: page.changes.into_iter().map(change).collect(),
            next: page.next,
            more: page.more,
            now: page.now.as_millis(),
        })
    }

    fn restore(changes: Vec<persistence::Change>) -> Result<(), sessions::Error> {
        let change = |change: persistence::Change| Change {
            sequence: change.sequence,
            key: change.key,
            value: change.value,
            forget_at: change.forget_at.map(Timestamp::from_millis),
        };
        let changes: Vec<Change> = changes.into_iter().map(change).collect();
        Ok(manager().restore(&changes)?)
    }

    fn close_event_run() -> Result<(), sessions::Error> {
        Ok(manager().close_event_run()?)
    }
}

impl settings::Guest for Component {
    fn configure(config: settings::Config) -> Result<(), sessions::Error> {
        let workspace_id = config
            .workspace_id
            .map(|id| WorkspaceId::parse("workspace-id", &id));
        Ok(manager().configure(&Config {
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
        })?)
    }

    async fn accept_clock() -> Result<u32, sessions::Error> {
        Ok(count(manager().accept_clock().await?))
    }

    fn stats() -> settings::Statistics {
        let stats = manager().stats();
        settings::Statistics {
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

/// Pushes events into a stream until its other end is gone.
async fn push(
    mut subscription: Subscription<HostGuard, HostClock, SystemEntropy>,
    mut writer: StreamWriter<events::Event>,
) {
    loop {
        match subscription.next().await {
            Notice::Events(page) => {
                let mut missed = page.missed;
                let events = page.events.into_iter().map(|event| events::Event {
                    missed: std::mem::take(&mut missed),
                    ..event.into()
                });
                if !writer.write_all(events.collect()).await.is_empty() {
                    return;
                }
            }
            Notice::Probe => {
                // Writing nothing waits for a reader, or tells that there is none.
                let mut write = pin!(writer.write(Vec::new()));
                let answer = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
                let (answer, _) = match answer {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => write.as_mut().cancel(),
                };
                if answer == StreamResult::Dropped {
                    return;
                }
            }
        }
    }
}

// Translations.

/// The number of a run; 0 where there is none.
fn number_of(run: Option<Run>) -> u64 {
    run.map_or(0, Run::get)
}

/// Counts are bounded by `max-sessions`, far below the end of `u32`.
fn count(count: usize) -> u32 {
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

impl From<crate::Session> for sessions::Session {
    fn from(session: crate::Session) -> Self {
        let attributes = &session.attributes;
        Self {
            id: session.id.into(),
            agent_id: session.agent_id.into(),
            workspace_id: session.workspace_id.into(),
            role: attributes.role.as_str().into(),
            scopes: attributes.scopes.iter().map(Into::into).collect(),
            task_type: attributes
                .task_type
                .as_ref()
                .map(|task| task.as_str().into()),
            created_at: session.created_at.as_millis(),
            expires_at: session.expires_at.as_millis(),
            metadata: attributes.metadata.as_str().into(),
            parent: session.parent.map(Into::into),
            root: session.root.into(),
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
