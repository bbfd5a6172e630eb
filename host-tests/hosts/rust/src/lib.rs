//! What the two programs share: a token authority in memory, the time, and random bytes. Nothing
//! here depends on wasmtime.
//!
//! `src/bin/session_sync.rs` is the host of the world `session-sync`, and `src/bin/session.rs` that
//! of the world `session`.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// The maximum number of random bytes in one answer. It bounds what the component can make the host
/// allocate.
const MAX_RANDOM_BYTES: usize = 4_096;

/// A token authority that keeps its tokens in memory.
///
/// A token is its handle, a dot and a secret: the handle finds the token, the secret shows who
/// holds it. Revoked tokens are forgotten at once, and expired ones when the number of tokens has
/// doubled.
#[derive(Default)]
pub struct TokenTable {
    /// The secret and the expiry of each token, by its handle.
    tokens: HashMap<String, (String, u64)>,
    purge_at: usize,
}

/// What [`TokenTable::find`] knows about a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The token is valid until this time. Its handle is `handle`.
    Valid { handle: &'a str, expires_at: u64 },
    /// The token has expired.
    Expired,
    /// The token was revoked, or is not of this authority.
    Unknown,
}

impl TokenTable {
    /// Issues a token that expires at this time, in milliseconds since 1970. Returns the token and
    /// its handle, or `None` if the machine gives no random bytes.
    pub fn issue(&mut self, expires_at: u64) -> Option<(String, String)> {
        let handle = hex::encode(random::<16>()?);
        let secret = hex::encode(random::<32>()?);
        if self.tokens.len() >= self.purge_at {
            let now = now_millis();
            self.tokens.retain(|_, (_, expires_at)| *expires_at > now);
            self.purge_at = 1_024.max(2 * self.tokens.len());
        }
        let token = format!("{handle}.{secret}");
        self.tokens.insert(handle.clone(), (secret, expires_at));
        Some((token, handle))
    }

    /// Looks a token up.
    #[must_use]
    pub fn find<'a>(&self, token: &'a str) -> Found<'a> {
        let (handle, presented) = token.split_once('.').unwrap_or_default();
        match self.tokens.get(handle) {
            // The component only asks about tokens that it has recognised by a keyed fingerprint.
            // So nobody can guess a secret by the time that this comparison takes.
            Some((secret, expires_at)) if secret == presented => {
                if *expires_at > now_millis() {
                    let expires_at = *expires_at;
                    Found::Valid { handle, expires_at }
                } else {
                    Found::Expired
                }
            }
            _ => Found::Unknown,
        }
    }

    /// Revokes the token with this handle, if there is one.
    pub fn revoke(&mut self, handle: &str) {
        self.tokens.remove(handle);
    }
}

/// Returns the time since 1970. A time before 1970 is 0, which the component counts as a failed
/// reading.
#[must_use]
pub fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}

/// Returns at most `len` random bytes of the machine. None means that the source has failed. The
/// component asks again if it needs more.
#[must_use]
pub fn random_bytes(len: u64) -> Vec<u8> {
    let len = usize::try_from(len).unwrap_or(MAX_RANDOM_BYTES);
    let mut bytes = vec![0; len.min(MAX_RANDOM_BYTES)];
    getrandom::fill(&mut bytes).map_or_else(|_| Vec::new(), |()| bytes)
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok().map(|()| bytes)
}

fn now_millis() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_until_it_expires_or_is_revoked_and_only_with_its_secret() {
        let mut table = TokenTable::default();
        let expires_at = now_millis() + 60_000;
        let (token, handle) = table.issue(expires_at).unwrap();
        let valid = Found::Valid {
            handle: &handle,
            expires_at,
        };
        assert_eq!(table.find(&token), valid);
        for wrong in ["", ".", &handle, &format!("{handle}."), &token[1..]] {
            assert_eq!(table.find(wrong), Found::Unknown, "{wrong}");
        }
        table.revoke(&handle);
        assert_eq!(table.find(&token), Found::Unknown);
        let (expired, _) = table.issue(now_millis()).unwrap();
        assert_eq!(table.find(&expired), Found::Expired);
    }

    #[test]
    fn expired_tokens_do_not_accumulate() {
        let mut table = TokenTable::default();
        for _ in 0..5_000 {
            table.issue(0).unwrap();
        }
        assert!(table.tokens.len() <= 1_024, "{}", table.tokens.len());
    }

    #[test]
    fn random_bytes_are_bounded() {
        assert_eq!(random_bytes(32).len(), 32);
        assert_eq!(random_bytes(u64::MAX).len(), MAX_RANDOM_BYTES);
    }
}
