//! Tokens that the guard has issued and that no session has yet.

use std::rc::Rc;

use super::SessionManager;
use crate::domain::error::{Error, GuardError};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{FingerprintKey, Token, is_handle};
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::Guard;
use crate::store::plan::NewToken;

/// Checks the bounds of a token and a handle that the guard issued. Returns the token, and the part
/// of it that the store keeps.
///
/// # Errors
/// [`GuardError::Unavailable`] if the token does not have 1 to 8,192 bytes, or the handle does not
/// have 1 to 512.
pub(super) fn check_issued(
    key: &FingerprintKey,
    token: String,
    handle: &Rc<str>,
    expires_at: Timestamp,
) -> Result<(Token, NewToken), Error> {
    let unusable =
        |what: &str| Error::Guard(GuardError::Unavailable(format!("the guard issued {what}")));
    if token.is_empty() {
        return Err(unusable("an empty token"));
    }
    let token = Token::parse(token).map_err(|_| unusable("a token of more than 8192 bytes"))?;
    if !is_handle(handle) {
        return Err(unusable("a handle that does not have 1 to 512 bytes"));
    }
    let kept = NewToken {
        fingerprint: key.fingerprint(&token),
        handle: handle.clone(),
        expires_at,
    };
    Ok((token, kept))
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Discards a token that was issued for an operation that failed with `error`: asks the guard
    /// to revoke it (R11).
    pub(super) async fn discard(
        &self,
        error: &Error,
        handle: Rc<str>,
        token_expires_at: Timestamp,
    ) {
        // After a collision the token belongs to another session, and stays valid for it (R16).
        let belongs_to_another = matches!(error, Error::Collision(_));
        if belongs_to_another || !is_handle(&handle) {
            return;
        }
        let pending = self.store.borrow_mut().discard(handle, token_expires_at);
        if let Some(pending) = pending {
            self.revoke_with_guard(vec![pending]).await;
        }
    }
}
