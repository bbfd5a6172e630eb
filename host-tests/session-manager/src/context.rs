//! [`SessionContext`]: a session as requests carry it.

use std::fmt;

use chrono::Utc;
use clawdb_session_host::Session;
use uuid::Uuid;

use crate::convert::parse_id;

/// A session as requests carry it: a copy, which does not change when the session ends.
#[derive(Clone)]
pub struct SessionContext {
    /// The session.
    pub session_id: Uuid,
    /// The agent that the session belongs to.
    pub agent_id: Uuid,
    /// The bearer token. It is empty in the context that `get_session` returns, because the
    /// component does not store tokens (R9). `Debug` does not show it.
    pub token: String,
    /// The role of the session.
    pub role: String,
    /// The scopes of the session.
    pub scopes: Vec<String>,
    /// The task of the agent; empty if the session has none.
    pub task_type: String,
    /// When the session expires, in whole seconds since 1970, rounded down.
    pub expires_at: i64,
}

impl SessionContext {
    /// Returns the context of a session of the component, with its token.
    pub(crate) fn new(session: Session, token: String) -> Self {
        Self {
            session_id: parse_id(&session.id),
            agent_id: parse_id(&session.agent_id),
            token,
            role: session.role,
            scopes: session.scopes,
            task_type: session.task_type.unwrap_or_default(),
            expires_at: i64::try_from(session.expires_at / 1_000).unwrap_or(i64::MAX),
        }
    }

    /// Returns a context for work that the system itself does: with the scope `*`, and without an
    /// end. The component has no such session, and refuses its token and its id.
    #[must_use]
    pub fn system() -> Self {
        let system = || String::from("system");
        Self {
            session_id: Uuid::nil(),
            agent_id: Uuid::nil(),
            token: system(),
            role: system(),
            scopes: vec!["*".into()],
            task_type: system(),
            expires_at: i64::MAX,
        }
    }

    /// Returns whether the expiry of this copy is after the time of the machine's clock.
    ///
    /// The session may have ended before, or have a later expiry now:
    /// [`get_session`](crate::SessionManager::get_session) asks the component.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.expires_at > Utc::now().timestamp()
    }

    /// Returns whether `scope` is one of the scopes, or `*` is.
    ///
    /// Other wildcards are compared as text. The component's operation `authorize` applies them.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        let covers = |granted: &String| granted == "*" || granted == scope;
        self.scopes.iter().any(covers)
    }
}

impl fmt::Debug for SessionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionContext")
            .field("session_id", &self.session_id)
            .field("agent_id", &self.agent_id)
            .field("role", &self.role)
            .field("scopes", &self.scopes)
            .field("task_type", &self.task_type)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
