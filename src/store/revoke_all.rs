//! Kill switches (R13, R31); see [`epochs`](super::epochs).

use crate::domain::epoch::Epoch;
use crate::domain::event::EndReason;
use crate::domain::id::SessionId;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::store::ended_tree::Cleared;
use crate::store::epochs::NextRevoked;
use crate::store::slots::SessionSlot;
use crate::store::state::Store;

/// The maximum number of sessions that one step ends, without the descendants of the last one, and
/// the maximum number of slots that it checks (R20).
const MAX_STEP: usize = 1_000;

/// The maximum number of slots that one call checks for sessions that restored cut-offs revoke
/// (R20).
const MAX_CHECKED: u32 = 10_000;

impl Store {
    /// Ends a session and all its descendants as a kill switch, if the session has no parent.
    pub fn revoke_root(&mut self, id: SessionId, now: Timestamp) -> Cleared {
        self.drop_cached_validations(now);
        let mut cleared = Cleared::default();
        let is_root = |slot: &SessionSlot| {
            let entry = self.sessions.get(*slot);
            entry.is_some_and(|entry| entry.session.parent.is_none())
        };
        if let Some(slot) = self.sessions.slot_of(id).filter(is_root) {
            cleared.add(self.end_tree(slot, EndReason::RevokedAll, now));
        }
        cleared
    }

    /// Revokes the sessions and the creates in flight that the filter names. Returns the epoch of
    /// the cut-off. The caller must repeat [`Store::clear_revoked`] until that is done.
    pub fn revoke_before_now(&mut self, filter: RevokeFilter, now: Timestamp) -> Epoch {
        self.drop_cached_validations(now);
        let epoch = self.epochs.advance();
        match &filter {
            RevokeFilter::Everything => self.epochs.revoke_everything(),
            filter => self.sessions.revoke_before(filter, epoch),
        }
        let record = self.record_cutoff(&filter);
        // The new cut-off ends the sessions that are left of these.
        let mut checked = None;
        while let Some(superseded) = self.epochs.remove_superseded(&filter) {
            self.record_cleared(superseded.record, superseded.latest_end);
            checked = checked.max(superseded.checked);
        }
        self.epochs.add(filter, record, checked);
        epoch
    }

    /// Returns whether the cut-off of this epoch may have sessions left to end.
    #[must_use]
    pub fn is_clearing(&self, epoch: Epoch) -> bool {
        self.epochs.is_active(epoch)
    }

    /// Ends a session that a kill switch has revoked. The session counts for the kill switch,
    /// whichever call finds it.
    pub(super) fn end_revoked(&mut self, slot: SessionSlot, now: Timestamp) {
        let entry = self.sessions.get(slot);
        let epoch = entry.and_then(|entry| self.epochs.revoked_by(entry));
        let ended = self.end_tree(slot, EndReason::RevokedAll, now);
        if let Some(epoch) = epoch {
            self.epochs.add_ended(epoch, ended);
        }
    }

    /// Ends a batch of the sessions that the cut-off of this epoch revokes. When none is left, it
    /// returns all that the cut-off has ended.
    pub fn clear_revoked(&mut self, epoch: Epoch, now: Timestamp) -> Option<Cleared> {
        self.clear_batch(epoch, MAX_STEP, now)
    }

    /// Leaves the remaining sessions of the cut-off of this epoch to [`Store::clear_left`]. Returns
    /// those that it has ended.
    pub fn leave_revoked(&mut self, epoch: Epoch) -> Cleared {
        self.epochs.leave(epoch)
    }

    /// Ends sessions that kill switches have revoked and left, at most `max` and the descendants of
    /// the last one. Returns how many it has ended. Their revocations stay pending.
    pub fn clear_left(&mut self, max: usize, now: Timestamp) -> usize {
        let before = self.sessions.len();
        let mut steps = max;
        while steps > 0
            && let Some(epoch) = self.epochs.first_left()
        {
            let batch = steps.min(MAX_STEP);
            self.clear_batch(epoch, batch, now);
            steps = steps.saturating_sub(batch);
        }
        before.saturating_sub(self.sessions.len())
    }

    /// Takes at most this many steps: a step checks a slot or ends a session.
    fn clear_batch(&mut self, epoch: Epoch, max: usize, now: Timestamp) -> Option<Cleared> {
        let mut steps = max;
        while let Some(left) = steps.checked_sub(1) {
            steps = left;
            match self.epochs.next_revoked(epoch, &self.sessions) {
                NextRevoked::Session(slot) => {
                    let before = self.sessions.len();
                    self.end_if_due(slot, now);
                    let ended = before.saturating_sub(self.sessions.len());
                    // One of them is counted already.
                    steps = steps.saturating_sub(ended.saturating_sub(1));
                }
                NextRevoked::NotThis => {}
                NextRevoked::None => {
                    let cutoff = self.epochs.remove(epoch)?;
                    self.record_cleared(cutoff.record, cutoff.latest_end);
                    return Some(cutoff.cleared);
                }
            }
        }
        None
    }

    /// Ends a batch of the restored sessions that restored cut-offs revoke. Their revocations stay
    /// pending.
    pub fn clear_restored_revoked(&mut self, now: Timestamp) {
        for _ in 0..MAX_CHECKED {
            match self.epochs.next_revoked_by_restored(&self.sessions) {
                NextRevoked::Session(slot) => {
                    self.end_if_due(slot, now);
                }
                NextRevoked::NotThis => {}
                NextRevoked::None => return,
            }
        }
    }
}
