//! The component's operations on a durable host: as [`SessionHost`] has them.

use clawdb_session_host::{
    CallError, CreateRequest, EventPage, FlushReport, Grant, Page, Revocation, RevokeFilter,
    Session, SessionError, SessionHost, SessionPage, Statistics, Validated,
};

use crate::error::DurableError;
use crate::host::DurableHost;

macro_rules! calls {
    ($($kind:ident: $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl DurableHost {$(
            #[doc = concat!("As [`SessionHost::", stringify!($name), "`].")]
            ///
            /// # Errors
            /// [`DurableError`].
            pub async fn $name(&self, $($argument: $type),*) -> Result<$answer, DurableError> {
                self.$kind(|host: SessionHost| async move { host.$name($($argument),*).await }).await
            }
        )*}
    };
}

calls! {
    run: create(request: CreateRequest) -> Grant;
    run: delegate(parent_session_id: impl Into<String>, request: CreateRequest) -> Grant;
    used: validate(token: impl Into<String>) -> Session;
    used: validate_many(tokens: Vec<String>) -> Vec<Validated>;
    used: authorize(token: impl Into<String>, scope: impl Into<String>) -> Session;
    run: rotate(token: impl Into<String>) -> Grant;
    run: touch(session_id: impl Into<String>) -> ();
    run: refresh(session_id: impl Into<String>) -> Grant;
    run: revoke(session_id: impl Into<String>) -> Revocation;
    run: revoke_by_token(token: impl Into<String>) -> Revocation;
    run: revoke_all_for_agent(agent_id: impl Into<String>) -> u32;
    run: revoke_all(filter: RevokeFilter) -> u32;
    run: flush_guard_revocations() -> FlushReport;
    used: get(session_id: impl Into<String>) -> Session;
    read: list_for_agent(agent_id: impl Into<String>, page: Page) -> SessionPage;
    read: active_count() -> u32;
    run: prune_expired(limit: Option<u32>) -> u32;
    run: create_session(agent_id: impl Into<String>, role: impl Into<String>, scopes: Vec<String>, task_type: Option<String>) -> Grant;
    used: get_session(id: impl Into<String>) -> Session;
    run: invalidate(id: impl Into<String>) -> ();
    run: accept_clock() -> u32;
    read: poll_events(since: u64, limit: u32) -> EventPage;
    read: stats() -> Statistics;
}

impl DurableHost {
    /// A use of sessions. It has to be durable if it is counted, and if it has found that a session
    /// has expired: a session of which an answer said so does not live again in the next instance.
    async fn used<F, R, T: Uses>(&self, call: F) -> Result<T, DurableError>
    where
        F: FnOnce(SessionHost) -> R,
        R: Future<Output = Result<T, CallError>>,
    {
        let changes = |answer: &Result<T, CallError>| match answer {
            Ok(answer) => answer.have_changed(),
            Err(CallError::Session(error)) => *error == SessionError::SessionExpired,
            Err(CallError::Host(_)) => false,
        };
        self.call(call, changes).await
    }
}

/// An answer that tells of uses.
trait Uses {
    /// Whether one of them is of a session with `max-uses`, or has ended a session.
    fn have_changed(&self) -> bool;
}

impl Uses for Session {
    fn have_changed(&self) -> bool {
        self.uses_left.is_some()
    }
}

impl Uses for Vec<Validated> {
    fn have_changed(&self) -> bool {
        self.iter().any(|validated| match validated {
            Ok(session) => session.have_changed(),
            Err(error) => *error == SessionError::SessionExpired,
        })
    }
}
