//! Guards that take almost no time, or a fixed time, so that the times are those of the component.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_bench_protocol::workload;
use clawdb_session_host::{Claims, Guard, GuardResult, IssueRequest, IssuedToken, LocalGuard};

/// A guard that accepts every token at once. Its tokens are numbers with padding.
#[derive(Debug, Default)]
pub struct AllowAllGuard {
    issued: AtomicU32,
}

impl AllowAllGuard {
    /// Returns a token that this guard has not issued before.
    pub fn next_token(&self) -> String {
        workload::token(self.issued.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns a token's handle: its first 36 characters.
    pub fn handle(token: &str) -> String {
        token.get(..36).unwrap_or_default().to_owned()
    }
}

impl LocalGuard for AllowAllGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let token = self.next_token();
        Ok(IssuedToken {
            handle: Self::handle(&token),
            token,
            expires_at: request.expires_at,
        })
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        Ok(Claims {
            handle: Self::handle(&token),
            expires_at: u64::MAX,
        })
    }

    fn revoke_token(&self, _handle: String) -> GuardResult<()> {
        Ok(())
    }
}

/// A guard that answers as [`AllowAllGuard`] does, after a delay.
#[derive(Debug)]
pub struct DelayedGuard {
    guard: AllowAllGuard,
    delay: Duration,
}

impl DelayedGuard {
    /// Returns a guard that answers after this delay.
    pub fn new(delay: Duration) -> Self {
        Self {
            guard: AllowAllGuard::default(),
            delay,
        }
    }
}

#[async_trait]
impl Guard for DelayedGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        tokio::time::sleep(self.delay).await;
        LocalGuard::issue_session_token(&self.guard, request)
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        tokio::time::sleep(self.delay).await;
        LocalGuard::validate_token(&self.guard, token)
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        tokio::time::sleep(self.delay).await;
        LocalGuard::revoke_token(&self.guard, handle)
    }
}
