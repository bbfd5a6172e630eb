//! Bearer tokens, and the only thing that is kept of them: a keyed fingerprint (R9, R22).

use std::fmt;

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::error::Error;

/// How long a token can be, in bytes.
const MAX_TOKEN: usize = 8 * 1_024;

/// A token of at most 8 KiB, as somebody presents it or the guard issues it. `Debug` does not show
/// it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Checks the length. An empty token is no malformed argument but one that no session has.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] above the bound.
    pub fn parse(text: String) -> Result<Self, Error> {
        if text.len() > MAX_TOKEN {
            return Err(Error::invalid(
                "token",
                format!("must have at most {MAX_TOKEN} bytes"),
            ));
        }
        Ok(Self(text))
    }

    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The token itself, to hand over.
    #[must_use]
    pub fn into_exposed(self) -> String {
        self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The key that fingerprints are made with. It leaves the instance only hidden by a key of the
/// host's (`seal`), so that a fingerprint tells nothing about a token and cannot be made for one
/// elsewhere.
#[derive(Clone)]
pub struct FingerprintKey {
    secret: [u8; 32],
    mac: Hmac<Sha256>,
}

impl FingerprintKey {
    /// Returns the key with this secret: random bytes, or the secret of another instance's key.
    /// There is always one: HMAC takes keys of any length.
    #[must_use]
    pub fn from_secret(secret: [u8; 32]) -> Option<Self> {
        let mac = Hmac::new_from_slice(&secret).ok()?;
        Some(Self { secret, mac })
    }

    /// The key itself, to be wrapped.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The fingerprint of a token: its HMAC-SHA256 under this key.
    #[must_use]
    pub fn fingerprint(&self, token: &Token) -> Fingerprint {
        let mut mac = self.mac.clone();
        mac.update(token.0.as_bytes());
        Fingerprint(mac.finalize())
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

/// What is kept of a token. Comparison takes constant time (R22).
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint(CtOutput<Hmac<Sha256>>);

impl Fingerprint {
    /// One that was kept elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(CtOutput::new(bytes.into()))
    }

    /// Its bytes, to keep. Compare fingerprints, not these.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Its first bytes, as the key of a table. Fingerprints are keyed, so nobody can make two with
    /// the same key on purpose.
    #[must_use]
    pub fn key(&self) -> u64 {
        let (chunks, _) = self.0.as_bytes().as_chunks();
        chunks.first().copied().map_or(0, u64::from_le_bytes)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// How long a handle can be, in bytes.
const MAX_HANDLE: usize = 512;

/// Returns whether a handle has a length that can be kept.
#[must_use]
pub fn is_handle(handle: &str) -> bool {
    (1..=MAX_HANDLE).contains(&handle.len())
}
