//! The guard's part of ending sessions: asking it to revoke what is pending.

use std::cell::Cell;
use std::rc::Rc;

use super::SessionManager;
use super::waiting::for_each;
use crate::domain::error::{Error, GuardError};
use crate::domain::timestamp::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Guard, is_handle};
use crate::store::MAX_REVOCATIONS;
use crate::store::revocations::PendingKey;

/// How many revocations wait for the guard at a time, so that a slow guard does not make a kill
/// switch answer late.
const REVOCATIONS_AT_ONCE: usize = 16;

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Has the guard revoke a token that was issued in vain because of `error` (R11).
    pub(super) async fn discard(
        &self,
        error: &Error,
        handle: Rc<str>,
        token_expires_at: Timestamp,
    ) {
        // A token or handle that stands for another session is that session's, which has done
        // nothing (R16).
        let is_of_another = matches!(error, Error::Collision(_));
        if is_of_another || !is_handle(&handle) {
            return;
        }
        let pending = self.store.borrow_mut().discard(handle, token_expires_at);
        if let Some(pending) = pending {
            let _ = self.revoke_with_guard(pending).await;
        }
    }

    /// Asks the guard for one pending revocation, which is settled if the token is of no use any
    /// more. Tells whether this call has settled it, and not another or time meanwhile.
    pub(super) async fn revoke_with_guard(&self, key: PendingKey) -> Result<bool, GuardError> {
        let handle = self.store.borrow().pending_handle(&key);
        let Some(handle) = handle else {
            return Ok(false);
        };
        match self.guard.revoke_session(&handle).await {
            Ok(()) | Err(GuardError::Revoked | GuardError::Expired) => {
                Ok(self.store.borrow_mut().settle(&key))
            }
            Err(_) if self.store.borrow().pending_handle(&key).is_none() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks the guard for many, at most [`MAX_REVOCATIONS`], a few at a time, until it is
    /// unavailable. Tells how many were settled. The rest is pending for a flush.
    pub(super) async fn revoke_each_with_guard(&self, mut keys: Vec<PendingKey>) -> usize {
        keys.truncate(MAX_REVOCATIONS);
        let unavailable = Cell::new(false);
        let settled = Cell::new(0_usize);
        for_each(REVOCATIONS_AT_ONCE, keys, async |key| {
            if unavailable.get() {
                return;
            }
            self.store.borrow_mut().note_asked(key);
            match self.revoke_with_guard(key).await {
                Ok(by_us) => settled.set(settled.get().saturating_add(by_us.into())),
                Err(GuardError::Unavailable(_)) => unavailable.set(true),
                Err(_) => {}
            }
        })
        .await;
        settled.get()
    }
}
