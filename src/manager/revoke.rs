//! The guard's part of ending sessions: asking it to revoke what is pending.

use std::rc::Rc;

use super::SessionManager;
use crate::domain::error::{Error, GuardError};
use crate::domain::timestamp::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Guard, MAX_BATCH, is_handle, one_for_each};
use crate::store::MAX_REVOCATIONS;
use crate::store::revocations::PendingKey;

/// How many revocations one call asks the guard for at most (R20): a session's own, and
/// [`MAX_REVOCATIONS`] of sessions that ended with it.
const MAX_ASKED: usize = MAX_REVOCATIONS + 1;

/// What came of one call of the guard.
#[derive(Default)]
struct BatchOutcome {
    /// For each revocation: whether this call has settled it, or the guard's error.
    outcomes: Vec<Result<bool, GuardError>>,
    /// The guard was unavailable for at least one.
    unavailable: bool,
}

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
            self.revoke_with_guard(vec![pending]).await;
        }
    }

    /// Asks the guard for revocations that are pending, at most [`MAX_ASKED`], in batches one after
    /// the other. Stops after a batch in which the guard is unavailable for any of them.
    ///
    /// Returns what came of those that the guard was asked for, in the order of the keys: whether
    /// this call has settled it, and not another call or its expiry, or the guard's error. The rest
    /// stays pending for a flush.
    pub(super) async fn revoke_with_guard(
        &self,
        mut keys: Vec<PendingKey>,
    ) -> Vec<Result<bool, GuardError>> {
        keys.truncate(MAX_ASKED);
        let mut outcomes = Vec::with_capacity(keys.len());
        for batch in keys.chunks(MAX_BATCH) {
            let asked = self.revoke_batch(batch).await;
            outcomes.extend(asked.outcomes);
            if asked.unavailable {
                break;
            }
        }
        outcomes
    }

    /// Asks the guard in one call for those of at most [`MAX_BATCH`] revocations that are pending.
    ///
    /// A flush goes on after the last revocation that the guard was asked for, so that those that
    /// always fail do not keep the others from their turn. A guard that is unavailable for one may
    /// not have looked at those after it, so a flush goes on after that one. A revocation that is
    /// asked for by itself moves nothing: in a busy instance, flushes would begin anew each time.
    async fn revoke_batch(&self, keys: &[PendingKey]) -> BatchOutcome {
        let (asked, handles): (Vec<PendingKey>, Vec<Rc<str>>) = {
            let store = self.store.borrow();
            let pending = keys
                .iter()
                .filter_map(|key| Some((*key, store.pending_handle(key)?)));
            pending.unzip()
        };
        let Some(last) = asked.last() else {
            return BatchOutcome::default();
        };
        let is_several = keys.len() > 1;
        if is_several {
            self.store.borrow_mut().note_asked(*last);
        }
        let results = one_for_each(asked.len(), self.guard.revoke_tokens(&handles).await);

        let mut store = self.store.borrow_mut();
        let is_unavailable = |it: &_| matches!(it, Err(GuardError::Unavailable(_)));
        let first_unavailable = results.iter().position(is_unavailable);
        if let Some(key) = first_unavailable.and_then(|at| asked.get(at))
            && is_several
        {
            store.note_asked(*key);
        }
        let outcome = |(key, result): (&PendingKey, Result<(), GuardError>)| match result {
            Ok(()) | Err(GuardError::Revoked | GuardError::Expired) => Ok(store.settle(key)),
            Err(_) if store.pending_handle(key).is_none() => Ok(false),
            Err(error) => Err(error),
        };
        BatchOutcome {
            outcomes: asked.iter().zip(results).map(outcome).collect(),
            unavailable: first_unavailable.is_some(),
        }
    }
}
