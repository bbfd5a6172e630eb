//! Recording the changes of each step in the feed (R23).
//!
//! Without a `state-key` the store has no feed, and keeps nothing of a session that has ended.

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

/// A use is recorded if at least the idle timeout divided by this number has passed since the use
/// that was recorded last (R28).
const USES_PER_TIMEOUT: u64 = 10;

impl Store {
    /// Closes the run of events and records the number of its last event. The next event begins the
    /// run `next`.
    ///
    /// # Errors
    /// [`Error::NoStateKey`] without a feed.
    pub fn close_event_run(&mut self, next: Run) -> Result<(), Error> {
        let feed = self.feed.as_mut().ok_or(Error::NoStateKey)?;
        // The key exists from the first session on. Before it there is neither an event nor a
        // record.
        if self.fingerprint_key.is_some() && self.events.closed_run().is_none() {
            self.events.close_run(next);
            feed.close_events_at(self.events.last());
        }
        Ok(())
    }

    /// Sets the key of the fingerprints and the salt that it is wrapped with, and records them.
    pub fn set_fingerprint_key(&mut self, key: Rc<FingerprintKey>, salt: [u8; SALT_BYTES]) {
        self.fingerprint_key = Some((key, salt));
        if let Some(feed) = &mut self.feed {
            feed.mark_meta();
        }
    }

    /// Returns the record of a session that has ended, if there is one.
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

    /// Records the use of a session of which nothing else has changed, unless a use was recorded
    /// recently.
    pub(super) fn record_use(&mut self, slot: SessionSlot) {
        let Some(idle_timeout) = self.lifetimes.idle_timeout() else {
            return;
        };
        let Some(entry) = self.sessions.get(slot) else {
            return;
        };
        let recorded = entry.recorded_use.as_millis();
        let since = entry.used_at.as_millis().saturating_sub(recorded);
        if since >= idle_timeout.saturating_mul(1_000) / USES_PER_TIMEOUT {
            self.record_change(slot);
        }
    }

    /// Records that a session has ended. `revocation` is the pending one of its current token.
    ///
    /// The session's record becomes a tombstone. If the session has expired and has no unconfirmed
    /// revocation, the record is dropped instead: an older record cannot restore a session that has
    /// expired, because the time inside does not go back.
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
            debug_assert!(false, "with a feed, each session must have a record");
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

    /// Records the pending revocation of a token without a session.
    pub(super) fn record_revocation(&mut self, key: PendingKey) {
        if let Some(feed) = &mut self.feed {
            let record = feed.add(RecordKind::Revocation(feed.next(), key));
            self.pending.set_record(&key, record);
        }
    }

    /// Returns whether the newest change of the record with this pending revocation has a sequence
    /// number of at most `stored`: a host that has stored the changes up to it has the revocation.
    ///
    /// A record that has changed again since then does not count, because a page contains a record
    /// as it is when the page is read. So the host has not stored the record at all, or an earlier
    /// version, which may not have the revocation.
    #[must_use]
    pub fn is_stored(&self, key: &PendingKey, stored: u64) -> bool {
        let record = match self.pending.owner(key) {
            Some(Owner::Discarded(record)) => record,
            Some(Owner::Session(id)) => match self.sessions.slot_of(id) {
                Some(slot) => self.sessions.get(slot).and_then(|entry| entry.record),
                None => self.tombstone(id),
            },
            None => None,
        };
        let record = record.and_then(|record| self.feed.as_ref()?.get(record));
        record.is_some_and(|record| record.changed <= stored)
    }

    /// Records that a revocation is no longer pending.
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
                    // If it is still to be read, it stays before the tombstones of the sessions
                    // that ended with it: a store of the first records holds no partial end.
                    feed.mark_if_read(record);
                }
            }
        }
    }

    /// Records the cut-off of a kill switch. From then on, this one record revokes all its
    /// sessions, even those whose own records do not say so yet.
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

    /// Records that a cut-off has ended all its sessions. Older records could restore them until
    /// `latest_end`, which is `None` if it has ended none: then its record is dropped.
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

    /// Drops a record of an ended subject that is no longer needed. Returns whether there was one.
    pub fn drop_unneeded_record(&mut self, now: Timestamp) -> bool {
        let unneeded = self.feed.as_ref().and_then(|feed| feed.first_unneeded(now));
        unneeded.is_some_and(|record| {
            self.epochs.forget_record(record);
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
