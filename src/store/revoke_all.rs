//! Kill switches (R13, R31); see [`epochs`](super::epochs).

use crate::domain::epoch::Epoch;
use crate::domain::event::EndReason;
use crate::domain::id::SessionId;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::store::ended_tree::Cleared;
use crate::store::slots::SessionSlot;
use crate::store::state::Store;

/// The maximum number of sessions that one call ends, without those below the last one (R20).
const MAX_ENDED: usize = 10_000;

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

    /// Revokes the sessions and the creates in flight that the filter names, and ends at most
    /// 10,000 of the sessions, with their descendants. [`Store::clear_revoked`] ends the others.
    pub fn revoke_all(&mut self, filter: RevokeFilter, now: Timestamp) -> Cleared {
        self.drop_cached_validations(now);
        let epoch = self.epochs.advance();
        match &filter {
            RevokeFilter::Everything => self.epochs.revoke_everything(),
            filter => self.sessions.revoke_before(filter, epoch),
        }
        let record = self.record_cutoff(&filter);
        // The records of the cut-offs that it supersedes stay: a host may have stored them, and not
        // the new one.
        self.epochs.add(filter, record);
        let mut cleared = Cleared::default();
        self.clear(epoch, MAX_ENDED, now, &mut cleared);
        cleared
    }

    /// Ends sessions that kill switches have revoked and not ended yet, at most `max` and the
    /// descendants of the last one. Returns how many it has ended. Their revocations stay pending.
    ///
    /// For restored cut-offs it checks each restored session once: a call continues where the last
    /// one has stopped.
    pub fn clear_revoked(&mut self, mut max: usize, now: Timestamp) -> usize {
        if !self.epochs.may_revoke() {
            return 0;
        }
        let before = self.sessions.len();
        max = self.clear_restored_revoked(max, now);
        while let Some(epoch) = self.epochs.first_active()
            && let Some(more) = self.clear(epoch, max, now, &mut Cleared::default())
        {
            max = more;
        }
        before.saturating_sub(self.sessions.len())
    }

    /// Ends sessions that the cut-off of this epoch revokes, at most `max` and the descendants of
    /// the last one, and adds them to `cleared`. Returns how many more may end; `None` if the
    /// cut-off has sessions left.
    fn clear(
        &mut self,
        epoch: Epoch,
        mut max: usize,
        now: Timestamp,
        cleared: &mut Cleared,
    ) -> Option<usize> {
        while let Some(slot) = self.epochs.next_revoked(epoch, &self.sessions) {
            if max == 0 {
                return None;
            }
            let (reason, ended) = self.end_if_due(slot, now)?;
            max = max.saturating_sub(ended.all as usize);
            if reason == EndReason::RevokedAll {
                cleared.add(ended);
            }
        }
        if let Some(cutoff) = self.epochs.remove(epoch) {
            self.record_cleared(cutoff.record, cutoff.latest_end);
        }
        Some(max)
    }

    /// Ends restored sessions that restored cut-offs revoke, at most `max` and the descendants of
    /// the last one. Returns how many more may end.
    fn clear_restored_revoked(&mut self, mut max: usize, now: Timestamp) -> usize {
        while max > 0
            && let Some(slot) = self.epochs.next_to_check(&self.sessions)
        {
            let entry = self.sessions.get(slot);
            if entry.is_some_and(|entry| self.epochs.restored_revokes(entry))
                && let Some((_, ended)) = self.end_if_due(slot, now)
            {
                max = max.saturating_sub(ended.all as usize);
            }
        }
        max
    }
}
