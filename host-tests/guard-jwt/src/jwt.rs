//! The JWT guard: JSON Web Tokens (RFC 7519) signed with HMAC-SHA256.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clawdb_session_guard_jwt_core::{
    FullClaims, Issued, Keys, TokenError, TokenRequest, Tokens, Valid,
};
use clawdb_session_host::{
    Claims, Clock, GuardError, GuardResult, IssueRequest, IssuedToken, LocalGuard, SystemClock,
};
use uuid::Uuid;

use crate::secrets::{
    SECRET_VARIABLE, SecretError, ShortSecret, current_key, previous_keys,
    previous_secrets_from_environment,
};

/// The longest tolerance for `iat`.
const MAX_TOLERANCE: Duration = Duration::from_hours(1);

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
/// clock is ahead, it drops the revocation too early. The guard keeps at most 1,000,000 of them; if
/// there are more, it drops those of the tokens that expire first. The component does not depend on
/// this, because it refuses tokens of ended sessions itself. The handle of a token is its `jti`,
/// which contains the expiry.
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
    tokens: Tokens,
    clock: Arc<dyn Clock>,
    full_claims: bool,
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

impl JwtGuard {
    /// Returns a guard with this secret and the machine's clock.
    ///
    /// # Errors
    /// [`ShortSecret`] if the secret has fewer than 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, ShortSecret> {
        Ok(Self {
            tokens: Tokens::new(Keys::new(current_key(secret)?)),
            clock: Arc::new(SystemClock),
            full_claims: false,
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
        let keys = previous_keys(secrets)?;
        self.tokens.keys_mut().set_previous(keys);
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
        self.tokens.set_tolerance(tolerance);
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
}

impl fmt::Debug for JwtGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtGuard").finish_non_exhaustive()
    }
}

impl LocalGuard for JwtGuard {
    fn issue_session_token(&self, request: IssueRequest) -> GuardResult<IssuedToken> {
        let wanted = TokenRequest {
            principal: &request.principal,
            session_id: &request.session_id,
            expires_at: request.expires_at,
            full: self.full_claims.then(|| FullClaims {
                agent_id: &request.agent_id,
                workspace_id: &request.workspace_id,
                task: &request.task,
                role: &request.role,
                scope: request.scopes.join(" "),
            }),
        };
        let now = self.clock.now_millis();
        let issued = self.tokens.issue(wanted, Uuid::new_v4(), now);
        let Issued {
            token,
            handle,
            expires_at,
        } = issued.map_err(guard_error)?;
        Ok(IssuedToken {
            token,
            handle,
            expires_at,
        })
    }

    fn validate_token(&self, token: String) -> GuardResult<Claims> {
        let valid = self.tokens.validate(&token, self.clock.now_millis());
        Ok(claims(valid)?)
    }

    fn revoke_token(&self, handle: String) -> GuardResult<()> {
        let revoked = self.tokens.revoke(handle, self.clock.now_millis());
        Ok(revoked.map_err(guard_error)?)
    }

    fn validate_tokens(&self, tokens: Vec<String>) -> GuardResult<Vec<Result<Claims, GuardError>>> {
        let now = self.clock.now_millis();
        let valid = tokens.iter().map(|token| self.tokens.validate(token, now));
        Ok(valid.map(claims).collect())
    }

    fn revoke_tokens(&self, handles: Vec<String>) -> GuardResult<Vec<Result<(), GuardError>>> {
        let now = self.clock.now_millis();
        let revoked = handles.into_iter().map(|it| self.tokens.revoke(it, now));
        Ok(revoked.map(|it| it.map_err(guard_error)).collect())
    }
}

fn claims(valid: Result<Valid, TokenError>) -> Result<Claims, GuardError> {
    let Valid { handle, expires_at } = valid.map_err(guard_error)?;
    Ok(Claims { handle, expires_at })
}

fn guard_error(error: TokenError) -> GuardError {
    match error {
        TokenError::InvalidToken => GuardError::InvalidToken,
        TokenError::Expired => GuardError::Expired,
        TokenError::Revoked => GuardError::Revoked,
        TokenError::Denied(reason) => GuardError::Denied(reason),
        TokenError::Unavailable(reason) => GuardError::Unavailable(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawdb_session_host::Instant;
    use clawdb_session_testkit::CONTROLLED_START;
    use clawdb_session_testkit::ManualClock;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    const ISSUER: &str = "clawdb-session";

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

    /// Returns the token with these claims, signed by another program with the key of [`guard`].
    fn signed(claims: &Value) -> String {
        let key = EncodingKey::from_secret(&[7; 32]);
        jsonwebtoken::encode(&Header::default(), claims, &key).unwrap()
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
    fn a_revoked_token_is_refused() {
        let (guard, clock) = guard();
        let issued = guard.issue_session_token(request(after(60_000)));
        let issued = issued.unwrap();
        guard.revoke_token(issued.handle.clone()).unwrap();
        guard.revoke_token(issued.handle).unwrap();
        assert_eq!(
            guard.validate_token(issued.token.clone()),
            Err(GuardError::Revoked.into())
        );
        clock.advance(Duration::from_mins(1));
        assert_eq!(
            guard.validate_token(issued.token),
            Err(GuardError::Expired.into())
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
        let claims = |iss| json!({ "iss": iss, "exp": after(60_000), "jti": "x" });
        let issuer = signed(&claims("another issuer"));
        let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjbGF3ZGItc2Vzc2lvbiJ9.";
        for token in [foreign.unwrap().token, issuer, unsigned.into()] {
            assert_eq!(
                guard.validate_token(token),
                Err(GuardError::InvalidToken.into())
            );
        }
        guard.validate_token(signed(&claims(ISSUER))).unwrap();
    }

    #[test]
    fn a_token_without_iss_jti_or_exp_is_refused() {
        let (guard, _) = guard();
        let all = json!({ "iss": ISSUER, "exp": after(60_000) / 1_000, "jti": "x" });
        guard.validate_token(signed(&all)).unwrap();
        for claim in ["iss", "exp", "jti"] {
            let mut claims = all.clone();
            claims.as_object_mut().unwrap().remove(claim);
            assert_eq!(
                guard.validate_token(signed(&claims)),
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
