//! The key of those who may create, end and see every session.

use clawdb_session_host::InvalidSetting;
use subtle::ConstantTimeEq;

/// The environment variable that holds the key.
pub const ADMIN_KEY_VARIABLE: &str = "CLAWDB_SESSION_ADMIN_KEY";

const MIN_BYTES: usize = 16;
const MAX_BYTES: usize = 1_024;

/// The admin key: 16 to 1,024 printable ASCII characters without spaces.
#[derive(Clone)]
pub struct AdminKey(String);

/// A key that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an admin key must have {MIN_BYTES} to {MAX_BYTES} printable ASCII characters, and no spaces"
)]
#[non_exhaustive]
pub struct BadAdminKey;

impl AdminKey {
    /// This key.
    ///
    /// # Errors
    /// [`BadAdminKey`].
    pub fn new(key: impl Into<String>) -> Result<Self, BadAdminKey> {
        let key = key.into();
        let long_enough = (MIN_BYTES..=MAX_BYTES).contains(&key.len());
        // Others cannot be presented in a header, or not by every client.
        if long_enough && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(key));
        }
        Err(BadAdminKey)
    }

    /// The key from the environment ([`ADMIN_KEY_VARIABLE`]); none where that is not set.
    ///
    /// # Errors
    /// [`InvalidSetting`], with the length of what is set.
    pub fn from_environment() -> Result<Option<Self>, InvalidSetting> {
        let Some(key) = std::env::var_os(ADMIN_KEY_VARIABLE) else {
            return Ok(None);
        };
        let length = format!("{} bytes", key.len());
        // What is not Unicode is not ASCII either.
        let key = Self::new(key.into_string().unwrap_or_default());
        key.map(Some).map_err(|_| {
            let reason = format!(
                "must have {MIN_BYTES} to {MAX_BYTES} printable ASCII characters, and no spaces"
            );
            InvalidSetting::new(ADMIN_KEY_VARIABLE, length, reason)
        })
    }

    /// A new one: 32 random bytes as hexadecimal digits.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(hex::encode(key)))
    }

    /// The key itself, to show to whoever started the service.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is the key. The time that it takes tells its length, and no more.
    pub(super) fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl std::fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminKey(..)")
    }
}
