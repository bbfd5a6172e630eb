//! [`SessionManager`]: the calls of the old manager.

use clawdb_session_host::{
    AnySessions, BlockingCalls, CallError, CreateRequest, HostError, LocalSessions, SessionHost,
};
use uuid::Uuid;

use crate::context::SessionContext;
use crate::error::{ClawDBError, ClawDBResult};
use crate::session::ClawDBSession;

/// The calls of `ClawDB`'s `SessionManager`, made by an instance of the component. Clones refer to
/// the same instance.
///
/// Ids are unique over all agents, times are those of the component's clock (R6), and the bounds of
/// arguments are those of the component (R2): for example, a role has 1 to 64 bytes.
///
/// # Calls that are not async
///
/// [`get_session`](Self::get_session), [`invalidate`](Self::invalidate),
/// [`active_count`](Self::active_count) and [`prune_expired`](Self::prune_expired) block their
/// thread until the component has answered. This takes microseconds: they do not ask the guard. In
/// the world `session-sync`, they wait while a function of the guard runs, because one call runs at
/// a time.
///
/// They work on any thread, outside a runtime and in tasks of a tokio runtime of any flavour,
/// because the thread of the caller never drives the instance. They do not work in a function of
/// the guard, for which the instance waits: `get_session` returns [`HostError::Reentrant`] there,
/// and the others panic. The host contains the panic, and the guard counts as unavailable. In the
/// world `session-sync`, a function of the guard must not wait for another thread that makes these
/// calls either: that thread waits for the function.
///
/// # What the component adds
///
/// [`sessions`](Self::sessions) returns a handle with all operations, for code that needs more than
/// the old calls.
#[derive(Clone)]
pub struct SessionManager {
    sessions: AnySessions,
    blocking: Blocking,
}

/// A handle for the calls that are not async.
#[derive(Clone)]
enum Blocking {
    Session(BlockingCalls),
    SessionSync(LocalSessions),
}

/// The instance was started with [`SessionHost::start`]. The calls that are not async could then
/// block the thread that has to answer them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tokio runtime drives the instance; start it with SessionHost::start_on_own_thread")]
#[non_exhaustive]
pub struct NoOwnThread;

impl SessionManager {
    /// Returns a manager of the sessions of an instance: a [`SessionHost`] that was started with
    /// [`start_on_own_thread`](SessionHost::start_on_own_thread), or [`LocalSessions`].
    ///
    /// In the world `session-sync`, the async calls need a tokio runtime with timers.
    ///
    /// # Errors
    /// [`NoOwnThread`] for a [`SessionHost`] that was started with [`SessionHost::start`].
    pub fn new(sessions: impl Into<AnySessions>) -> Result<Self, NoOwnThread> {
        let sessions = sessions.into();
        let blocking = match &sessions {
            AnySessions::Session(host) => {
                Blocking::Session(host.blocking_calls().ok_or(NoOwnThread)?)
            }
            AnySessions::SessionSync(local) => Blocking::SessionSync(local.clone()),
        };
        Ok(Self { sessions, blocking })
    }

    /// Returns the handle on the instance, which has all operations of the component.
    #[must_use]
    pub const fn sessions(&self) -> &AnySessions {
        &self.sessions
    }

    /// Creates a session of an agent, and returns it with its token.
    ///
    /// The session lives for `default-ttl` of the component's configuration: 3,600 s by default, as
    /// in the old manager. An empty task type counts as none, and then the guard gets `default`
    /// (R4). Scopes that are repeated count once.
    ///
    /// # Errors
    /// [`ClawDBError::Guard`] if the guard refuses or fails. [`ClawDBError::Session`] for an
    /// argument outside its bounds, for a limit, and for the other errors that
    /// [`AnySessions::create`] lists. [`ClawDBError::Host`] if the instance has ended or is busy.
    pub async fn create(
        &self,
        agent_id: Uuid,
        role: &str,
        scopes: Vec<String>,
        task_type: Option<String>,
    ) -> ClawDBResult<ClawDBSession> {
        let request = CreateRequest {
            scopes,
            task_type: task_type.filter(|task_type| !task_type.is_empty()),
            ..CreateRequest::new(agent_id, role)
        };
        Ok(ClawDBSession::new(self.sessions.create(request).await?))
    }

    /// Returns the session of a token.
    ///
    /// The token must be the current one of a live session, and the guard must validate it (R9).
    /// The old manager asked the guard only, and then looked up the session that its claims name: a
    /// token that a refresh had replaced remained valid.
    ///
    /// # Errors
    /// [`ClawDBError::Guard`] if the token is refused: with `InvalidToken` if it is unknown,
    /// replaced, or of an ended session; with `Expired` or `Revoked` if its session ends during the
    /// call; and with the guard's own error. [`ClawDBError::Session`] for a token of more than
    /// 8,192 bytes, and while the clock is behind. [`ClawDBError::Host`] if the instance has ended
    /// or is busy.
    pub async fn validate(&self, guard_token: &str) -> ClawDBResult<SessionContext> {
        let session = self.sessions.validate(guard_token).await;
        let session = session.map_err(ClawDBError::of_token)?;
        Ok(SessionContext::new(session, guard_token.into()))
    }

    /// Gives a session a new token and its full lifetime again, and returns both.
    ///
    /// The old token is invalid at once. A refresh that a revocation overtakes fails (R12); the old
    /// manager then stored the session again.
    ///
    /// # Errors
    /// [`ClawDBError::SessionNotFound`], also if a revocation ends the session during the call;
    /// [`ClawDBError::SessionExpired`]; [`ClawDBError::Guard`] if the guard refuses or fails, and
    /// the old token is then still valid. [`ClawDBError::Session`] with `Conflict` if another
    /// refresh succeeded (R14), and with the other errors that [`AnySessions::refresh`] lists.
    /// [`ClawDBError::Host`] if the instance has ended or is busy.
    pub async fn refresh(&self, session_id: Uuid) -> ClawDBResult<SessionContext> {
        let grant = self.sessions.refresh(session_id).await;
        let grant = grant.map_err(|error| ClawDBError::of_session(session_id, error))?;
        Ok(SessionContext::new(grant.session, grant.token.into()))
    }

    /// Ends a session, and all sessions that were delegated from it.
    ///
    /// It has ended when this returns, even if the guard did not confirm the revocation of its
    /// token. The component then keeps this revocation for `flush_guard_revocations`; the old
    /// manager only logged it.
    ///
    /// # Errors
    /// [`ClawDBError::SessionNotFound`] if no live session has this id; the old manager also
    /// revoked sessions that had expired. [`ClawDBError::Host`] if the instance has ended or is
    /// busy.
    pub async fn revoke(&self, session_id: Uuid) -> ClawDBResult<()> {
        let revocation = self.sessions.revoke(session_id).await;
        revocation.map_err(|error| ClawDBError::of_session(session_id, error))?;
        Ok(())
    }

    /// Ends all sessions of an agent, and all sessions that were delegated from them. Returns how
    /// many live sessions it ended.
    ///
    /// Creates and refreshes of the agent that are in flight fail (R13). A call ends at most 10,000
    /// sessions, and those below the last one (R20). No call accepts the others either, and
    /// [`prune_expired`](Self::prune_expired) ends them.
    ///
    /// # Errors
    /// [`ClawDBError::Host`] if the instance has ended or is busy.
    pub async fn revoke_all_for_agent(&self, agent_id: Uuid) -> ClawDBResult<u32> {
        Ok(self.sessions.revoke_all_for_agent(agent_id).await?)
    }

    /// Creates a session, and returns its context with its token.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub async fn create_session(
        &self,
        agent_id: Uuid,
        role: &str,
        scopes: Vec<String>,
        task_type: &str,
    ) -> ClawDBResult<SessionContext> {
        let session = self.create(agent_id, role, scopes, Some(task_type.into()));
        Ok(session.await?.as_context())
    }

    /// Returns the context of a live session, with an empty token: the component does not store
    /// tokens (R9).
    ///
    /// # Errors
    /// [`ClawDBError::SessionNotFound`], [`ClawDBError::SessionExpired`];
    /// [`ClawDBError::Session`] while the clock is behind (R6). [`ClawDBError::Host`] if the
    /// instance has ended or is busy, and with [`HostError::Reentrant`] in a function of the guard.
    pub fn get_session(&self, session_id: Uuid) -> ClawDBResult<SessionContext> {
        let session = self.wait_for(
            move |host| async move { host.get(session_id).await },
            |local| local.get(session_id),
        );
        let session = session.map_err(|error| ClawDBError::of_session(session_id, error))?;
        Ok(SessionContext::new(session, String::new()))
    }

    /// Ends a session, and all sessions that were delegated from it, without asking the guard. Does
    /// nothing if no live session has this id.
    ///
    /// The revocations of the tokens stay pending for `flush_guard_revocations`; the old manager
    /// left these tokens valid with the guard.
    ///
    /// # Panics
    /// Panics in a function of the guard.
    pub fn invalidate(&self, session_id: Uuid) {
        let invalidated = self.wait_for(
            move |host| async move { host.invalidate(session_id).await },
            |local| until_free(|| local.invalidate(session_id)),
        );
        if let Err(CallError::Host(error)) = invalidated {
            or_default_if_ended::<()>(Err(error));
        }
    }

    /// Returns how many sessions are live. The old manager also counted those that had expired. An
    /// instance that has ended has none.
    ///
    /// # Panics
    /// Panics in a function of the guard.
    #[must_use]
    pub fn active_count(&self) -> usize {
        let live = self.wait_for(
            |host| async move { host.active_count().await },
            |local| until_free(|| local.active_count()),
        );
        or_default_if_ended(live) as usize
    }

    /// Ends all sessions that have expired, and those that a kill switch has revoked and not ended.
    /// Returns how many it ended.
    ///
    /// The component ends at most about 10,000 sessions in a call (R20), so this calls it until it
    /// ends none. Other calls run in between.
    ///
    /// # Panics
    /// Panics in a function of the guard.
    #[expect(clippy::must_use_candidate, reason = "callers may ignore the number")]
    pub fn prune_expired(&self) -> usize {
        let mut pruned = 0;
        loop {
            let ended = self.wait_for(
                |host| async move { host.prune_expired(None).await },
                |local| until_free(|| local.prune_expired(None)),
            );
            match or_default_if_ended(ended) {
                0 => return pruned,
                ended => pruned += ended as usize,
            }
        }
    }

    /// Makes a call of the instance, and blocks the thread until it has ended.
    fn wait_for<R, E, F>(
        &self,
        session: impl FnOnce(SessionHost) -> F,
        session_sync: impl FnOnce(&LocalSessions) -> Result<R, E>,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<HostError> + Send + 'static,
        F: Future<Output = Result<R, E>> + Send + 'static,
    {
        match &self.blocking {
            Blocking::Session(calls) => calls.wait_for(session)?,
            Blocking::SessionSync(local) => session_sync(local),
        }
    }
}

/// Makes a call until the instance takes it: it is busy while a function of the guard takes long.
fn until_free<R, E>(call: impl Fn() -> Result<R, E>) -> Result<R, E>
where
    E: Clone + Into<CallError>,
{
    loop {
        let answer = call();
        let error = answer.as_ref().err().cloned().map(Into::into);
        if !matches!(error, Some(CallError::Host(HostError::Busy { .. }))) {
            return answer;
        }
    }
}

/// Returns the answer of a call, or the default if the instance has ended and has no sessions.
///
/// # Panics
/// Panics for another error: a function of the guard made the call.
fn or_default_if_ended<R: Default>(answer: Result<R, HostError>) -> R {
    answer.unwrap_or_else(|error| {
        assert!(error.is_end(), "{error}");
        R::default()
    })
}
