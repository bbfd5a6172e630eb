//! [`ClawGuard`]: `claw-guard`, the token authority of `ClawDB` (`SQLite` and HS256 JSON Web
//! Tokens), as the guard of the component.
//!
//! `claw-guard` has sessions of its own, under ids that it makes itself. To the component such an id
//! is the handle of a token (R9): one session of the component has one of these after the other, a
//! new one with each refresh and rotation.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use claw_guard::{Guard as Authority, GuardError as AuthorityError};
use clawdb_session_host::{
    Claims, Clock, Guard, GuardError, GuardResult, IssueRequest, IssuedToken, SystemClock,
};
use uuid::Uuid;

/// `claw-guard` behind the component.
///
/// `claw-guard` goes by the machine's clock, and counts lifetimes in whole seconds. Times are
/// translated to and from the component's clock, and a lifetime is rounded up: the session ends when
/// the component wants it to, and the token up to a second later.
///
/// `claw-guard` has no batches: each token is an operation of its own, 16 at a time, as in the
/// default implementation of [`Guard`].
///
/// It keeps neither principal nor task: agent, workspace, role and scopes are what its tokens say.
pub struct ClawGuard {
    authority: Authority,
    clock: Arc<dyn Clock>,
    /// The latest time that the clock has shown, in milliseconds since 1970.
    latest_reading: AtomicI64,
}

/// The largest token that the component accepts, in bytes.
const MAX_TOKEN_LENGTH: usize = 8_192;

/// 2020-01-01T00:00:00Z. A clock that shows an earlier time has failed (R6).
const EARLIEST_TIME: i64 = 1_577_836_800_000;

/// The last millisecond that the component's clock can show: of the year 9999.
const LATEST_TIME: i64 = 253_402_300_799_999;

impl ClawGuard {
    /// The guard over an authority, by the machine's clock.
    #[must_use]
    pub fn new(authority: Authority) -> Self {
        Self {
            authority,
            clock: Arc::new(SystemClock),
            latest_reading: AtomicI64::new(0),
        }
    }

    /// The same guard by another clock: the component's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns what the clock shows, in milliseconds since 1970; none where it fails.
    fn reading(&self) -> Option<i64> {
        let reading = self.clock.now();
        let time = DateTime::from_timestamp(reading.seconds, reading.nanoseconds)?;
        let millis = time.timestamp_millis();
        (EARLIEST_TIME..=LATEST_TIME)
            .contains(&millis)
            .then_some(millis)
    }

    /// The component's time, in milliseconds since 1970: as there, the latest that the clock has shown
    /// (R6), so that a clock that fails or goes back does not make good tokens look old. It is later
    /// than the component's where that has accepted an earlier time.
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
        // The component may have accepted an earlier time than the latest.
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
            // Nobody has the token, so it does no harm where that fails.
            let _ = sessions.revoke_session(session.id).await;
            return Err(GuardError::Denied(format!(
                "a token of claw-guard carries the scopes: it would have {} bytes, and at most \
                 {MAX_TOKEN_LENGTH} are allowed; ask for fewer or shorter ones",
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

/// Returns the guard's error for an error of the authority. An error that is not about the token is a
/// failure of the authority, and a retry may succeed.
fn to_guard_error(error: &AuthorityError) -> GuardError {
    match error {
        AuthorityError::InvalidToken => GuardError::InvalidToken,
        AuthorityError::SessionExpired => GuardError::Expired,
        AuthorityError::SessionRevoked => GuardError::Revoked,
        AuthorityError::PolicyDenied(reason) => GuardError::Denied(reason.clone()),
        other => GuardError::Unavailable(other.to_string()),
    }
}
