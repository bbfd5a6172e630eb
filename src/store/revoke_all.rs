//! Kill switches (R13, R31); see [`epochs`](super::epochs).

use crate::domain::epoch::Epoch;
use crate::domain::event::EndReason;
use crate::domain::id::SessionId;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::store::ended_tree::{Cleared, EndedTree};
use crate::store::epochs::NextRevoked;
use crate::store::slots::SessionSlot;
use crate::store::state::Store;

/// The maximum number of sessions that one call ends, without those below the last one (R20).
const MAX_ENDED: usize = 10_000;

/// How many checks of a slot without a session to end count as one end.
const CHECKS_PER_END: usize = 64;

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
        // The new cut-off ends the sessions that are left of these. Their records stay: a host may
        // have stored them, and not the new one.
        let mut checked = None;
        while let Some(superseded) = self.epochs.remove_superseded(&filter) {
            checked = checked.max(superseded.checked);
        }
        self.epochs.add(filter, record, checked);
        let mut cleared = Cleared::default();
        self.clear(epoch, MAX_ENDED, now, &mut cleared);
        cleared
    }

    /// Ends a session that a kill switch has revoked, and all its descendants.
    pub(super) fn end_revoked(&mut self, slot: SessionSlot, now: Timestamp) -> EndedTree {
        let entry = self.sessions.get(slot);
        let epoch = entry.and_then(|entry| self.epochs.revoked_by(entry));
        let ended = self.end_tree(slot, EndReason::RevokedAll, now);
        if let Some(epoch) = epoch {
            self.epochs.note_end(epoch, ended.latest_end);
        }
        ended
    }

    /// Ends sessions that kill switches have revoked and not ended yet, at most `max` and the
    /// descendants of the last one. Returns how many it has ended. Their revocations stay pending.
    pub fn clear_revoked(&mut self, max: usize, now: Timestamp) -> usize {
        let before = self.sessions.len();
        let mut steps = max;
        while steps > 0
            && let Some(epoch) = self.epochs.first_active()
        {
            steps = self.clear(epoch, steps, now, &mut Cleared::default());
        }
        before.saturating_sub(self.sessions.len())
    }

    /// Ends sessions that the cut-off of this epoch revokes, and adds them to `cleared`: at most
    /// `max`, and fewer if it checks many slots without one. Returns how many more it may end.
    fn clear(&mut self, epoch: Epoch, max: usize, now: Timestamp, cleared: &mut Cleared) -> usize {
        let mut steps = max.saturating_mul(CHECKS_PER_END);
        while steps > 0 {
            match self.epochs.next_revoked(epoch, &self.sessions) {
                NextRevoked::Session(slot) => {
                    let before = self.sessions.len();
                    if let Some((EndReason::RevokedAll, ended)) = self.end_if_due(slot, now) {
                        cleared.add(ended);
                    }
                    let ended = before.saturating_sub(self.sessions.len()).max(1);
                    steps = steps.saturating_sub(ended.saturating_mul(CHECKS_PER_END));
                }
                NextRevoked::NotThis => steps = steps.saturating_sub(1),
                NextRevoked::None => {
                    if let Some(cutoff) = self.epochs.remove(epoch) {
                        self.record_cleared(cutoff.record, cutoff.latest_end);
                    }
                    break;
                }
            }
        }
        steps / CHECKS_PER_END
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
