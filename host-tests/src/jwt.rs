//! The embedded guard: JSON Web Tokens (RFC 7519) signed with HMAC-SHA256.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::guard::{Claims, Guard, GuardError, GuardResult, IssueRequest, IssuedToken};

/// The environment variable that holds the key.
pub const SECRET_VARIABLE: &str = "CLAW_GUARD_JWT_SECRET";

/// How many bytes a key has at least: HS256 wants one as long as the hash (RFC 7518, section 3.2).
pub const MIN_SECRET: usize = 32;
const ISSUER: &str = "clawdb-session";

/// A guard that needs no server: what it knows is in the tokens, but for those that were revoked
/// before their time.
///
/// The handle is the token's `jti`, which names the expiry too, so that a revoked one is forgotten
/// when it has expired. Revocations live in memory: another process with the same key does not know
/// them. The component does not rely on that, since it refuses tokens of its ended sessions itself.
pub struct JwtGuard {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    clock: Arc<dyn Clock>,
    /// `exp` and `jti`, so that the oldest can go first.
    revoked: Mutex<BTreeSet<(u64, String)>>,
}

/// The secret is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret of the JWT guard ({SECRET_VARIABLE}) must have at least {MIN_SECRET} bytes")]
pub struct ShortSecret;

/// What stands in a token.
#[derive(Debug, Serialize, Deserialize)]
struct TokenClaims {
    iss: String,
    sub: String,
    jti: String,
    iat: u64,
    exp: u64,
    /// The session (`OpenID` Connect's name for it).
    sid: String,
    agent_id: String,
    workspace_id: String,
    task: String,
    role: String,
    /// With spaces between, as RFC 8693 has it.
    scope: String,
}

impl JwtGuard {
    /// A guard with this key and the machine's clock.
    ///
    /// # Errors
    /// [`ShortSecret`] below 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, ShortSecret> {
        if secret.len() < MIN_SECRET {
            return Err(ShortSecret);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "exp"]);
        // Expiry is checked here against the guard's own clock, to the second and without leeway.
        validation.validate_exp = false;
        Ok(Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            clock: Arc::new(SystemClock),
            revoked: Mutex::default(),
        })
    }

    /// A guard with the key from the environment ([`SECRET_VARIABLE`]), or with a random one where
    /// that is not set. Tokens of a random key end with the process.
    ///
    /// # Errors
    /// [`ShortSecret`] below 32 bytes.
    pub fn from_environment() -> Result<Self, ShortSecret> {
        match std::env::var_os(SECRET_VARIABLE) {
            Some(secret) => Self::new(secret.as_encoded_bytes()),
            None => Self::new(&[Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat()),
        }
    }

    /// The same guard by another clock: the component's, so that both agree on what has expired.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn revoked(&self) -> MutexGuard<'_, BTreeSet<(u64, String)>> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for JwtGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtGuard").finish_non_exhaustive()
    }
}

#[async_trait]
impl Guard for JwtGuard {
    async fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        // A JWT's times are whole seconds here. The session ends on its own millisecond; the token
        // a part of a second after.
        let exp = request.expires_at.div_ceil(1_000);
        let jti = format!("{}.{exp}", Uuid::new_v4());
        let claims = TokenClaims {
            iss: ISSUER.into(),
            sub: request.principal,
            jti: jti.clone(),
            iat: self.clock.now_millis() / 1_000,
            exp,
            sid: request.session_id,
            agent_id: request.agent_id,
            workspace_id: request.workspace_id,
            task: request.task,
            role: request.role,
            scope: request.scopes.join(" "),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(|error| GuardError::Denied(error.to_string()))?;
        Ok(IssuedToken {
            token,
            handle: jti,
            expires_at: exp.saturating_mul(1_000),
        })
    }

    async fn validate_token(&self, token: String) -> GuardResult<Claims> {
        let claims = jsonwebtoken::decode::<TokenClaims>(&token, &self.decoding, &self.validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => GuardError::Expired,
                _ => GuardError::InvalidToken,
            })?
            .claims;
        let expires_at = claims.exp.saturating_mul(1_000);
        if expires_at <= self.clock.now_millis() {
            return Err(GuardError::Expired.into());
        }
        let entry = (claims.exp, claims.jti);
        if self.revoked().contains(&entry) {
            return Err(GuardError::Revoked.into());
        }
        let (_, handle) = entry;
        Ok(Claims { handle, expires_at })
    }

    async fn revoke_session(&self, handle: String) -> GuardResult<()> {
        let exp = handle
            .rsplit_once('.')
            .and_then(|(_, exp)| exp.parse().ok());
        let exp: u64 = exp.ok_or(GuardError::InvalidToken)?;
        let now = self.clock.now_millis() / 1_000;
        let mut revoked = self.revoked();
        // What has expired by itself need not be remembered.
        while revoked.first().is_some_and(|(exp, _)| *exp <= now) {
            revoked.pop_first();
        }
        if exp > now {
            revoked.insert((exp, handle));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Instant, ManualClock};

    fn request(expires_at: u64) -> IssueRequest {
        IssueRequest {
            principal: "agent:a".into(),
            task: "default".into(),
            session_id: "s".into(),
            agent_id: "a".into(),
            workspace_id: "w".into(),
            role: "reader".into(),
            scopes: vec!["one".into(), "two".into()],
            expires_at,
        }
    }

    fn guard() -> (JwtGuard, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Instant {
            seconds: 1_000,
            nanoseconds: 0,
        }));
        (
            JwtGuard::new(&[7; 32]).unwrap().with_clock(clock.clone()),
            clock,
        )
    }

    #[tokio::test]
    async fn a_token_is_valid_until_its_expiry_rounded_up_to_the_second() {
        let (guard, clock) = guard();
        let issued = guard.issue_session_token(request(1_060_500)).await.unwrap();
        assert_eq!(issued.expires_at, 1_061_000);
        let claims = guard.validate_token(issued.token.clone()).await.unwrap();
        assert_eq!(
            (claims.handle, claims.expires_at),
            (issued.handle, 1_061_000)
        );
        clock.set(Instant {
            seconds: 1_061,
            nanoseconds: 0,
        });
        assert_eq!(
            guard.validate_token(issued.token).await,
            Err(GuardError::Expired.into())
        );
    }

    #[tokio::test]
    async fn a_revoked_token_is_refused_and_forgotten_once_it_has_expired() {
        let (guard, clock) = guard();
        let first = guard.issue_session_token(request(1_060_000)).await.unwrap();
        guard.revoke_session(first.handle.clone()).await.unwrap();
        guard.revoke_session(first.handle).await.unwrap();
        assert_eq!(
            guard.validate_token(first.token).await,
            Err(GuardError::Revoked.into())
        );
        clock.set(Instant {
            seconds: 1_060,
            nanoseconds: 0,
        });
        let second = guard.issue_session_token(request(1_090_000)).await.unwrap();
        guard.revoke_session(second.handle.clone()).await.unwrap();
        assert_eq!(*guard.revoked(), BTreeSet::from([(1_090, second.handle)]));
    }

    #[tokio::test]
    async fn tokens_of_another_key_or_algorithm_or_issuer_are_refused() {
        let (guard, _) = guard();
        let other = JwtGuard::new(&[8; 32]).unwrap();
        let foreign = other.issue_session_token(request(u64::MAX)).await.unwrap();
        assert_eq!(
            guard.validate_token(foreign.token).await,
            Err(GuardError::InvalidToken.into())
        );
        let claims = serde_json::json!({ "iss": "somebody", "exp": 9_999_999_999_u64, "jti": "x" });
        let issuer =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &guard.encoding).unwrap();
        assert_eq!(
            guard.validate_token(issuer).await,
            Err(GuardError::InvalidToken.into())
        );
        let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjbGF3ZGItc2Vzc2lvbiJ9.";
        assert_eq!(
            guard.validate_token(unsigned.into()).await,
            Err(GuardError::InvalidToken.into())
        );
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert_eq!(JwtGuard::new(b"too short").err(), Some(ShortSecret));
    }
}
