//! Message authentication codes: HMAC-SHA256 (RFC 2104).

use std::fmt;

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

/// The longest secret, in bytes: longer ones would be hashed first (RFC 2104, section 3).
pub const MAX_SECRET: usize = 64;

/// A key for message authentication codes. Its `Debug` output does not contain it.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// Returns the key with this secret, or `None` if that has more than 64 bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        // HMAC pads a secret with zeros.
        let mut padded = [0; MAX_SECRET];
        padded.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(Self(Hmac::new(&padded.into())))
    }

    /// Returns the code of a message.
    #[must_use]
    pub fn code_of(&self, message: &[u8]) -> Mac {
        let mut hmac = self.0.clone();
        hmac.update(message);
        Mac(hmac.finalize())
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

/// A message authentication code. Comparison takes constant time (R22).
#[derive(Clone, PartialEq, Eq)]
pub struct Mac(CtOutput<Hmac<Sha256>>);

impl Mac {
    /// Returns the code with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(CtOutput::new(bytes.into()))
    }

    /// Returns the bytes. Do not compare them: only comparing codes takes constant time.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test cases 2 and 3 of RFC 4231.
    #[test]
    fn codes_are_those_of_hmac_sha256() {
        let long = [0xdd; 50];
        let cases: [(&[u8], &[u8], &str); 2] = [
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &long,
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
        ];
        for (secret, message, code) in cases {
            let computed = MacKey::new(secret).unwrap().code_of(message);
            let digits = computed.as_bytes().iter().map(|byte| format!("{byte:02x}"));
            assert_eq!(digits.collect::<String>(), code);
        }
    }

    #[test]
    fn a_secret_has_at_most_64_bytes() {
        assert!(MacKey::new(&[1; 64]).is_some());
        assert!(MacKey::new(&[1; 65]).is_none());
    }
}
