//! A guard that takes almost no time, so that the times are those of the component.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use clawdb_session_bench_protocol::workload;
use clawdb_session_host::{Claims, Guard, GuardResult, IssueRequest, IssuedToken};

/// A guard that accepts every token, at once or after a delay. Its tokens are numbers with padding.
#[derive(Debug, Default)]
pub struct AllowAllGuard {
    issued: AtomicU32,
    delay: Option<Duration>,
}

impl AllowAllGuard {
    /// Returns a guard that answers after a delay.
    pub fn with_delay(delay: Duration) -> Self {
        Self {
            issued: AtomicU32::default(),
            delay: Some(delay),
        }
    }

    async fn wait(&self) {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
    }
}

#[async_trait]
impl Guard for AllowAllGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        self.wait().await;
        let token = workload::token(self.issued.fetch_add(1, Ordering::Relaxed));
        Ok(IssuedToken {
            handle: handle(&token),
            token,
            expires_at: request.expires_at,
        })
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        self.wait().await;
        Ok(Claims {
            handle: handle(&token),
            expires_at: u64::MAX,
        })
    }

    async fn revoke_token(&self, _handle: String) -> GuardResult<()> {
        self.wait().await;
        Ok(())
    }
}

/// Returns a token's handle: its first 36 characters.
pub fn handle(token: &str) -> String {
    token.get(..36).unwrap_or_default().to_owned()
}
