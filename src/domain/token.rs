//! Bearer tokens and their keyed fingerprints. Of a token the component keeps only the fingerprint
//! (R9, R22).

use std::fmt;

use crate::domain::error::Error;
use crate::domain::mac::{Mac, MacKey};

/// The longest token, in bytes.
const MAX_TOKEN: usize = 8 * 1_024;

/// A token that a caller presents or that the guard issues: at most 8 KiB. Its `Debug` output does
/// not contain the token.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Checks the length. An empty token is accepted here; it is refused later, because no session
    /// has it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 8,192 bytes.
    pub fn parse(text: String) -> Result<Self, Error> {
        if text.len() > MAX_TOKEN {
            return Err(Error::invalid(
                "token",
                format!("must have at most {MAX_TOKEN} bytes, not {}", text.len()),
            ));
        }
        Ok(Self(text))
    }

    /// Returns the secret text of the token.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the secret text of the token without copying it.
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

/// The key that tokens are fingerprinted with. It leaves the instance only wrapped with the host's
/// state key (`StateKey::wrap`). Without it, a fingerprint reveals nothing about its token, and no
/// fingerprint can be computed for a token.
#[derive(Clone)]
pub struct FingerprintKey {
    secret: [u8; 32],
    mac: MacKey,
}

impl FingerprintKey {
    /// Returns the key with this secret: random bytes, or the secret of an earlier instance's key.
    /// The result is never `None`, because a [`MacKey`] can have a secret of 32 bytes.
    #[must_use]
    pub fn from_secret(secret: [u8; 32]) -> Option<Self> {
        let mac = MacKey::new(&secret)?;
        Some(Self { secret, mac })
    }

    /// Returns the secret of the key, for wrapping.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Returns the fingerprint of a token: its HMAC-SHA256 under this key.
    #[must_use]
    pub fn fingerprint(&self, token: &Token) -> Fingerprint {
        Fingerprint(self.mac.code_of(token.0.as_bytes()))
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

/// The keyed fingerprint of a token. Comparison takes constant time (R22).
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint(Mac);

impl Fingerprint {
    /// Returns the fingerprint with these bytes, which come from a record.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Mac::from_bytes(bytes))
    }

    /// Returns the bytes, for a record. Do not compare them: only comparing fingerprints takes
    /// constant time.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns the first 8 bytes as the key of a hash table. Fingerprints are keyed, so a caller
    /// cannot choose tokens that collide (R20).
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

/// The longest handle, in bytes.
const MAX_HANDLE: usize = 512;

/// Returns whether the length of a handle is within its bounds: 1 to 512 bytes.
#[must_use]
pub fn is_handle(handle: &str) -> bool {
    (1..=MAX_HANDLE).contains(&handle.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::Config;
    use crate::domain::state_key::StateKey;

    #[test]
    fn r2_a_token_has_at_most_8_kib_and_a_handle_1_to_512_bytes() {
        for len in [0, 1, 8_191, 8_192] {
            let text = "x".repeat(len);
            let token = Token::parse(text.clone()).unwrap();
            assert_eq!(
                (token.expose(), token.clone().into_exposed()),
                (&*text, text.clone())
            );
        }
        for len in [8_193, 8_194] {
            assert!(Token::parse("x".repeat(len)).is_err(), "{len} bytes");
        }
        for (len, is_valid) in [(0, false), (1, true), (512, true), (513, false)] {
            assert_eq!(is_handle(&"x".repeat(len)), is_valid, "{len} bytes");
        }
    }

    #[test]
    fn r22_the_debug_output_of_secrets_is_the_name_of_their_type() {
        let token = Token::parse("secret".into()).unwrap();
        let key = FingerprintKey::from_secret([7; 32]).unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert_eq!(format!("{key:?}"), "FingerprintKey(..)");
        let state_key = StateKey::parse("state-key", &[7; 32]).unwrap();
        assert_eq!(format!("{state_key:?}"), "StateKey(..)");
        assert_eq!(format!("{:?}", Config::default()), "Config { .. }");
        assert_eq!(format!("{:?}", key.fingerprint(&token)), "Fingerprint(..)");
        assert_eq!(
            format!("{:?}", MacKey::new(b"secret").unwrap()),
            "MacKey(..)"
        );
    }
}
