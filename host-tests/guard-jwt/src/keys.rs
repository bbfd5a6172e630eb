//! The secrets of the JWT guard: the current one, which signs, and previous ones, which only
//! verify.

use std::env;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The environment variable with the current secret.
pub const SECRET_VARIABLE: &str = "CLAW_GUARD_JWT_SECRET";
/// The environment variable with previous secrets, one on each line.
pub const PREVIOUS_SECRETS_VARIABLE: &str = "CLAW_GUARD_PREVIOUS_JWT_SECRETS";

/// The fewest bytes of a secret. HS256 requires a key that is as long as the hash (RFC 7518,
/// section 3.2).
pub const MIN_SECRET: usize = 32;
pub(crate) const ISSUER: &str = "clawdb-session";

/// The maximum number of previous secrets. A token that none of them signed costs one signature for
/// each.
const MAX_PREVIOUS: usize = 8;

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

/// The keys and settings with which tokens are signed and verified.
pub(super) struct Keys {
    signing: EncodingKey,
    /// The current key, then the previous ones.
    verifying: Vec<DecodingKey>,
    header: Header,
    validation: Validation,
}

impl Keys {
    pub(super) fn new(secret: &[u8]) -> Result<Self, ShortSecret> {
        if secret.len() < MIN_SECRET {
            return Err(ShortSecret {
                bytes: secret.len(),
            });
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "exp"]);
        // The guard compares the expiry with its own clock, without leeway.
        validation.validate_exp = false;
        Ok(Self {
            signing: EncodingKey::from_secret(secret),
            verifying: vec![DecodingKey::from_secret(secret)],
            // `typ` is optional (RFC 7519, section 5.1), and this guard does not read it.
            header: Header {
                typ: None,
                ..Header::new(Algorithm::HS256)
            },
            validation,
        })
    }

    /// Replaces the previous secrets.
    pub(super) fn set_previous(&mut self, secrets: &[Vec<u8>]) -> Result<(), SecretError> {
        if secrets.len() > MAX_PREVIOUS {
            return Err(SecretError::TooManyPrevious {
                given: secrets.len(),
            });
        }
        let short = secrets.iter().position(|secret| secret.len() < MIN_SECRET);
        if let Some(at) = short {
            return Err(SecretError::ShortPrevious {
                number: at + 1,
                bytes: secrets[at].len(),
            });
        }
        self.verifying.truncate(1);
        let previous = secrets
            .iter()
            .map(|secret| DecodingKey::from_secret(secret));
        self.verifying.extend(previous);
        Ok(())
    }

    /// Returns the token with these claims, signed with the current key.
    pub(super) fn sign(
        &self,
        claims: &impl Serialize,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.signing)
    }

    /// Returns the claims of a token that one of the keys signed; `None` for any other token, and
    /// for a token without a required claim.
    pub(super) fn verify<C: DeserializeOwned>(&self, token: &str) -> Option<C> {
        for key in &self.verifying {
            match jsonwebtoken::decode(token, key, &self.validation) {
                Ok(token) => return Some(token.claims),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(_) => return None,
            }
        }
        None
    }
}
