//! Asking the guard to revoke tokens, in batches one after the other. A revocation that it does not
//! confirm stays pending.

use std::rc::Rc;

use super::SessionManager;
use crate::domain::error::GuardError;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Guard, MAX_BATCH, one_for_each};
use crate::store::MAX_REVOCATIONS;
use crate::store::revocations::PendingKey;

/// The maximum number of revocations that one call asks the guard for (R20): that of a session's
/// own token, and [`MAX_REVOCATIONS`] of sessions that ended with it.
const MAX_ASKED: usize = MAX_REVOCATIONS + 1;

/// The result of a batch of revocations.
#[derive(Default)]
struct BatchReport {
    /// How many revocations the batch settled. Those that another call or an expiry settled in the
    /// meantime are not counted.
    settled: usize,
    /// The guard's error for the first revocation of the batch, if that is still pending.
    first_error: Option<GuardError>,
    /// The first revocation for which the guard was unavailable.
    unavailable: Option<PendingKey>,
    /// Whether the guard was unavailable for all of them.
    failed: bool,
}

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Asks the guard for revocations, at most [`MAX_ASKED`], and stops after a batch in which the
    /// guard is unavailable for any token. Returns the guard's error for the first revocation, if
    /// that is still pending.
    pub(super) async fn revoke_with_guard(&self, mut keys: Vec<PendingKey>) -> Option<GuardError> {
        keys.truncate(MAX_ASKED);
        let mut first_error = None;
        for (number, batch) in keys.chunks(MAX_BATCH).enumerate() {
            let report = self.revoke_batch(batch).await;
            if number == 0 {
                first_error = report.first_error;
            }
            if report.unavailable.is_some() {
                break;
            }
        }
        first_error
    }

    /// Asks the guard again for at most [`MAX_REVOCATIONS`] pending revocations; with `stored`, for
    /// those of them that are recorded in the changes up to it. Returns how many were settled.
    ///
    /// It stops after a batch in which the guard is unavailable for any token. The next flush
    /// continues after the first such token, so that tokens that always fail do not keep the others
    /// pending.
    ///
    /// Some guards fail a whole batch because of one token. After such a batch the next flush
    /// begins with one revocation, and each further batch is four times as large. So all
    /// revocations except that token's are settled in the end, and a guard that is down is asked
    /// for one revocation in each flush.
    pub(super) async fn flush_revocations(&self, stored: Option<u64>) -> usize {
        let mut keys = self.store.borrow().next_revocations(MAX_REVOCATIONS);
        if let Some(stored) = stored {
            self.skip_unstored(&mut keys, stored);
        }
        let mut size = if self.flush_failed.get() {
            1
        } else {
            MAX_BATCH
        };
        let mut settled: usize = 0;
        loop {
            keys.retain(|key| self.is_pending(key));
            let batch: Vec<PendingKey> = keys.drain(..size.min(keys.len())).collect();
            let Some(last) = batch.last() else {
                break;
            };
            // This is set before the guard is asked, so that an overlapping flush continues with
            // other revocations.
            self.store.borrow_mut().set_last_flushed(*last);
            let report = self.revoke_batch(&batch).await;
            settled = settled.saturating_add(report.settled);
            self.flush_failed.set(report.failed);
            if let Some(unavailable) = report.unavailable {
                self.store.borrow_mut().set_last_flushed(unavailable);
                break;
            }
            size = size.saturating_mul(4).min(MAX_BATCH);
        }
        settled
    }

    /// Removes the revocations that are not recorded in the changes up to `stored`.
    ///
    /// This is decided once for the flush, before the guard is asked: settling a batch changes
    /// records, and a revocation of a later batch can belong to one of them.
    ///
    /// The next flush begins after the last revocation that the guard is asked for, or after all of
    /// them if all are removed. So two flushes in a row get past 1,000 revocations that are not
    /// stored, and these do not keep the others pending.
    fn skip_unstored(&self, keys: &mut Vec<PendingKey>, stored: u64) {
        let mut store = self.store.borrow_mut();
        if let Some(last) = keys.last() {
            store.set_last_flushed(*last);
        }
        keys.retain(|key| store.is_stored(key, stored));
    }

    /// Asks the guard in one call for the revocations of the batch that are still pending, and
    /// settles those that it confirms.
    async fn revoke_batch(&self, batch: &[PendingKey]) -> BatchReport {
        let (asked, handles) = self.pending_of(batch);
        if asked.is_empty() {
            return BatchReport::default();
        }
        let results = self.guard.revoke_tokens(&handles).await;
        let mut report = BatchReport::default();
        let mut unavailable: usize = 0;
        for (key, result) in asked.iter().zip(one_for_each(asked.len(), results)) {
            match result {
                Ok(()) | Err(GuardError::Revoked | GuardError::Expired) => {
                    let was_pending = self.store.borrow_mut().settle(key);
                    report.settled = report.settled.saturating_add(was_pending.into());
                }
                Err(error) => {
                    if matches!(error, GuardError::Unavailable(_)) {
                        unavailable = unavailable.saturating_add(1);
                        report.unavailable.get_or_insert(*key);
                    }
                    if batch.first() == Some(key) && self.is_pending(key) {
                        report.first_error = Some(error);
                    }
                }
            }
        }
        report.failed = unavailable == asked.len();
        report
    }

    /// Returns the revocations that are still pending, and their handles.
    fn pending_of(&self, keys: &[PendingKey]) -> (Vec<PendingKey>, Vec<Rc<str>>) {
        let store = self.store.borrow();
        let with_handle = |key: &PendingKey| Some((*key, store.pending_handle(key)?));
        keys.iter().filter_map(with_handle).unzip()
    }

    fn is_pending(&self, key: &PendingKey) -> bool {
        self.store.borrow().pending_handle(key).is_some()
    }
}
