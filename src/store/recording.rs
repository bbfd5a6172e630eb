//! What each step records in the feed (R23).
//!
//! Without a `state-key` there is no feed, and nothing is kept of what has ended.

use std::rc::Rc;

use crate::domain::error::Error;
use crate::domain::event::Run;
use crate::domain::id::SessionId;
use crate::domain::session::RevokeFilter;
use crate::domain::state_key::SALT_BYTES;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::FingerprintKey;
use crate::persistence::change_feed::{FeedSlot, Tombstone};
use crate::persistence::record::CutoffRecord;
use crate::store::budget::TOMBSTONE_SIZE;
use crate::store::entry::Entry;
use crate::store::revocations::{Owner, PendingKey, Settled, needed_until};
use crate::store::slots::SessionSlot;
use crate::store::state::{RecordKind, Store};

/// How often the use of a session is recorded in its idle time, if nothing else changes (R28).
const USES_RECORDED: u64 = 10;

impl Store {
    /// Closes the run of events, and records its last event; the next event begins the run `next`.
    ///
    /// # Errors
    /// [`Error::NoStateKey`].
    pub fn close_event_run(&mut self, next: Run) -> Result<(), Error> {
        let feed = self.feed.as_mut().ok_or(Error::NoStateKey)?;
        // Before the first session there is neither a run nor a record.
        if self.events.run().is_some() && self.fingerprint_key.is_some() {
            self.events.close_run(next);
            feed.close_events_at(self.events.last());
        }
        Ok(())
    }

    /// Sets the key of the fingerprints.
    pub fn set_fingerprint_key(&mut self, key: Rc<FingerprintKey>, salt: [u8; SALT_BYTES]) {
        self.fingerprint_key = Some((key, salt));
        if let Some(feed) = &mut self.feed {
            feed.mark_meta();
        }
    }

    /// Returns the record of a session that has ended.
    pub(super) fn tombstone(&self, id: SessionId) -> Option<FeedSlot> {
        let feed = self.feed.as_ref()?;
        feed.tombstone(id).map(|(slot, _)| slot)
    }

    /// Records a session that was created.
    pub(super) fn record_session(&mut self, slot: SessionSlot) {
        if let Some(feed) = &mut self.feed
            && let Some(entry) = self.sessions.get_mut(slot)
        {
            entry.record = Some(feed.add(RecordKind::Session(slot)));
        }
    }

    /// Records that a session has changed.
    pub(super) fn record_change(&mut self, slot: SessionSlot) {
        if let Some(feed) = &mut self.feed
            && let Some(entry) = self.sessions.get_mut(slot)
            && let Some(record) = entry.record
        {
            entry.recorded_use = entry.used_at;
            feed.mark(record);
        }
    }

    /// Records that a session was used, if that was not recorded for a while. Nothing else of it
    /// has changed.
    pub(super) fn record_use(&mut self, slot: SessionSlot) {
        let Some(idle_timeout) = self.lifetimes.idle_timeout() else {
            return;
        };
        let Some(entry) = self.sessions.get(slot) else {
            return;
        };
        let recorded = entry.recorded_use.as_millis();
        let since = entry.used_at.as_millis().saturating_sub(recorded);
        if since >= idle_timeout.saturating_mul(1_000) / USES_RECORDED {
            self.record_change(slot);
        }
    }

    /// Records that a session has ended; `revocation` is pending if its token has not expired.
    /// Nothing is kept of a session that has expired and has no unconfirmed revocation: no record
    /// of it could restore it while the clock does not go back.
    pub(super) fn record_end(
        &mut self,
        mut entry: Entry,
        revocation: Option<PendingKey>,
        now: Timestamp,
    ) {
        let Some(feed) = &mut self.feed else {
            return;
        };
        let Some(record) = entry.record else {
            debug_assert!(false, "where there is a feed, each session has a record");
            return;
        };
        entry.unconfirmed.extend(revocation);
        let until = needed_until(entry.latest_end, &entry.unconfirmed);
        if until <= now && entry.unconfirmed.is_empty() {
            feed.drop_record(record);
            return;
        }
        let tombstone = Tombstone {
            id: entry.session.id,
            session_until: entry.latest_end,
            until,
            unconfirmed: entry.unconfirmed,
        };
        feed.replace(record, RecordKind::Tombstone(Box::new(tombstone)));
        self.budget.add(TOMBSTONE_SIZE);
    }

    /// Records the pending revocation of a token that belongs to no session.
    pub(super) fn record_revocation(&mut self, key: PendingKey) {
        if let Some(feed) = &mut self.feed {
            let record = feed.add(RecordKind::Revocation(feed.next(), key));
            self.pending.set_record(&key, record);
        }
    }

    /// Records that a revocation is pending no longer.
    pub(super) fn record_settled(&mut self, settled: &Settled) {
        let is_other = |key: &PendingKey| *key != settled.key;
        match settled.owner {
            Owner::Discarded(record) => {
                if let Some(feed) = &mut self.feed
                    && let Some(record) = record
                    && let Some(RecordKind::Revocation(number, _)) = feed.get_mut(record)
                {
                    let number = *number;
                    feed.replace(record, RecordKind::Revoked(number));
                    self.budget.add(TOMBSTONE_SIZE);
                }
            }
            Owner::Session(id) => {
                if let Some(slot) = self.sessions.slot_of(id) {
                    if let Some(entry) = self.sessions.get_mut(slot) {
                        entry.unconfirmed.retain(is_other);
                    }
                    self.record_change(slot);
                } else if let Some(record) = self.tombstone(id)
                    && let Some(feed) = &mut self.feed
                    && let Some(RecordKind::Tombstone(tombstone)) = feed.get_mut(record)
                {
                    tombstone.unconfirmed.retain(is_other);
                    let is_confirmed = tombstone.unconfirmed.is_empty();
                    if let Some(until) = is_confirmed.then_some(tombstone.session_until) {
                        feed.set_until(record, until);
                    }
                    feed.mark(record);
                }
            }
        }
    }

    /// Records the cut-off of a kill switch. From then on its record revokes all that it is for,
    /// before that have records of their own which say so.
    pub(super) fn record_cutoff(&mut self, filter: &RevokeFilter) -> Option<FeedSlot> {
        let feed = self.feed.as_mut()?;
        self.budget.add(TOMBSTONE_SIZE);
        let cutoff = CutoffRecord {
            filter: filter.clone(),
            epoch: self.epochs.current(),
            until: self.expiry.latest_end(),
        };
        Some(feed.add(RecordKind::Cutoff(Box::new(cutoff))))
    }

    /// Records that a cut-off has ended all its sessions, which could be restored until
    /// `latest_end`; none if it has ended none.
    pub(super) fn record_cleared(
        &mut self,
        record: Option<FeedSlot>,
        latest_end: Option<Timestamp>,
    ) {
        let Some(record) = record else {
            return;
        };
        match (latest_end, &mut self.feed) {
            (Some(until), Some(feed)) => feed.set_until(record, until),
            _ => self.drop_record(record),
        }
    }

    /// Drops a record that was kept after its subject has ended and is needed no longer; returns
    /// whether there was one. Its revocations were dropped before.
    pub fn drop_unneeded_record(&mut self, now: Timestamp) -> bool {
        let unneeded = self.feed.as_ref().and_then(|feed| feed.first_unneeded(now));
        unneeded.is_some_and(|record| {
            self.drop_record(record);
            true
        })
    }

    fn drop_record(&mut self, record: FeedSlot) {
        if let Some(feed) = &mut self.feed {
            feed.drop_record(record);
            self.budget.release(TOMBSTONE_SIZE);
        }
    }
}
