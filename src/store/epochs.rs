//! Epochs and the cut-offs of kill switches (R13, R31).
//!
//! A cut-off takes effect in one step, however many sessions it revokes: from then on, each of them
//! is due. Its call ends a bounded number of them (R20), and later calls end the others.

#[cfg(any(test, feature = "checks"))]
use crate::checks::ensure;
use crate::domain::epoch::Epoch;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::persistence::change_feed::FeedSlot;
use crate::persistence::record::CutoffRecord;
use crate::store::entry::Entry;
use crate::store::restored_cutoffs::RestoredCutoffs;
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;

/// The current epoch, and the cut-offs that may still revoke sessions.
#[derive(Debug, Default)]
pub struct Epochs {
    current: Epoch,
    /// Creates in flight that began before this epoch are revoked by a cut-off for everything.
    revoked_before: Epoch,
    /// The cut-offs that have not ended all their sessions yet.
    active: Vec<ActiveCutoff>,
    /// The cut-offs of earlier instances, while they may revoke sessions.
    restored: Option<RestoredCutoffs>,
}

/// A cut-off that has not ended all its sessions yet.
#[derive(Debug)]
pub struct ActiveCutoff {
    filter: RevokeFilter,
    epoch: Epoch,
    /// The cut-off's record in the feed.
    pub record: Option<FeedSlot>,
    /// Until when an older record could restore one of the sessions that it has ended.
    pub latest_end: Option<Timestamp>,
}

impl ActiveCutoff {
    fn revokes(&self, entry: &Entry) -> bool {
        let session = &entry.session;
        entry.created_epoch < self.epoch
            && match &self.filter {
                RevokeFilter::Everything => true,
                RevokeFilter::Agent(agent) => session.agent_id == *agent,
                RevokeFilter::Role(role) => session.attributes.role == *role,
                RevokeFilter::Root(_) => false,
            }
    }

    /// Returns a session that the cut-off revokes. Sessions are in the order in which they were
    /// added. Those before the cut-off are revoked, and no later one is, because creates that were
    /// in flight fail. So none is left if the first one is not revoked.
    fn next_revoked(&self, sessions: &SessionTable) -> Option<SessionSlot> {
        let first = match &self.filter {
            RevokeFilter::Everything => sessions.first(),
            RevokeFilter::Agent(agent) => sessions.oldest_of_agent(agent),
            RevokeFilter::Role(role) => sessions.first_of_role(role),
            RevokeFilter::Root(_) => None,
        };
        first.filter(|slot| sessions.get(*slot).is_some_and(|entry| self.revokes(entry)))
    }
}

impl Epochs {
    /// Returns the current epoch.
    #[must_use]
    pub fn current(&self) -> Epoch {
        self.current
    }

    /// Begins the next epoch and returns it.
    pub fn advance(&mut self) -> Epoch {
        self.current = self.current.next();
        self.current
    }

    /// Raises the current epoch to at least this one.
    pub fn raise_to(&mut self, epoch: Epoch) {
        self.current = self.current.max(epoch);
    }

    /// Revokes all creates in flight that began before the current epoch.
    pub fn revoke_everything(&mut self) {
        self.revoked_before = self.current;
    }

    /// Returns whether a cut-off for everything revokes a create that began in this epoch.
    #[must_use]
    pub fn is_revoked(&self, created_epoch: Epoch) -> bool {
        created_epoch < self.revoked_before
    }

    /// Adds a cut-off of the current epoch, in place of those whose sessions it revokes too.
    pub fn add(&mut self, filter: RevokeFilter, record: Option<FeedSlot>) {
        let is_everything = filter == RevokeFilter::Everything;
        self.active
            .retain(|it| !is_everything && it.filter != filter);
        self.active.push(ActiveCutoff {
            filter,
            epoch: self.current,
            record,
            latest_end: None,
        });
    }

    /// Returns the epoch of the first cut-off that has not ended all its sessions.
    #[must_use]
    pub fn first_active(&self) -> Option<Epoch> {
        self.active.first().map(|cutoff| cutoff.epoch)
    }

    /// Returns whether a cut-off may revoke a session.
    #[must_use]
    pub fn may_revoke(&self) -> bool {
        !self.active.is_empty() || self.restored.is_some()
    }

    /// Returns whether a cut-off revokes the session.
    #[must_use]
    pub fn revokes(&self, entry: &Entry) -> bool {
        self.active.iter().any(|cutoff| cutoff.revokes(entry)) || self.restored_revokes(entry)
    }

    /// Notes that a session ends. Until its latest end an older record could restore it, so the
    /// records of the cut-offs that revoke it are needed.
    pub fn note_end(&mut self, entry: &Entry) {
        for cutoff in self.active.iter_mut().filter(|it| it.revokes(entry)) {
            cutoff.latest_end = cutoff.latest_end.max(Some(entry.latest_end));
        }
    }

    /// Forgets the record of a cut-off, which has been dropped.
    pub fn forget_record(&mut self, record: FeedSlot) {
        for cutoff in &mut self.active {
            cutoff.record = cutoff.record.filter(|it| *it != record);
        }
    }

    /// Returns a session that the cut-off of this epoch revokes, or `None` if none is left.
    #[must_use]
    pub fn next_revoked(&self, epoch: Epoch, sessions: &SessionTable) -> Option<SessionSlot> {
        let cutoff = self.active.iter().find(|it| it.epoch == epoch);
        cutoff.and_then(|cutoff| cutoff.next_revoked(sessions))
    }

    /// Removes the cut-off of this epoch, which has ended all its sessions.
    pub fn remove(&mut self, epoch: Epoch) -> Option<ActiveCutoff> {
        let index = self.active.iter().position(|it| it.epoch == epoch)?;
        Some(self.active.remove(index))
    }

    /// Adds a cut-off of an earlier instance.
    pub fn restore(&mut self, cutoff: &CutoffRecord) {
        self.restored.get_or_insert_default().add(cutoff);
        self.raise_to(cutoff.epoch);
    }

    /// Returns the next slot to check for a session that a restored cut-off revokes. The slot may
    /// be free. After the last slot, the restored cut-offs are dropped.
    pub fn next_to_check(&mut self, sessions: &SessionTable) -> Option<SessionSlot> {
        let restored = self.restored.as_mut()?;
        let next = sessions.slot_after(restored.checked);
        match next {
            Some(slot) => restored.checked = Some(slot),
            None => self.restored = None,
        }
        next
    }

    /// Returns whether a restored cut-off revokes the session.
    #[must_use]
    pub fn restored_revokes(&self, entry: &Entry) -> bool {
        let restored = self.restored.as_ref();
        restored.is_some_and(|restored| restored.revokes(entry))
    }

    /// Returns the records of the cut-offs, after checking that the cut-offs are in order.
    ///
    /// # Errors
    /// The text of the violation.
    #[cfg(any(test, feature = "checks"))]
    pub fn check(&self) -> Result<Vec<(Epoch, Option<FeedSlot>)>, String> {
        let epochs = || self.active.iter().map(|cutoff| cutoff.epoch);
        let is_sorted = epochs().zip(epochs().skip(1)).all(|(it, next)| it < next);
        let is_past = epochs().all(|epoch| epoch <= self.current);
        ensure(
            is_sorted && is_past && self.revoked_before <= self.current,
            || "cut-offs are out of order or in the future".into(),
        )?;
        let records = self
            .active
            .iter()
            .map(|cutoff| (cutoff.epoch, cutoff.record));
        Ok(records.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AgentId;
    use crate::domain::session::Role;
    use crate::store::fixtures::{add, at};

    #[test]
    fn r31_a_cut_off_for_everything_revokes_creates_that_began_before_it() {
        let mut epochs = Epochs::default();
        let began = epochs.current();
        epochs.advance();
        assert!(!epochs.is_revoked(began));
        epochs.revoke_everything();
        assert!(epochs.is_revoked(began) && !epochs.is_revoked(epochs.current()));
    }

    #[test]
    fn a_cut_off_is_active_until_it_is_removed_and_has_the_latest_end_of_its_sessions() {
        let mut epochs = Epochs::default();
        let epoch = epochs.advance();
        epochs.add(RevokeFilter::Everything, None);
        assert!(epochs.may_revoke());
        assert_eq!(epochs.first_active(), Some(epoch));
        let mut sessions = SessionTable::default();
        for (id, seconds) in [(1, 20), (2, 10)] {
            let slot = add(&mut sessions, id, None, seconds);
            assert_eq!(epochs.next_revoked(epoch, &sessions), Some(slot));
            epochs.note_end(&sessions.remove(slot).unwrap());
        }
        assert_eq!(epochs.next_revoked(epoch, &sessions), None);
        let cutoff = epochs.remove(epoch).unwrap();
        assert_eq!(cutoff.latest_end, Some(at(20)));
        assert!(!epochs.may_revoke());
        assert_eq!(epochs.first_active(), None);
    }

    #[test]
    fn r31_a_cut_off_supersedes_those_with_its_filter_and_one_for_everything_supersedes_all() {
        let agent = |last| {
            let id = format!("0a9e0000-0000-4000-8000-00000000000{last}");
            RevokeFilter::Agent(AgentId::parse("agent", &id).unwrap())
        };
        let role = RevokeFilter::Role(Role::parse("worker".into()).unwrap());
        let everything = RevokeFilter::Everything;
        let all = [&agent(1), &agent(2), &role, &everything];
        for (newer, left) in [
            (agent(1), vec![agent(2), role.clone(), everything.clone()]),
            (role.clone(), vec![agent(1), agent(2), everything.clone()]),
            (agent(3), all.map(Clone::clone).to_vec()),
            (everything.clone(), vec![]),
        ] {
            // One for everything would supersede the others, so it is the first.
            let mut epochs = Epochs::default();
            for filter in all.into_iter().rev() {
                epochs.advance();
                epochs.add(filter.clone(), None);
            }
            epochs.add(newer.clone(), None);
            let mut active: Vec<RevokeFilter> =
                epochs.active.into_iter().map(|it| it.filter).collect();
            assert_eq!(active.pop(), Some(newer.clone()));
            active.reverse();
            assert_eq!(active, left, "{newer:?}");
        }
    }

    #[test]
    fn restored_cut_offs_are_dropped_after_the_last_slot_is_checked() {
        let mut epochs = Epochs::default();
        epochs.restore(&CutoffRecord {
            filter: RevokeFilter::Everything,
            epoch: Epoch::new(7),
            until: Timestamp::MAX,
        });
        assert_eq!(epochs.current(), Epoch::new(7));
        assert!(epochs.may_revoke());
        let sessions = SessionTable::default();
        assert_eq!(epochs.next_to_check(&sessions), None);
        assert!(!epochs.may_revoke());
    }
}
