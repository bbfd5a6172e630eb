//! The JWT guard: JSON Web Tokens (RFC 7519) signed with HMAC-SHA256.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdb_session_host::{
    Claims, Clock, GuardError, GuardResult, IssueRequest, IssuedToken, LocalGuard, SystemClock,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keys::{
    ISSUER, Keys, SECRET_VARIABLE, SecretError, ShortSecret, previous_secrets_from_environment,
};

/// The largest token that the component accepts, in bytes (`issued-token` in `wit/guard.wit`).
const MAX_TOKEN: usize = 8_192;
/// The longest tolerance for `iat`.
const MAX_TOLERANCE: Duration = Duration::from_hours(1);
/// 2020-01-01T00:00:00Z. A clock that shows an earlier time has failed (R6).
const EARLIEST: u64 = 1_577_836_800_000;

/// A guard that needs no server. A token contains all that the guard needs to validate it, except
/// whether it was revoked.
///
/// ```
/// use std::time::Duration;
///
/// use clawdb_session_guard_jwt::JwtGuard;
///
/// let guard = JwtGuard::new(b"a secret of 32 bytes or more....")?
///     .with_clock_tolerance(Duration::from_secs(10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Tokens
///
/// A token contains the claims `iss`, `sub` (the principal), `jti`, `iat`, `exp` and `sid` (the
/// session), in at most 400 bytes. It does not contain the scopes, because the component is the
/// authority on them. [`JwtGuard::with_full_claims`] adds claims for services that read tokens
/// without asking the component. To validate a token, the guard requires only `iss`, `jti` and
/// `exp`.
///
/// # Revocations
///
/// The guard keeps a revocation in the memory of this process until the token has expired by the
/// guard's clock. Another process with the same secret does not have the revocation. If the guard's
/// clock is ahead, it drops the revocation too early. The component does not depend on this,
/// because it refuses tokens of ended sessions itself. The handle of a token is its `jti`, which
/// contains the expiry.
///
/// # Wrong clocks
///
/// A token whose `iat` is more than the tolerance ahead of the guard's clock is `denied`, because a
/// clock that was ahead issued it. The tolerance is 60 s by default;
/// [`JwtGuard::with_clock_tolerance`] sets it. A reading of the clock before 2020 has failed, and
/// the guard uses the last good reading instead.
///
/// # Duration of a call
///
/// The guard never waits. A batch reads the clock once.
pub struct JwtGuard {
    keys: Keys,
    clock: Arc<dyn Clock>,
    /// The last good reading of the clock, in milliseconds since 1970; 0 before the first.
    last_reading: AtomicU64,
    tolerance: Duration,
    full_claims: bool,
    /// `exp` and `jti` of the revoked tokens. Those that expire first are dropped first.
    revoked: Mutex<BTreeSet<(u64, String)>>,
}

/// The tolerance for `iat` is longer than 3,600 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock tolerance of the JWT guard is {} ms and must be at most {} ms",
    given.as_millis(),
    MAX_TOLERANCE.as_millis()
)]
#[non_exhaustive]
pub struct LongTolerance {
    /// The tolerance that was refused.
    pub given: Duration,
}

/// The claims of a token that is issued.
#[derive(Serialize)]
struct IssuedClaims<'a> {
    iss: &'static str,
    sub: &'a str,
    jti: &'a str,
    iat: u64,
    exp: u64,
    /// The session id, under the name that `OpenID` Connect gives it.
    sid: &'a str,
    #[serde(flatten)]
    full: Option<FullClaims<'a>>,
}

/// The additional claims of a token with full claims.
#[derive(Serialize)]
struct FullClaims<'a> {
    agent_id: &'a str,
    workspace_id: &'a str,
    task: &'a str,
    role: &'a str,
    /// The scopes, separated by spaces as in RFC 8693.
    scope: String,
}

/// The claims that the guard reads from a presented token. It ignores all others.
#[derive(Deserialize)]
struct PresentedClaims {
    jti: String,
    exp: u64,
    iat: Option<u64>,
}

impl JwtGuard {
    /// Returns a guard with this secret and the machine's clock.
    ///
    /// # Errors
    /// [`ShortSecret`] if the secret has fewer than 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, ShortSecret> {
        Ok(Self {
            keys: Keys::new(secret)?,
            clock: Arc::new(SystemClock),
            last_reading: AtomicU64::new(0),
            tolerance: Duration::from_mins(1),
            full_claims: false,
            revoked: Mutex::default(),
        })
    }

    /// Returns a guard with the secrets of the environment: the current one in [`SECRET_VARIABLE`]
    /// and previous ones in [`PREVIOUS_SECRETS_VARIABLE`](crate::PREVIOUS_SECRETS_VARIABLE).
    ///
    /// Without [`SECRET_VARIABLE`] the secret is random, and tokens are valid only in this process.
    ///
    /// # Errors
    /// [`SecretError`] as for [`JwtGuard::new`] and [`JwtGuard::with_previous_secrets`].
    pub fn from_environment() -> Result<Self, SecretError> {
        let guard = match std::env::var_os(SECRET_VARIABLE) {
            Some(secret) => Self::new(secret.as_encoded_bytes())?,
            None => {
                Self::new(&[Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat())?
            }
        };
        guard.with_previous_secrets(&previous_secrets_from_environment())
    }

    /// Accepts tokens that one of these previous secrets signed, too. New tokens are signed with
    /// the current secret.
    ///
    /// Remove a previous secret when the last token that it signed has expired. A second call
    /// replaces the secrets of the first.
    ///
    /// # Errors
    /// [`SecretError::TooManyPrevious`] for more than 8 secrets. [`SecretError::ShortPrevious`] for
    /// a secret of fewer than 32 bytes.
    pub fn with_previous_secrets(mut self, secrets: &[Vec<u8>]) -> Result<Self, SecretError> {
        self.keys.set_previous(secrets)?;
        Ok(self)
    }

    /// Returns the guard with another clock. Use the component's clock, so that both agree on which
    /// tokens have expired.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how far the `iat` of a token may be ahead of the guard's clock: 0 to 3,600 s; 60 s by
    /// default.
    ///
    /// # Errors
    /// [`LongTolerance`] for more than 3,600 s.
    pub fn with_clock_tolerance(mut self, tolerance: Duration) -> Result<Self, LongTolerance> {
        if tolerance > MAX_TOLERANCE {
            return Err(LongTolerance { given: tolerance });
        }
        self.tolerance = tolerance;
        Ok(self)
    }

    /// Adds the claims `agent_id`, `workspace_id`, `task`, `role` and `scope` to each token, for
    /// services that read tokens without asking the component.
    ///
    /// A request whose token would be longer than 8,192 bytes is `denied`.
    #[must_use]
    pub fn with_full_claims(mut self) -> Self {
        self.full_claims = true;
        self
    }

    /// Returns the clock's reading in milliseconds since 1970. If the reading has failed, returns
    /// the last good one, or 0 before the first.
    fn now_millis(&self) -> u64 {
        let now = self.clock.now_millis();
        if now < EARLIEST {
            return self.last_reading.load(Ordering::Relaxed);
        }
        self.last_reading.store(now, Ordering::Relaxed);
        now
    }

    /// Checks that `iat` (in seconds) is at most the tolerance after `now` (in milliseconds).
    fn check_issued_at(&self, iat: u64, now: u64) -> Result<(), GuardError> {
        let ahead = Duration::from_millis(iat.saturating_mul(1_000).saturating_sub(now));
        // The clock has had no good reading if `now` is 0, so there is no time to compare with.
        if now == 0 || ahead <= self.tolerance {
            return Ok(());
        }
        Err(GuardError::Denied(format!(
            "the token was issued {} ms ahead of the guard's clock, and at most {} ms are allowed",
            ahead.as_millis(),
            self.tolerance.as_millis()
        )))
    }

    /// Returns the claims of a valid token. `now` is in milliseconds.
    fn claims(&self, token: &str, now: u64) -> Result<Claims, GuardError> {
        let claims: Option<PresentedClaims> = self.keys.verify(token);
        let PresentedClaims { jti, exp, iat } = claims.ok_or(GuardError::InvalidToken)?;
        let expires_at = exp.saturating_mul(1_000);
        if expires_at <= now {
            return Err(GuardError::Expired);
        }
        self.check_issued_at(iat.unwrap_or(0), now)?;
        let entry = (exp, jti);
        if self.revoked().contains(&entry) {
            return Err(GuardError::Revoked);
        }
        let (_, handle) = entry;
        Ok(Claims { handle, expires_at })
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

impl LocalGuard for JwtGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        // The times of a token are whole seconds, rounded up. The session ends at the exact
        // millisecond, so the token outlives it by less than a second.
        let exp = request.expires_at.div_ceil(1_000);
        let jti = format!("{}.{exp}", Uuid::new_v4().simple());
        let full = self.full_claims.then(|| FullClaims {
            agent_id: &request.agent_id,
            workspace_id: &request.workspace_id,
            task: &request.task,
            role: &request.role,
            scope: request.scopes.join(" "),
        });
        let claims = IssuedClaims {
            iss: ISSUER,
            sub: &request.principal,
            jti: &jti,
            iat: self.now_millis() / 1_000,
            exp,
            sid: &request.session_id,
            full,
        };
        let token = self.keys.sign(&claims).map_err(|error| {
            GuardError::Unavailable(format!("the token could not be signed: {error}"))
        })?;
        if token.len() > MAX_TOKEN {
            return Err(GuardError::Denied(format!(
                "the token would have {} bytes, and at most {MAX_TOKEN} are allowed: request fewer \
                 or shorter scopes, or turn full claims off",
                token.len()
            ))
            .into());
        }
        Ok(IssuedToken {
            token,
            handle: jti,
            expires_at: exp.saturating_mul(1_000),
        })
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        Ok(self.claims(&token, self.now_millis())?)
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        let now = self.now_millis() / 1_000;
        Ok(revoke(&mut self.revoked(), handle, now)?)
    }

    fn validate_tokens(&self, tokens: Vec<String>) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        let now = self.now_millis();
        let claims = tokens.iter().map(|token| self.claims(token, now));
        Ok(claims.collect())
    }

    fn revoke_tokens(&self, handles: Vec<String>) -> GuardResult<Vec<Result<(), GuardError>>> {
        let now = self.now_millis() / 1_000;
        let mut revoked = self.revoked();
        let results = handles.into_iter();
        let results = results.map(|handle| revoke(&mut revoked, handle, now));
        Ok(results.collect())
    }
}

/// Revokes a token by its handle, and drops revocations of tokens that have expired. `now` is in
/// seconds.
fn revoke(
    revoked: &mut BTreeSet<(u64, String)>,
    handle: String,
    now: u64,
) -> Result<(), GuardError> {
    let exp = handle
        .rsplit_once('.')
        .and_then(|(_, exp)| exp.parse().ok());
    let exp: u64 = exp.ok_or(GuardError::InvalidToken)?;
    while revoked.first().is_some_and(|(exp, _)| *exp <= now) {
        revoked.pop_first();
    }
    if exp > now {
        revoked.insert((exp, handle));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawdb_session_host::Instant;
    use clawdb_session_testkit::CONTROLLED_START;
    use clawdb_session_testkit::ManualClock;

    /// Returns the time that is this many milliseconds after the start of the guard's clock.
    fn after(millis: u64) -> u64 {
        u64::try_from(CONTROLLED_START.seconds).unwrap() * 1_000 + millis
    }

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

    fn guard_of(secret: &[u8; 32]) -> (JwtGuard, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(CONTROLLED_START));
        let guard = JwtGuard::new(secret).unwrap().with_clock(clock.clone());
        (guard, clock)
    }

    fn guard() -> (JwtGuard, Arc<ManualClock>) {
        guard_of(&[7; 32])
    }

    #[test]
    fn a_token_is_valid_until_its_expiry_rounded_up_to_the_second() {
        let (guard, clock) = guard();
        let issued = guard.issue_session_token(request(after(60_500)));
        let issued = issued.unwrap();
        assert_eq!(issued.expires_at, after(61_000));
        let claims = guard.validate_token(issued.token.clone()).unwrap();
        assert_eq!(
            (claims.handle, claims.expires_at),
            (issued.handle, after(61_000))
        );
        clock.advance(Duration::from_secs(61));
        assert_eq!(
            guard.validate_token(issued.token),
            Err(GuardError::Expired.into())
        );
    }

    #[test]
    fn a_revoked_token_is_refused_and_forgotten_once_it_has_expired() {
        let (guard, clock) = guard();
        let first = guard.issue_session_token(request(after(60_000)));
        let first = first.unwrap();
        guard.revoke_token(first.handle.clone()).unwrap();
        guard.revoke_token(first.handle).unwrap();
        assert_eq!(
            guard.validate_token(first.token),
            Err(GuardError::Revoked.into())
        );
        clock.advance(Duration::from_mins(1));
        let second = guard.issue_session_token(request(after(90_000)));
        let second = second.unwrap();
        guard.revoke_token(second.handle.clone()).unwrap();
        assert_eq!(
            *guard.revoked(),
            BTreeSet::from([(after(90_000) / 1_000, second.handle)])
        );
    }

    #[test]
    fn a_batch_returns_the_result_of_each_token_in_its_order() {
        let (guard, clock) = guard();
        let mut issued = Vec::new();
        for seconds in [1, 60, 60, 60] {
            let token = guard.issue_session_token(request(after(seconds * 1_000)));
            issued.push(token.unwrap());
        }
        clock.advance(Duration::from_secs(1));
        let handles = vec![
            issued[0].handle.clone(),
            "no handle".into(),
            issued[2].handle.clone(),
        ];
        let revoked = guard.revoke_tokens(handles).unwrap();
        assert_eq!(revoked, [Ok(()), Err(GuardError::InvalidToken), Ok(())]);
        // The revocation of the first is not kept, because that token has expired.
        assert_eq!(guard.revoked().len(), 1);

        let mut tokens: Vec<_> = issued.iter().map(|it| it.token.clone()).collect();
        tokens.insert(1, "x".into());
        let answers = guard.validate_tokens(tokens.clone()).unwrap();
        let mut alone = Vec::new();
        for token in tokens {
            alone.push(guard.validate_token(token));
        }
        let each = answers.iter().cloned();
        let each: Vec<_> = each.map(|it| it.map_err(Into::into)).collect();
        assert_eq!(each, alone);
        let handles = answers.into_iter().map(|it| it.map(|it| it.handle));
        assert_eq!(
            handles.collect::<Vec<_>>(),
            [
                Err(GuardError::Expired),
                Err(GuardError::InvalidToken),
                Ok(issued[1].handle.clone()),
                Err(GuardError::Revoked),
                Ok(issued[3].handle.clone()),
            ]
        );
    }

    #[test]
    fn tokens_of_another_key_or_issuer_or_without_a_signature_are_refused() {
        let (guard, _) = guard();
        let (other, _) = guard_of(&[8; 32]);
        let foreign = other.issue_session_token(request(after(60_000)));
        let claims = |iss| serde_json::json!({ "iss": iss, "exp": after(60_000), "jti": "x" });
        let issuer = guard.keys.sign(&claims("another issuer")).unwrap();
        let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjbGF3ZGItc2Vzc2lvbiJ9.";
        for token in [foreign.unwrap().token, issuer, unsigned.into()] {
            assert_eq!(
                guard.validate_token(token),
                Err(GuardError::InvalidToken.into())
            );
        }
        let good = guard.keys.sign(&claims(ISSUER)).unwrap();
        guard.validate_token(good).unwrap();
    }

    #[test]
    fn a_token_without_iss_jti_or_exp_is_refused() {
        let (guard, _) = guard();
        let all = serde_json::json!({ "iss": ISSUER, "exp": after(60_000) / 1_000, "jti": "x" });
        let token = guard.keys.sign(&all).unwrap();
        guard.validate_token(token).unwrap();
        for claim in ["iss", "exp", "jti"] {
            let mut claims = all.clone();
            claims.as_object_mut().unwrap().remove(claim);
            let token = guard.keys.sign(&claims).unwrap();
            assert_eq!(
                guard.validate_token(token),
                Err(GuardError::InvalidToken.into()),
                "without {claim}"
            );
        }
    }

    #[test]
    fn the_guard_uses_the_last_good_reading_of_a_clock_that_fails() {
        let (guard, clock) = guard();
        let issued = guard.issue_session_token(request(after(60_000)));
        let token = issued.unwrap().token;
        for seconds in [-1, 0, 1_577_836_799] {
            clock.set(Instant {
                seconds,
                nanoseconds: 0,
            });
            guard.validate_token(token.clone()).unwrap();
        }
        // A reading in 2020 is good, so the token was issued ahead of the clock.
        clock.set(Instant {
            seconds: 1_577_836_800,
            nanoseconds: 0,
        });
        assert!(matches!(
            guard.validate_token(token),
            Err(clawdb_session_host::GuardFailure::Error(
                GuardError::Denied(_)
            ))
        ));
    }

    #[test]
    fn secrets_outside_their_bounds_are_refused_and_not_shown() {
        let short = JwtGuard::new(b"too short").unwrap_err();
        assert_eq!(short, ShortSecret { bytes: 9 });
        let previous = |secrets: &[Vec<u8>]| {
            let refused = guard().0.with_previous_secrets(secrets);
            refused.map(drop)
        };
        assert_eq!(previous(&vec![vec![1; 32]; 8]), Ok(()));
        assert_eq!(
            previous(&vec![vec![1; 32]; 9]),
            Err(SecretError::TooManyPrevious { given: 9 })
        );
        let short = previous(&[vec![1; 32], b"hunter2".to_vec()]).unwrap_err();
        assert_eq!(
            short,
            SecretError::ShortPrevious {
                number: 2,
                bytes: 7
            }
        );
        assert!(!short.to_string().contains("hunter2"), "{short}");
    }
}
