//! The revoked tokens that have not expired.

use std::collections::BTreeSet;

/// The most revocations that the guard keeps. If there are more, it forgets those of the tokens
/// that expire first.
pub const MAX_REVOKED: usize = 1_000_000;

/// The longest handle, in bytes (`issued-token` in `wit/guard.wit`).
const MAX_HANDLE: usize = 512;

/// The handle is not one of this guard's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownHandle;

/// A bounded list of revoked tokens.
pub(crate) struct Revocations {
    /// The expiry and the handle of each. Those that expire first are dropped first.
    tokens: BTreeSet<(u64, String)>,
    most: usize,
}

impl Revocations {
    /// Returns an empty list that keeps at most this many tokens.
    pub(crate) fn new(most: usize) -> Self {
        let tokens = BTreeSet::new();
        Self { tokens, most }
    }

    /// Returns whether the list contains a token, given by its expiry and its handle.
    pub(crate) fn contains(&self, token: &(u64, String)) -> bool {
        self.tokens.contains(token)
    }

    /// Adds a token, given by its handle, unless it has expired. Drops tokens that have expired.
    /// `now` is in seconds.
    pub(crate) fn add(&mut self, handle: String, now: u64) -> Result<(), UnknownHandle> {
        let exp = handle.rsplit_once('.').map(|(_, exp)| exp.parse());
        let (Some(Ok(exp)), ..=MAX_HANDLE) = (exp, handle.len()) else {
            return Err(UnknownHandle);
        };
        while self.tokens.first().is_some_and(|(exp, _)| *exp <= now) {
            self.tokens.pop_first();
        }
        if exp > now {
            self.tokens.insert((exp, handle));
        }
        if self.tokens.len() > self.most {
            self.tokens.pop_first();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_forgets_the_token_that_expires_first() {
        let mut revoked = Revocations::new(2);
        for handle in ["a.30", "b.10", "b.10", "c.20"] {
            revoked.add(handle.into(), 0).unwrap();
        }
        let kept = [(20, "c.20".into()), (30, "a.30".into())];
        assert_eq!(revoked.tokens, kept.into());
    }

    #[test]
    fn expired_tokens_are_dropped_and_not_added() {
        let mut revoked = Revocations::new(10);
        revoked.add("a.10".into(), 9).unwrap();
        revoked.add("b.20".into(), 9).unwrap();
        revoked.add("c.10".into(), 10).unwrap();
        assert_eq!(revoked.tokens, [(20, "b.20".into())].into());
    }

    #[test]
    fn a_handle_without_an_expiry_is_unknown() {
        let mut revoked = Revocations::new(10);
        let long = format!("{}.10", "x".repeat(MAX_HANDLE));
        for handle in [
            "",
            "x",
            "x.",
            "x.y",
            "x.-1",
            "x.18446744073709551616",
            &long,
        ] {
            assert_eq!(
                revoked.add(handle.into(), 0),
                Err(UnknownHandle),
                "{handle}"
            );
        }
        revoked.add("x.18446744073709551615".into(), 0).unwrap();
    }
}
