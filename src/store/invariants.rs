//! The invariants of the store: its parts agree with each other.
//!
//! Each part checks its own fields. This file checks what the parts say about each other.

use crate::checks::{Checked, ensure, equal};
use crate::domain::config::Overflow;
use crate::domain::superseded::MAX_SUPERSEDED;
use crate::persistence::decode::MAX_UNCONFIRMED;
use crate::store::budget::{RENEWAL_RESERVE, TOMBSTONE_SIZE, pending_size};
use crate::store::entry::Entry;
use crate::store::revocations::{Owner, PendingKey};
use crate::store::state::{Feed, RecordKind, Store};

impl Store {
    /// Checks that all indexes agree with the sessions, and that all counts are exact. Nothing is
    /// reserved or watched if no call is in flight.
    ///
    /// # Errors
    /// The text of the first violation.
    pub fn check_invariants(&self, calls_in_flight: bool) -> Checked {
        let is_restored = self.lifetimes.is_restored();
        let handles = self.pending.iter().map(|(.., handle)| handle);
        self.sessions.check(handles, &self.lifetimes, is_restored)?;
        self.expiry.check(&self.sessions, &self.lifetimes)?;
        self.pending.check()?;
        self.events.check()?;
        self.end_outcomes.check()?;
        for (_, entry) in self.sessions.iter() {
            self.check_entry(entry)?;
        }
        if !is_restored {
            self.check_limits()?;
        }
        self.check_budget(calls_in_flight)?;
        match &self.feed {
            Some(feed) => self.check_feed(feed)?,
            None => self.epochs.check().map(drop)?,
        }
        let reserved = self.sessions.check_descendants()?;
        if calls_in_flight {
            return Ok(());
        }
        equal("creates in flight", self.sessions.reserved(), 0)?;
        equal("descendants in flight", reserved, 0)?;
        equal("outcomes of ended sessions", self.end_outcomes.count(), 0)?;
        let mut sessions = self.sessions.iter();
        let is_watched = sessions.any(|(_, entry)| entry.watchers > 0);
        ensure(!is_watched, || "a session is watched".into())
    }

    /// Checks that nothing is kept of a restore that has ended.
    ///
    /// # Errors
    /// The text of the violation.
    pub fn check_restore_ended(&self) -> Checked {
        equal("lists of orphans", self.sessions.lists_of_orphans(), 0)
    }

    fn check_entry(&self, entry: &Entry) -> Checked {
        let is_past = entry.created_epoch <= self.epochs.current();
        ensure(is_past, || "a session began in a future epoch".into())?;
        let is_bounded = entry.superseded.tokens().len() <= MAX_SUPERSEDED
            && entry.unconfirmed.len() <= MAX_UNCONFIRMED.saturating_add(1);
        ensure(is_bounded, || {
            "a session has too many earlier tokens".into()
        })?;
        ensure(entry.session.expires_at <= entry.latest_end, || {
            "a session expires after its latest end".into()
        })?;
        self.check_owner(&entry.unconfirmed, Owner::Session(entry.session.id))
    }

    fn check_owner(&self, unconfirmed: &[PendingKey], owner: Owner) -> Checked {
        for key in unconfirmed {
            equal(
                "owner of a revocation",
                self.pending.owner(key),
                Some(owner),
            )?;
        }
        Ok(())
    }

    /// Checks the limits (R19). A restore may exceed them.
    fn check_limits(&self) -> Checked {
        let count = self.sessions.len().saturating_add(self.sessions.reserved());
        ensure(count <= self.limits.max_sessions as usize, || {
            "too many sessions".into()
        })?;
        for (_, entry) in self.sessions.iter() {
            let Some(agent) = self.sessions.agent(entry.agent) else {
                return Err("the agent of a session does not exist".into());
            };
            let count = match self.limits.agent_overflow {
                Overflow::Refuse => agent.count(),
                Overflow::EvictOldest => agent.sessions.len(),
            };
            let max = self.limits.max_sessions_per_agent as usize;
            ensure(count <= max, || "an agent has too many sessions".into())?;
            let max = self.limits.max_sessions_per_root;
            ensure(entry.descendants <= max, || {
                "a root has too many descendants".into()
            })?;
        }
        Ok(())
    }

    /// Checks that the budget counts what exists, and what creates and renewals in flight reserve.
    fn check_budget(&self, calls_in_flight: bool) -> Checked {
        let sessions = self.sessions.iter().map(|(_, entry)| entry.size());
        let pending = self.pending.iter().map(|(.., handle)| pending_size(handle));
        let tombstones = TOMBSTONE_SIZE.saturating_mul(self.tombstones() as u64);
        let counted = sessions
            .chain(pending)
            .fold(tombstones, u64::saturating_add);
        let reserved = self.budget.used().checked_sub(counted);
        let reserved = reserved.ok_or("the budget counts less than there is")?;
        let creates = RENEWAL_RESERVE.saturating_mul(self.sessions.reserved() as u64);
        ensure(
            creates <= reserved && (calls_in_flight || reserved == 0),
            || format!("the budget counts {reserved} bytes besides what exists"),
        )
    }

    /// Checks that the records in the feed are those of the sessions, the pending revocations and
    /// the cut-offs, and that each of these has its record.
    fn check_feed(&self, feed: &Feed) -> Checked {
        feed.check()?;
        let (mut sessions, mut revocations): (usize, usize) = (0, 0);
        for (slot, record) in feed.iter() {
            match &record.kind {
                RecordKind::Session(session) => {
                    let entry = self.sessions.get(*session);
                    let entry = entry.ok_or("the session of a record does not exist")?;
                    equal("record of a session", entry.record, Some(slot))?;
                    sessions = sessions.saturating_add(1);
                    revocations = revocations.saturating_add(entry.unconfirmed.len());
                }
                RecordKind::Tombstone(tombstone) => {
                    let is_live = self.sessions.slot_of(tombstone.id).is_some();
                    ensure(!is_live, || "a session with a tombstone is live".into())?;
                    self.check_owner(&tombstone.unconfirmed, Owner::Session(tombstone.id))?;
                    revocations = revocations.saturating_add(tombstone.unconfirmed.len());
                }
                RecordKind::Revocation(_, key) => {
                    self.check_owner(&[*key], Owner::Discarded(Some(slot)))?;
                    revocations = revocations.saturating_add(1);
                }
                // Without a key of the fingerprints the meta record has no content yet, and is not
                // returned to the host.
                RecordKind::Meta | RecordKind::Cutoff(_) | RecordKind::Revoked(_) => {}
            }
        }
        equal("records of sessions", sessions, self.sessions.len())?;
        equal("recorded revocations", revocations, self.pending.len())?;
        for (epoch, record) in self.epochs.check()? {
            // A record that is no longer needed can be dropped before its cut-off.
            let Some(record) = record else { continue };
            let is_own = feed.get(record).is_some_and(|record| match &record.kind {
                RecordKind::Cutoff(cutoff) => cutoff.epoch == epoch,
                _ => false,
            });
            ensure(is_own, || "a cut-off has the record of another".into())?;
        }
        Ok(())
    }
}
