//! A module of a platform, written against `ClawDB`'s `SessionManager`. It makes each call, reads
//! each field of the results, and handles the errors.
//!
//! The crate name `clawdb` stands for the facade here, and for the published source of the old
//! manager in `host-tests/session-manager/published`, which compiles this file too.

use std::sync::Arc;

use clawdb::{ClawDBError, ClawDBResult, ClawDBSession, SessionContext, SessionManager};
use uuid::Uuid;

/// The gateway through which agents get and use their sessions.
#[derive(Clone)]
pub struct Gateway {
    sessions: Arc<SessionManager>,
}

/// The answer to a request of an agent.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Allowed { agent: Uuid, role: String },
    Forbidden { missing: String },
    LogInAgain,
    Failed(String),
}

impl Gateway {
    pub fn new(sessions: Arc<SessionManager>) -> Self {
        Self { sessions }
    }

    /// Logs an agent in, and returns its session as JSON.
    pub async fn log_in(&self, agent: Uuid, task: Option<&str>) -> ClawDBResult<String> {
        let scopes = vec!["memory:read".to_string(), "tool:search".to_string()];
        let task = task.map(str::to_string);
        let session: ClawDBSession = self.sessions.create(agent, "worker", scopes, task).await?;
        Ok(serde_json::to_string(&session).expect("a session is JSON"))
    }

    /// Checks the token of a request, and that the session has a scope.
    pub async fn check(&self, token: &str, scope: &str) -> Answer {
        match self.sessions.validate(token).await {
            Ok(context) if context.has_scope(scope) => Answer::Allowed {
                agent: context.agent_id,
                role: context.role,
            },
            Ok(_) => Answer::Forbidden {
                missing: scope.to_string(),
            },
            Err(ClawDBError::Guard(_)) => Answer::LogInAgain,
            Err(ClawDBError::SessionNotFound(_) | ClawDBError::SessionExpired(_)) => {
                Answer::LogInAgain
            }
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    /// Returns the new token of a session, or `None` if the session has ended.
    pub async fn renew(&self, session: Uuid) -> ClawDBResult<Option<String>> {
        match self.sessions.refresh(session).await {
            Ok(SessionContext { token, .. }) => Ok(Some(token)),
            Err(ClawDBError::SessionNotFound(id)) if id == session => Ok(None),
            Err(ClawDBError::SessionExpired(id)) => {
                self.sessions.invalidate(id);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Logs an agent out of one session. Logging out twice is no error.
    pub async fn log_out(&self, session: Uuid) -> ClawDBResult<()> {
        match self.sessions.revoke(session).await {
            Err(ClawDBError::SessionNotFound(_)) => Ok(()),
            ended => ended,
        }
    }

    /// Logs agents out of all their sessions at the same time.
    pub async fn lock_out(&self, agents: Vec<Uuid>) -> ClawDBResult<u32> {
        let lock_outs = agents.into_iter().map(|agent| {
            let sessions = Arc::clone(&self.sessions);
            tokio::spawn(async move { sessions.revoke_all_for_agent(agent).await })
        });
        let mut ended: u32 = 0;
        for lock_out in lock_outs.collect::<Vec<_>>() {
            ended += lock_out.await.expect("the task does not panic")?;
        }
        Ok(ended)
    }

    /// Starts a job of an agent: the legacy call.
    pub async fn start_job(&self, agent: Uuid, job: &str) -> ClawDBResult<SessionContext> {
        let scopes = Vec::from(["*".to_string()]);
        self.sessions
            .create_session(agent, "job", scopes, job)
            .await
    }

    /// Returns a line about a session, from code that is not async.
    pub fn describe(&self, session: Uuid) -> Result<String, ClawDBError> {
        let SessionContext {
            session_id,
            agent_id,
            token: _,
            role,
            scopes,
            task_type,
            expires_at,
        } = self.sessions.get_session(session)?;
        assert_eq!(session_id, session);
        let scopes = scopes.join(" ");
        Ok(format!(
            "{agent_id} {role} [{scopes}] {task_type} until {expires_at}"
        ))
    }

    /// Removes sessions that have expired, and returns how many there were and are left.
    pub fn sweep(&self) -> (usize, usize) {
        let pruned: usize = self.sessions.prune_expired();
        (pruned, self.sessions.active_count())
    }
}

/// Returns a session that a client has stored as JSON, if it has time left.
pub fn stored_session(json: &str) -> Option<ClawDBSession> {
    let session: ClawDBSession = serde_json::from_str(json).ok()?;
    session.is_valid().then_some(session)
}

/// Returns a context for work of the platform itself.
pub fn system_work() -> (SessionContext, ClawDBSession) {
    let context = SessionContext::system();
    assert!(context.is_valid() && context.has_scope("anything"));
    let session = ClawDBSession::from_context(context.clone());
    (context, session)
}

/// Reads each field of a session.
pub fn record(session: ClawDBSession) -> serde_json::Value {
    let context: SessionContext = session.as_context();
    assert_eq!(context.token, session.guard_token);
    let ClawDBSession {
        id,
        agent_id,
        workspace_id,
        role,
        scopes,
        task_type,
        guard_token,
        created_at,
        expires_at,
        metadata,
    } = session;
    serde_json::json!({
        "id": id,
        "agent": agent_id,
        "workspace": workspace_id,
        "role": role,
        "scopes": scopes,
        "task": task_type,
        "token_bytes": guard_token.len(),
        "lifetime": (expires_at - created_at).num_seconds(),
        "metadata": metadata,
    })
}

/// The signatures of the calls: each function compiles only if the call has exactly these types.
pub mod signatures {
    use super::{ClawDBResult, ClawDBSession, SessionContext, SessionManager, Uuid};

    pub const GET_SESSION: fn(&SessionManager, Uuid) -> ClawDBResult<SessionContext> =
        SessionManager::get_session;
    pub const INVALIDATE: fn(&SessionManager, Uuid) = SessionManager::invalidate;
    pub const ACTIVE_COUNT: fn(&SessionManager) -> usize = SessionManager::active_count;
    pub const PRUNE_EXPIRED: fn(&SessionManager) -> usize = SessionManager::prune_expired;
    pub const AS_CONTEXT: fn(&ClawDBSession) -> SessionContext = ClawDBSession::as_context;
    pub const FROM_CONTEXT: fn(SessionContext) -> ClawDBSession = ClawDBSession::from_context;
    pub const SESSION_IS_VALID: fn(&ClawDBSession) -> bool = ClawDBSession::is_valid;
    pub const SYSTEM: fn() -> SessionContext = SessionContext::system;
    pub const CONTEXT_IS_VALID: fn(&SessionContext) -> bool = SessionContext::is_valid;
    pub const HAS_SCOPE: fn(&SessionContext, &str) -> bool = SessionContext::has_scope;

    /// Returns a future that must be `Send` and have this output.
    fn returns<T>(call: impl Future<Output = ClawDBResult<T>> + Send) -> impl Future + Send {
        call
    }

    pub fn create(
        manager: &SessionManager,
        agent_id: Uuid,
        role: &str,
        scopes: Vec<String>,
        task_type: Option<String>,
    ) -> impl Future + Send {
        returns::<ClawDBSession>(manager.create(agent_id, role, scopes, task_type))
    }

    pub fn validate(manager: &SessionManager, guard_token: &str) -> impl Future + Send {
        returns::<SessionContext>(manager.validate(guard_token))
    }

    pub fn refresh(manager: &SessionManager, session_id: Uuid) -> impl Future + Send {
        returns::<SessionContext>(manager.refresh(session_id))
    }

    pub fn revoke(manager: &SessionManager, session_id: Uuid) -> impl Future + Send {
        returns::<()>(manager.revoke(session_id))
    }

    pub fn revoke_all_for_agent(manager: &SessionManager, agent_id: Uuid) -> impl Future + Send {
        returns::<u32>(manager.revoke_all_for_agent(agent_id))
    }

    pub fn create_session(
        manager: &SessionManager,
        agent_id: Uuid,
        role: &str,
        scopes: Vec<String>,
        task_type: &str,
    ) -> impl Future + Send {
        returns::<SessionContext>(manager.create_session(agent_id, role, scopes, task_type))
    }
}
