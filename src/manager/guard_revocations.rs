//! Asking the guard for revocations that are pending.

use std::rc::Rc;

use super::SessionManager;
use crate::domain::error::GuardError;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Guard, MAX_BATCH, one_for_each};
use crate::store::MAX_REVOCATIONS;
use crate::store::revocations::PendingKey;

/// How many revocations one call asks the guard for at most (R20): a session's own, and
/// [`MAX_REVOCATIONS`] of sessions that ended with it.
const MAX_ASKED: usize = MAX_REVOCATIONS + 1;

/// What came of asking the guard for revocations.
#[derive(Default)]
pub(super) struct GuardRevocations {
    /// How many this call has settled, and not another call or their expiry.
    pub(super) settled: usize,
    /// The guard's error for the first one, if that is still pending.
    pub(super) first_error: Option<GuardError>,
    /// The guard was unavailable for at least one.
    unavailable: bool,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Asks the guard for revocations that are pending, at most [`MAX_ASKED`], in batches one after
    /// the other. Stops after a batch in which the guard is unavailable for any of them. What the
    /// guard does not confirm stays pending for a flush.
    pub(super) async fn revoke_with_guard(&self, mut keys: Vec<PendingKey>) -> GuardRevocations {
        keys.truncate(MAX_ASKED);
        let mut report = GuardRevocations::default();
        for batch in keys.chunks(MAX_BATCH) {
            let (asked, handles) = self.pending_of(batch);
            let Some(last) = asked.last() else {
                continue;
            };
            self.note_asked(&keys, *last);
            let results = self.guard.revoke_tokens(&handles).await;
            let results = one_for_each(asked.len(), results);
            self.settle_batch(&keys, &asked, results, &mut report);
            if report.unavailable {
                break;
            }
        }
        report
    }

    /// Returns those of the revocations that are pending, and their handles.
    fn pending_of(&self, keys: &[PendingKey]) -> (Vec<PendingKey>, Vec<Rc<str>>) {
        let (mut pending, mut handles) = (Vec::new(), Vec::new());
        let store = self.store.borrow();
        for key in keys {
            if let Some(handle) = store.pending_handle(key) {
                pending.push(*key);
                handles.push(handle);
            }
        }
        (pending, handles)
    }

    /// Records the revocation after which the next flush goes on, so that those that always fail do
    /// not keep the others from their turn. A revocation that is asked for by itself moves nothing:
    /// in a busy instance, flushes would begin anew each time.
    fn note_asked(&self, keys: &[PendingKey], last: PendingKey) {
        if keys.len() > 1 {
            self.store.borrow_mut().note_asked(last);
        }
    }

    /// Settles the revocations of a batch that the guard has confirmed. A guard that is unavailable
    /// for one may not have looked at those after it, so a flush goes on after that one.
    fn settle_batch(
        &self,
        keys: &[PendingKey],
        asked: &[PendingKey],
        results: Vec<Result<(), GuardError>>,
        report: &mut GuardRevocations,
    ) {
        for (key, result) in asked.iter().zip(results) {
            match result {
                Ok(()) | Err(GuardError::Revoked | GuardError::Expired) => {
                    let by_us = self.store.borrow_mut().settle(key);
                    report.settled = report.settled.saturating_add(by_us.into());
                }
                Err(error) => {
                    if matches!(error, GuardError::Unavailable(_)) && !report.unavailable {
                        report.unavailable = true;
                        self.note_asked(keys, *key);
                    }
                    let is_pending = self.store.borrow().pending_handle(key).is_some();
                    if is_pending && keys.first() == Some(key) {
                        report.first_error = Some(error);
                    }
                }
            }
        }
    }
}
