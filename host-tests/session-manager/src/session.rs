//! [`ClawDBSession`]: a session with its token.

use std::fmt;

use chrono::{DateTime, Utc};
use clawdb_session_host::Grant;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::context::SessionContext;
use crate::convert::{parse_id, time};

/// A session with its token: a copy, which does not change when the session ends.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClawDBSession {
    /// The session.
    pub id: Uuid,
    /// The agent that the session belongs to.
    pub agent_id: Uuid,
    /// The workspace: `workspace-id` of the component's configuration.
    pub workspace_id: Uuid,
    /// The role of the session.
    pub role: String,
    /// The scopes of the session, without repetitions.
    pub scopes: Vec<String>,
    /// The task of the agent.
    pub task_type: Option<String>,
    /// The bearer token. `Debug` does not show it, but serialization does.
    pub guard_token: String,
    /// When the session was created, by the component's clock.
    pub created_at: DateTime<Utc>,
    /// When the session expires, by the component's clock.
    pub expires_at: DateTime<Utc>,
    /// Always null, as in the old manager. The component has metadata (`CreateRequest`).
    pub metadata: Value,
}

impl ClawDBSession {
    /// Returns a session that the component created, with its token.
    pub(crate) fn new(Grant { session, token }: Grant) -> Self {
        Self {
            id: parse_id(&session.id),
            agent_id: parse_id(&session.agent_id),
            workspace_id: parse_id(&session.workspace_id),
            role: session.role,
            scopes: session.scopes,
            task_type: session.task_type,
            guard_token: token.into(),
            created_at: time(session.created_at),
            expires_at: time(session.expires_at),
            metadata: Value::Null,
        }
    }

    /// Returns the context of the session, with its token.
    #[must_use]
    pub fn as_context(&self) -> SessionContext {
        SessionContext {
            session_id: self.id,
            agent_id: self.agent_id,
            token: self.guard_token.clone(),
            role: self.role.clone(),
            scopes: self.scopes.clone(),
            task_type: self.task_type.clone().unwrap_or_default(),
            expires_at: self.expires_at.timestamp(),
        }
    }

    /// Returns a session with what a context contains.
    ///
    /// A context contains neither the workspace nor the time of the creation: `workspace_id` is
    /// nil, and `created_at` is the current time of the machine's clock, as in the old manager. An
    /// expiry that `DateTime` cannot represent, as that of [`SessionContext::system`], becomes the
    /// latest time that it can represent (in the old manager, an hour from now).
    #[must_use]
    pub fn from_context(context: SessionContext) -> Self {
        let expires_at = DateTime::from_timestamp(context.expires_at, 0);
        Self {
            id: context.session_id,
            agent_id: context.agent_id,
            workspace_id: Uuid::nil(),
            role: context.role,
            scopes: context.scopes,
            task_type: Some(context.task_type).filter(|task_type| !task_type.is_empty()),
            guard_token: context.token,
            created_at: Utc::now(),
            expires_at: expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC),
            metadata: Value::Null,
        }
    }

    /// Returns whether the expiry of this copy is after the time of the machine's clock.
    ///
    /// The session may have ended before, or have a later expiry now:
    /// [`get_session`](crate::SessionManager::get_session) asks the component.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.expires_at > Utc::now()
    }
}

impl fmt::Debug for ClawDBSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClawDBSession")
            .field("id", &self.id)
            .field("agent_id", &self.agent_id)
            .field("workspace_id", &self.workspace_id)
            .field("role", &self.role)
            .field("scopes", &self.scopes)
            .field("task_type", &self.task_type)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
