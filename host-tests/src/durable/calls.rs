//! The component's operations on a durable host: as [`SessionHost`] has them.

use super::{DurableError, DurableHost};
use crate::bindings::exports::clawdb::session::events::EventPage;
use crate::bindings::exports::clawdb::session::sessions::{
    CreateRequest, FlushReport, Page, Revocation, RevokeFilter, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::Statistics;
use crate::error::CallError;
use crate::host::{Grant, SessionHost, Validated};

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
    run: revoke_all_for_agent(agent_id: impl Into<String>) -> u32;
    run: revoke_all(filter: RevokeFilter) -> u32;
    run: flush_guard_revocations() -> FlushReport;
    read: get(session_id: impl Into<String>) -> Session;
    read: list_for_agent(agent_id: impl Into<String>, page: Page) -> SessionPage;
    read: active_count() -> u32;
    run: prune_expired(limit: Option<u32>) -> u32;
    run: create_session(agent_id: impl Into<String>, role: impl Into<String>, scopes: Vec<String>, task_type: Option<String>) -> Grant;
    read: get_session(id: impl Into<String>) -> Session;
    run: invalidate(id: impl Into<String>) -> ();
    run: accept_clock() -> u32;
    read: poll_events(since: u64, max: u32) -> EventPage;
    read: stats() -> Statistics;
}

impl DurableHost {
    /// A use of tokens. Only uses that are counted have to be durable.
    async fn used<F, R, T: Uses>(&self, call: F) -> Result<T, DurableError>
    where
        F: FnOnce(SessionHost) -> R,
        R: Future<Output = Result<T, CallError>>,
    {
        let counted = |answer: &Result<T, CallError>| answer.as_ref().is_ok_and(Uses::are_counted);
        self.call(call, counted).await
    }
}

/// An answer that tells of uses.
trait Uses {
    /// Whether one of them is of a session with `max-uses`.
    fn are_counted(&self) -> bool;
}

impl Uses for Session {
    fn are_counted(&self) -> bool {
        self.uses_left.is_some()
    }
}

impl Uses for Vec<Validated> {
    fn are_counted(&self) -> bool {
        self.iter().flatten().any(Uses::are_counted)
    }
}
