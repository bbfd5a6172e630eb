//! Issues, validates and revokes tokens.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::claims::{FullClaims, ISSUER, IssuedClaims, PresentedClaims};
use crate::keys::Keys;
use crate::revocations::{MAX_REVOKED, Revocations, UnknownHandle};

/// The longest token, in bytes (`issued-token` in `wit/guard.wit`).
pub const MAX_TOKEN: usize = 8_192;
/// How far the `iat` of a token may be ahead of the clock by default, in milliseconds.
const DEFAULT_TOLERANCE: u64 = 60_000;
/// 2020-01-01T00:00:00Z. A clock that shows an earlier time has failed (R6).
const EARLIEST: u64 = 1_577_836_800_000;

/// Why a token is not issued, not accepted or not revoked: the cases of `guard-error` in
/// `wit/guard.wit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The token or handle is not one of this guard's.
    InvalidToken,
    /// The token has expired.
    Expired,
    /// The token was revoked.
    Revoked,
    /// The guard refuses, for this reason.
    Denied(String),
    /// The guard cannot answer, for this reason.
    Unavailable(String),
}

/// What a token is requested for.
pub struct TokenRequest<'a> {
    /// The claim `sub`.
    pub principal: &'a str,
    /// The claim `sid`.
    pub session_id: &'a str,
    /// The requested expiry, in milliseconds since 1970.
    pub expires_at: u64,
    /// Claims for services that read tokens without asking the component.
    pub full: Option<FullClaims<'a>>,
}

/// A token that was issued.
pub struct Issued {
    /// The token.
    pub token: String,
    /// Its handle: its `jti`, which contains the expiry.
    pub handle: String,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: u64,
}

/// What a valid token states.
#[derive(Debug, PartialEq, Eq)]
pub struct Valid {
    /// Its handle.
    pub handle: String,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: u64,
}

/// Issues, validates and revokes tokens.
///
/// Each function takes a reading of the clock, in milliseconds since 1970. A reading before 2020
/// has failed, and the last good reading is used instead.
pub struct Tokens {
    keys: Keys,
    /// How far the `iat` of a token may be ahead of the clock, in milliseconds.
    tolerance: u64,
    /// The last good reading of the clock; 0 before the first.
    last_reading: AtomicU64,
    revoked: Mutex<Revocations>,
}

impl Tokens {
    /// Returns tokens with these keys and the default tolerance.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            tolerance: DEFAULT_TOLERANCE,
            last_reading: AtomicU64::new(0),
            revoked: Mutex::new(Revocations::new(MAX_REVOKED)),
        }
    }

    /// Returns the keys, to change them.
    pub fn keys_mut(&mut self) -> &mut Keys {
        &mut self.keys
    }

    /// Sets how far the `iat` of a token may be ahead of the clock.
    pub fn set_tolerance(&mut self, tolerance: Duration) {
        self.tolerance = u64::try_from(tolerance.as_millis()).unwrap_or(u64::MAX);
    }

    /// Issues a token. `id` must be different for each.
    ///
    /// # Errors
    /// [`TokenError::Denied`] if the token would be longer than [`MAX_TOKEN`].
    pub fn issue(
        &self,
        request: TokenRequest<'_>,
        id: Uuid,
        reading: u64,
    ) -> Result<Issued, TokenError> {
        // The times of a token are whole seconds, rounded up. The session ends at the exact
        // millisecond, so the token outlives it by less than a second.
        let exp = request.expires_at.div_ceil(1_000);
        let jti = format!("{}.{exp}", id.simple());
        let claims = IssuedClaims {
            iss: ISSUER,
            sub: request.principal,
            jti: &jti,
            iat: self.now(reading) / 1_000,
            exp,
            sid: request.session_id,
            full: request.full,
        };
        let token = self.keys.sign(&claims).ok_or_else(|| {
            TokenError::Unavailable("the claims cannot be written as JSON".into())
        })?;
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Denied(format!(
                "the token would have {} bytes, and at most {MAX_TOKEN} are allowed: request fewer \
                 or shorter scopes, or turn full claims off",
                token.len()
            )));
        }
        Ok(Issued {
            token,
            handle: jti,
            expires_at: exp.saturating_mul(1_000),
        })
    }

    /// Returns what a valid token states.
    ///
    /// # Errors
    /// Why the token is not accepted. A token that is ahead of the clock by more than the tolerance
    /// is denied, because a clock that was ahead issued it.
    pub fn validate(&self, token: &str, reading: u64) -> Result<Valid, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::InvalidToken);
        }
        let claims = self.keys.verify(token);
        let claims = claims.and_then(|claims| PresentedClaims::read(&claims));
        let claims = claims.ok_or(TokenError::InvalidToken)?;
        let now = self.now(reading);
        let expires_at = claims.exp.saturating_mul(1_000);
        if expires_at <= now {
            return Err(TokenError::Expired);
        }
        self.check_issued_at(claims.iat, now)?;
        let entry = (claims.exp, claims.jti);
        if self.revoked().contains(&entry) {
            return Err(TokenError::Revoked);
        }
        let (_, handle) = entry;
        Ok(Valid { handle, expires_at })
    }

    /// Revokes a token by its handle. A token that is revoked already, or has expired, is no error.
    ///
    /// # Errors
    /// [`TokenError::InvalidToken`] if this guard issues no such handle.
    pub fn revoke(&self, handle: String, reading: u64) -> Result<(), TokenError> {
        let now = self.now(reading) / 1_000;
        let added = self.revoked().add(handle, now);
        added.map_err(|UnknownHandle| TokenError::InvalidToken)
    }

    /// Returns the reading, or the last good one if it has failed; 0 before the first.
    fn now(&self, reading: u64) -> u64 {
        if reading < EARLIEST {
            return self.last_reading.load(Ordering::Relaxed);
        }
        self.last_reading.store(reading, Ordering::Relaxed);
        reading
    }

    /// Checks that `iat` (in seconds) is at most the tolerance after `now` (in milliseconds).
    fn check_issued_at(&self, iat: u64, now: u64) -> Result<(), TokenError> {
        let ahead = iat.saturating_mul(1_000).saturating_sub(now);
        // The clock has had no good reading if `now` is 0, so there is no time to compare with.
        let most = self.tolerance;
        if now == 0 || ahead <= most {
            return Ok(());
        }
        Err(TokenError::Denied(format!(
            "the token was issued {ahead} ms ahead of the guard's clock, and at most {most} ms are \
             allowed"
        )))
    }

    fn revoked(&self) -> MutexGuard<'_, Revocations> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows no key.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Key, decode};
    use proptest::prelude::*;
    use serde_json::json;

    /// 2030-01-01T00:00:00Z, in milliseconds.
    const START: u64 = 1_893_456_000_000;

    fn tokens() -> Tokens {
        Tokens::new(Keys::new(Key::new(&[7; 32]).unwrap()))
    }

    fn issue(tokens: &Tokens, expires_at: u64) -> Issued {
        let request = TokenRequest {
            principal: "agent:a",
            session_id: "s",
            expires_at,
            full: None,
        };
        tokens.issue(request, Uuid::from_u128(1), START).unwrap()
    }

    #[test]
    fn a_token_states_these_claims() {
        let issued = issue(&tokens(), START + 1);
        let jti = "00000000000000000000000000000001.1893456001";
        assert_eq!((&*issued.handle, issued.expires_at), (jti, START + 1_000));
        let parts = issued.token.split('.').take(2);
        let parts = parts.map(|part| String::from_utf8(decode(part).unwrap()).unwrap());
        let (iat, exp) = (START / 1_000, START / 1_000 + 1);
        let claims = format!(
            r#"{{"iss":"clawdb-session","sub":"agent:a","jti":"{jti}","iat":{iat},{rest}}}"#,
            rest = format_args!(r#""exp":{exp},"sid":"s""#),
        );
        assert_eq!(parts.collect::<Vec<_>>(), [r#"{"alg":"HS256"}"#, &claims]);
    }

    #[test]
    fn a_token_for_an_audience_or_of_another_issuer_is_invalid() {
        let tokens = tokens();
        let all = json!({ "iss": ISSUER, "exp": START / 1_000 + 60, "jti": "x" });
        for (claim, value, valid) in [
            ("iss", json!(ISSUER), true),
            ("iss", json!("another"), false),
            ("iss", json!([ISSUER]), false),
            ("aud", json!("x"), false),
            ("aud", json!([]), false),
            ("nbf", json!("ignored"), true),
            ("exp", json!("x"), false),
            ("exp", json!(-1), false),
            ("iat", json!(-1), false),
            ("jti", json!(1), false),
        ] {
            let mut claims = all.clone();
            claims[claim] = value;
            let token = tokens.keys.sign(&claims).unwrap();
            let validated = tokens.validate(&token, START);
            assert_eq!(validated.is_ok(), valid, "{claims}: {validated:?}");
        }
    }

    #[test]
    fn a_token_of_more_than_8192_bytes_is_invalid() {
        let tokens = tokens();
        let claims = |n: usize| {
            let exp = START / 1_000 + 60;
            json!({ "iss": ISSUER, "exp": exp, "jti": "x", "pad": "x".repeat(n) })
        };
        let sign = |n| tokens.keys.sign(&claims(n)).unwrap();
        let most = (1..MAX_TOKEN).find(|n| sign(n + 1).len() > MAX_TOKEN);
        let most = most.unwrap();
        tokens.validate(&sign(most), START).unwrap();
        let refused = tokens.validate(&sign(most + 1), START);
        assert_eq!(refused, Err(TokenError::InvalidToken));
    }

    proptest! {
        /// No token, handle or reading makes a call panic, and no altered token is accepted.
        #[test]
        fn no_altered_token_is_accepted(
            at in any::<prop::sample::Index>(),
            other in any::<char>(),
            text in ".{0,300}",
            reading in any::<u64>(),
            expires_at in any::<u64>(),
        ) {
            let tokens = tokens();
            let issued = issue(&tokens, START + 60_000);
            let mut chars: Vec<_> = issued.token.chars().collect();
            chars[at.index(issued.token.len())] = other;
            let altered = String::from_iter(chars);
            prop_assume!(altered != issued.token);
            prop_assert_eq!(tokens.validate(&altered, START), Err(TokenError::InvalidToken));
            prop_assert_eq!(tokens.validate(&text, reading), Err(TokenError::InvalidToken));
            let _ = tokens.validate(&issued.token, reading);
            let _ = tokens.revoke(text, reading);
            issue(&tokens, expires_at);
        }
    }
}
