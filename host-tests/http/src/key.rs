//! The admin key, with which a caller may create, end and see every session.

use std::sync::Arc;

use clawdb_session_host::InvalidSetting;
use subtle::ConstantTimeEq;

/// The environment variable that holds the key.
pub const ADMIN_KEY_VARIABLE: &str = "CLAWDB_SESSION_ADMIN_KEY";

const MIN_BYTES: usize = 16;
const MAX_BYTES: usize = 1_024;

/// The admin key: 16 to 1,024 printable ASCII characters without spaces. Clones share one copy of
/// it.
#[derive(Clone)]
pub struct AdminKey(Arc<str>);

/// The error of a text that cannot be an admin key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an admin key must have {MIN_BYTES} to {MAX_BYTES} printable ASCII characters, and no spaces"
)]
#[non_exhaustive]
pub struct BadAdminKey;

impl AdminKey {
    /// Returns this text as the key.
    ///
    /// # Errors
    /// [`BadAdminKey`] if it has fewer than 16 or more than 1,024 bytes, or a byte that is not a
    /// printable ASCII character.
    pub fn new(key: impl Into<String>) -> Result<Self, BadAdminKey> {
        let key = key.into();
        let long_enough = (MIN_BYTES..=MAX_BYTES).contains(&key.len());
        // Not every client can send other characters in a header.
        if long_enough && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(key.into()));
        }
        Err(BadAdminKey)
    }

    /// Returns the key in the environment variable [`ADMIN_KEY_VARIABLE`], or `None` if that is not
    /// set.
    ///
    /// # Errors
    /// [`InvalidSetting`], with the length of the value, for a value that cannot be a key.
    pub fn from_environment() -> Result<Option<Self>, InvalidSetting> {
        let Some(key) = std::env::var_os(ADMIN_KEY_VARIABLE) else {
            return Ok(None);
        };
        let length = format!("{} bytes", key.len());
        // A text that is not Unicode is not ASCII either.
        let key = Self::new(key.into_string().unwrap_or_default());
        key.map(Some).map_err(|_| {
            let reason = format!(
                "must have {MIN_BYTES} to {MAX_BYTES} printable ASCII characters, and no spaces"
            );
            InvalidSetting::new(ADMIN_KEY_VARIABLE, length, reason)
        })
    }

    /// Returns a random key: 32 bytes as hexadecimal digits.
    ///
    /// # Errors
    /// The error of the operating system's random source.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(hex::encode(key).into()))
    }

    /// Returns the key as text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns whether the presented text is the key, in a time that depends only on the lengths.
    pub(super) fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl std::fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminKey(..)")
    }
}
