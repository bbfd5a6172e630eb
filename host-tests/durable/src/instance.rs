//! An instance whose guard is told of the end of a token only when that end is durable.
//!
//! Otherwise a refresh that was lost with its instance would have the guard revoke the token that the
//! session has again after that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use clawdb_session_host::{
    Claims, Guard, GuardError, GuardFailure, GuardResult, HostOptions, IssueRequest, IssuedToken,
    SessionEngine, SessionHost, StartError,
};

use crate::term_handle::TermHandle;

/// How many changes are read from the instance at a time.
pub(super) const PAGE: u32 = 1_000;

/// A running instance. Clones are handles on the same.
#[derive(Clone)]
pub(super) struct Instance {
    pub host: SessionHost,
    term: Arc<AttachedTerm>,
}

impl Instance {
    /// One that is not linked yet.
    pub async fn start(engine: &SessionEngine, options: &HostOptions) -> Result<Self, StartError> {
        let term = Arc::new(AttachedTerm::default());
        let guard = DurableGuard {
            inner: Arc::clone(&options.guard),
            term: Arc::clone(&term),
        };
        let options = HostOptions {
            guard: Arc::new(guard),
            ..options.clone()
        };
        let host = SessionHost::start(engine, options).await?;
        Ok(Self { host, term })
    }

    /// What it changes is made durable so from here on; none: not at all.
    pub fn attach_term(&self, handle: Option<TermHandle>) {
        *self.term.lock() = handle;
    }
}

/// What makes the changes of an instance durable, while it is the one that serves.
#[derive(Default)]
struct AttachedTerm(Mutex<Option<TermHandle>>);

impl AttachedTerm {
    fn lock(&self) -> MutexGuard<'_, Option<TermHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// Refuses to revoke while what the tokens are revoked for is not durable. The component keeps
    /// such a revocation as pending, as one that the guard itself has not confirmed.
    async fn check_durable(&self) -> GuardResult<()> {
        let handle = self.term.lock().clone();
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
        let reason = "what the token was revoked for is not durable yet";
        Err(GuardFailure::Error(GuardError::Unavailable(reason.into())))
    }
}
