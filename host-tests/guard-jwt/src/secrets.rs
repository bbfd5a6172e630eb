//! The secrets of the JWT guard: the current one, which signs, and previous ones, which only
//! verify.

use std::env;

use clawdb_session_guard_jwt_core::{Key, MAX_PREVIOUS, MIN_KEY};

/// The environment variable with the current secret.
pub const SECRET_VARIABLE: &str = "CLAW_GUARD_JWT_SECRET";
/// The environment variable with previous secrets, one on each line.
pub const PREVIOUS_SECRETS_VARIABLE: &str = "CLAW_GUARD_PREVIOUS_JWT_SECRETS";

/// The fewest bytes of a secret. HS256 requires a key that is as long as the hash (RFC 7518,
/// section 3.2).
pub const MIN_SECRET: usize = MIN_KEY;

/// The current secret has fewer than 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret of the JWT guard ({SECRET_VARIABLE}) has {bytes} bytes and must have at least \
     {MIN_SECRET} bytes"
)]
#[non_exhaustive]
pub struct ShortSecret {
    /// The length of the secret, in bytes.
    pub bytes: usize,
}

/// The reason why secrets are refused. No variant contains a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The current secret has fewer than 32 bytes.
    #[error(transparent)]
    Short(#[from] ShortSecret),
    /// A previous secret has fewer than 32 bytes.
    #[error(
        "previous secret {number} of the JWT guard ({PREVIOUS_SECRETS_VARIABLE}) has {bytes} bytes \
         and must have at least {MIN_SECRET} bytes"
    )]
    ShortPrevious {
        /// The number of the secret, counted from 1.
        number: usize,
        /// The length of the secret, in bytes.
        bytes: usize,
    },
    /// There are more than 8 previous secrets.
    #[error(
        "the JWT guard has {given} previous secrets ({PREVIOUS_SECRETS_VARIABLE}) and accepts at \
         most {MAX_PREVIOUS}"
    )]
    TooManyPrevious {
        /// The number of secrets.
        given: usize,
    },
}

/// Returns the secrets in [`PREVIOUS_SECRETS_VARIABLE`], one from each line that is not empty.
#[must_use]
pub fn previous_secrets_from_environment() -> Vec<Vec<u8>> {
    let text = env::var_os(PREVIOUS_SECRETS_VARIABLE).unwrap_or_default();
    let lines = text.as_encoded_bytes().split(|byte| *byte == b'\n');
    lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// Returns the key with the current secret.
pub(super) fn current_key(secret: &[u8]) -> Result<Key, ShortSecret> {
    Key::new(secret).map_err(|short| ShortSecret { bytes: short.bytes })
}

/// Returns the keys with previous secrets.
pub(super) fn previous_keys(secrets: &[Vec<u8>]) -> Result<Vec<Key>, SecretError> {
    if secrets.len() > MAX_PREVIOUS {
        return Err(SecretError::TooManyPrevious {
            given: secrets.len(),
        });
    }
    let keys = secrets.iter().zip(1..).map(|(secret, number)| {
        let bytes = secret.len();
        Key::new(secret).map_err(|_| SecretError::ShortPrevious { number, bytes })
    });
    keys.collect()
}
