//! An instance whose guard is asked to revoke a token only when the token's end is durable.
//!
//! Otherwise the guard could revoke the old token for a refresh that is then lost with the
//! instance, and the restored session has that token again.
//!
//! In the world `session` the guard waits until the end is durable. In the world `session-sync` it
//! cannot wait; see [`DeferringGuard`].

use std::sync::Arc;

use async_trait::async_trait;
use clawdb_session_host::{
    AnySessions, Claims, Guard, GuardError, GuardResult, HostOptions, InstanceOptions,
    IssueRequest, IssuedToken, LocalOptions, LocalSessions, SessionHost, StartError,
};

use crate::attached_term::{AttachedTerm, not_durable};
use crate::deferred_revocations::DeferringGuard;
use crate::term_handle::TermHandle;

/// The maximum number of changes that are read from an instance at a time.
pub(super) const PAGE: u32 = 1_000;

/// A running instance. Clones refer to the same instance.
#[derive(Clone)]
pub(super) struct Instance {
    pub sessions: AnySessions,
    /// The same instance, if it is one of the world `session-sync`.
    pub sync: Option<SyncInstance>,
    term: Arc<AttachedTerm>,
}

impl Instance {
    /// Starts an instance that no term is attached to yet.
    pub async fn start(instances: &InstanceOptions) -> Result<Self, StartError> {
        let term = Arc::new(AttachedTerm::default());
        let (sessions, sync) = match instances.clone() {
            InstanceOptions::Session(engine, options) => {
                let guard = Arc::new(DurableGuard {
                    inner: options.guard,
                    term: Arc::clone(&term),
                });
                let options = HostOptions { guard, ..options };
                let host = SessionHost::start(&engine, options).await?;
                (host.into(), None)
            }
            InstanceOptions::SessionSync(engine, options) => {
                let guard = Arc::new(DeferringGuard::new(options.guard, Arc::clone(&term)));
                let options = LocalOptions {
                    guard: guard.clone(),
                    ..options
                };
                let sessions = LocalSessions::start(&engine, options)?;
                let sync = SyncInstance {
                    sessions: sessions.clone(),
                    guard,
                };
                (sessions.into(), Some(sync))
            }
        };
        Ok(Self {
            sessions,
            sync,
            term,
        })
    }

    /// Attaches the term that makes the changes of this instance durable. With `None`, the guard
    /// revokes no token.
    pub fn attach_term(&self, handle: Option<TermHandle>) {
        self.term.set(handle);
    }
}

/// An instance of the world `session-sync`, and its guard.
#[derive(Clone)]
pub(super) struct SyncInstance {
    pub sessions: LocalSessions,
    pub guard: Arc<DeferringGuard>,
}

/// The guard of the options, which is asked to revoke only what is durable.
struct DurableGuard {
    inner: Arc<dyn Guard>,
    term: Arc<AttachedTerm>,
}

#[async_trait]
impl Guard for DurableGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.inner.issue_session_token(request).await
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.inner.validate_token(token).await
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        self.check_durable().await?;
        self.inner.revoke_token(handle).await
    }

    async fn validate_tokens(
        &self,
        tokens: Vec<String>,
    ) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        self.inner.validate_tokens(tokens).await
    }

    async fn revoke_tokens(
        &self,
        handles: Vec<String>,
    ) -> GuardResult<Vec<Result<(), GuardError>>> {
        self.check_durable().await?;
        self.inner.revoke_tokens(handles).await
    }
}

impl DurableGuard {
    /// Waits until all changes so far are durable, among them those that revoke the tokens, and
    /// checks that this host still has the tenant.
    ///
    /// # Errors
    /// [`GuardError::Unavailable`]. The component keeps the revocations as pending, as those that
    /// the guard itself has not confirmed.
    async fn check_durable(&self) -> GuardResult<()> {
        let handle = self.term.get();
        let durable = match handle {
            Some(handle) => match handle.wait_until_durable().await {
                Ok(()) => handle.check_owner().is_ok(),
                Err(_) => false,
            },
            None => false,
        };
        if durable {
            return Ok(());
        }
        Err(not_durable())
    }
}
