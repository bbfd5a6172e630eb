//! [`ClawGuard`]: the guard of the component with `claw-guard`, the token authority of `ClawDB`
//! (`SQLite` and HS256 JSON Web Tokens).
//!
//! `claw-guard` stores each token as a session with an id that it chooses. The component uses this
//! id as the token's handle (R9). Each refresh and rotation of a component's session creates a new
//! session in `claw-guard`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use claw_guard::{Guard as Authority, GuardError as AuthorityError};
use clawdb_session_host::{
    Claims, Clock, Guard, GuardError, GuardResult, IssueRequest, IssuedToken, SystemClock,
};
use uuid::Uuid;

/// `claw-guard` as a guard of the component.
///
/// `claw-guard` uses the machine's clock and lifetimes in whole seconds. Times are converted to and
/// from the component's clock, and a lifetime is rounded up. So a token expires up to a second
/// after its session.
///
/// `claw-guard` has no batches. Each token is a separate operation, of which 16 run at a time, as
/// in the default implementation of [`Guard`].
///
/// Its tokens contain agent, workspace, role and scopes, but neither the principal nor the task.
pub struct ClawGuard {
    authority: Authority,
    clock: Arc<dyn Clock>,
    /// The latest reading of the clock, in milliseconds since 1970.
    latest_reading: AtomicI64,
}

/// The largest token that the component accepts, in bytes.
const MAX_TOKEN_LENGTH: usize = 8_192;

/// 2020-01-01T00:00:00Z, in milliseconds since 1970. A reading before it is a failure (R6).
const EARLIEST_TIME: i64 = 1_577_836_800_000;

/// The last millisecond of the year 9999, which is the latest valid reading.
const LATEST_TIME: i64 = 253_402_300_799_999;

impl ClawGuard {
    /// Returns a guard with this authority and the machine's clock.
    #[must_use]
    pub fn new(authority: Authority) -> Self {
        Self {
            authority,
            clock: Arc::new(SystemClock),
            latest_reading: AtomicI64::new(0),
        }
    }

    /// Returns the guard with another clock, which must be the component's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the reading of the clock, in milliseconds since 1970, or `None` if it fails.
    fn reading(&self) -> Option<i64> {
        let reading = self.clock.now();
        let time = DateTime::from_timestamp(reading.seconds, reading.nanoseconds)?;
        let millis = time.timestamp_millis();
        (EARLIEST_TIME..=LATEST_TIME)
            .contains(&millis)
            .then_some(millis)
    }

    /// Returns the component's time, in milliseconds since 1970. As in the component, it is the
    /// latest reading (R6), so that a clock that fails or goes back does not change expiries. It is
    /// later than the component's time after the component has accepted an earlier time.
    fn now(&self) -> i64 {
        let reading = self.reading().unwrap_or_default();
        let latest = self.latest_reading.fetch_max(reading, Ordering::Relaxed);
        latest.max(reading)
    }
}

#[async_trait]
impl Guard for ClawGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let agent_id = parse_uuid("agent-id", &request.agent_id)?;
        let workspace_id = parse_uuid("workspace-id", &request.workspace_id)?;
        // The component may have accepted an earlier time than the latest reading.
        let latest = self.now();
        let now = self.reading().unwrap_or(latest);
        let wanted = i64::try_from(request.expires_at).unwrap_or(i64::MAX);
        let Ok(lifetime) = u64::try_from(wanted.saturating_sub(now)) else {
            return Err(GuardError::Expired.into());
        };
        let seconds = lifetime.div_ceil(1_000);
        let (role, scopes) = (&request.role, request.scopes);
        let sessions = self.authority.sessions();
        let session = sessions
            .create_session(agent_id, workspace_id, role, scopes, seconds)
            .await
            .map_err(|error| to_guard_error(&error))?;
        if session.token.len() > MAX_TOKEN_LENGTH {
            // No one has received the token, so an error can be ignored.
            let _ = sessions.revoke_session(session.id).await;
            return Err(GuardError::Denied(format!(
                "a token of claw-guard contains the scopes: it would have {} bytes, of at most \
                 {MAX_TOKEN_LENGTH}; request fewer or shorter scopes",
                session.token.len()
            ))
            .into());
        }
        let lifetime = i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Ok(IssuedToken {
            token: session.token,
            handle: session.id.to_string(),
            expires_at: now.saturating_add(lifetime).try_into().unwrap_or(0),
        })
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        let sessions = self.authority.sessions();
        let session = sessions
            .validate_session(&token)
            .await
            .map_err(|error| to_guard_error(&error))?;
        let left = session.expires_at.signed_duration_since(Utc::now());
        let expires_at = self.now().saturating_add(left.num_milliseconds());
        Ok(Claims {
            handle: session.id.to_string(),
            expires_at: expires_at.try_into().unwrap_or(0),
        })
    }

    async fn revoke_token(&self, handle: String) -> GuardResult<()> {
        let id = Uuid::parse_str(&handle).map_err(|_| GuardError::InvalidToken)?;
        let sessions = self.authority.sessions();
        let revoked = sessions.revoke_session(id).await;
        revoked.map_err(|error| to_guard_error(&error).into())
    }
}

fn parse_uuid(field: &str, id: &str) -> Result<Uuid, GuardError> {
    Uuid::parse_str(id).map_err(|error| GuardError::Denied(format!("{field}: {error}")))
}

/// Returns the guard's error for an error of the authority. An error that does not concern the
/// token is a failure of the authority, after which a retry may succeed.
fn to_guard_error(error: &AuthorityError) -> GuardError {
    match error {
        AuthorityError::InvalidToken => GuardError::InvalidToken,
        AuthorityError::SessionExpired => GuardError::Expired,
        AuthorityError::SessionRevoked => GuardError::Revoked,
        AuthorityError::PolicyDenied(reason) => GuardError::Denied(reason.clone()),
        other => GuardError::Unavailable(other.to_string()),
    }
}
