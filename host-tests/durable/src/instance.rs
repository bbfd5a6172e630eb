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

use crate::durability::Durability;

/// How many changes are read from the instance at a time.
pub(super) const PAGE: u32 = 1_000;

/// A running instance. Clones are handles on the same.
#[derive(Clone)]
pub(super) struct Instance {
    pub host: SessionHost,
    link: Arc<Link>,
}

impl Instance {
    /// One that is not linked yet.
    pub async fn start(engine: &SessionEngine, options: &HostOptions) -> Result<Self, StartError> {
        let link = Arc::new(Link::default());
        let guard = DurableGuard {
            inner: Arc::clone(&options.guard),
            link: Arc::clone(&link),
        };
        let options = HostOptions {
            guard: Arc::new(guard),
            ..options.clone()
        };
        let host = SessionHost::start(engine, options).await?;
        Ok(Self { host, link })
    }

    /// What it changes is made durable so from here on; none: not at all.
    pub fn link(&self, durability: Option<Durability>) {
        *self.link.lock() = durability;
    }
}

/// What makes the changes of an instance durable, while it is the one that serves.
#[derive(Default)]
struct Link(Mutex<Option<Durability>>);

impl Link {
    fn lock(&self) -> MutexGuard<'_, Option<Durability>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct DurableGuard {
    inner: Arc<dyn Guard>,
    link: Arc<Link>,
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
        let durability = self.link.lock().clone();
        let durable = match durability {
            Some(durability) => match durability.durable().await {
                Ok(()) => durability.owned().is_ok(),
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
