//! Reading the feed (R23).

use crate::domain::error::Error;
use crate::domain::timestamp::Timestamp;
use crate::persistence::change_feed::FeedEntry;
use crate::persistence::encode::encode;
use crate::persistence::record::{
    Change, ChangePage, EndedRecord, Header, MetaRecord, RecordBody, SessionRecord,
    UnconfirmedRevocation,
};
use crate::store::entry::Entry;
use crate::store::revocations::{PendingKey, needed_until};
use crate::store::slots::SessionSlot;
use crate::store::state::{Feed, RecordKind, Store};

/// A page ends after the record with which it has at least this many bytes.
const PAGE_BYTES: usize = 1 << 20;

impl Store {
    /// Returns the records that changed after `since`, at most `max`. `is_behind` is whether the
    /// host's clock is behind the time inside.
    ///
    /// # Errors
    /// [`Error::NoStateKey`] without a feed.
    pub fn changes(
        &mut self,
        since: u64,
        max: usize,
        now: Timestamp,
        is_behind: bool,
    ) -> Result<ChangePage, Error> {
        let newest_event = self.events.newest();
        let is_closed = self.events.closed_run().is_some();
        let feed = self.feed.as_mut().ok_or(Error::NoStateKey)?;
        // The meta record of a closed run has the exact number of its last event.
        if !is_closed {
            feed.reserve_events_after(newest_event);
        }
        feed.mark_time(now, is_behind);
        let more_outdated = feed.mark_some_outdated();
        let feed = self.feed.as_ref().ok_or(Error::NoStateKey)?;
        let mut page = ChangePage {
            changes: Vec::new(),
            next: since.min(feed.last()),
            more: more_outdated,
            now,
        };
        let mut bytes = 0_usize;
        let (mut is_current, mut latest) = (false, Timestamp::default());
        while let Some(slot) = feed.first_after(page.next) {
            if page.changes.len() >= max || bytes >= PAGE_BYTES {
                page.more = true;
                break;
            }
            let Some(entry) = feed.get(slot) else {
                debug_assert!(false, "a record in the order of the feed must exist");
                break;
            };
            page.next = entry.changed;
            let (at, later_acceptances) = feed.time_of(entry.changed, now);
            if let Some(change) = self.change(feed, entry, at, later_acceptances) {
                is_current |= later_acceptances == 0;
                latest = latest.max(at);
                bytes = bytes.saturating_add(change.value.len());
                page.changes.push(change);
            }
        }
        // A restore continues from the time in the newest record. What the host drops must not be
        // needed at that time.
        if page.changes.is_empty() {
            page.now = now.min(feed.recorded_at());
            return Ok(page);
        }
        if !is_current {
            page.now = now.min(latest);
        }
        if let Some(feed) = &mut self.feed {
            feed.set_read(page.next, is_current.then_some(now));
        }
        Ok(page)
    }

    /// Returns the sequence number of the newest change; 0 without a feed.
    #[must_use]
    pub fn last_change(&self) -> u64 {
        self.feed.as_ref().map_or(0, Feed::last)
    }

    /// Returns how many records are kept after their subject has ended.
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.feed.as_ref().map_or(0, Feed::tombstones)
    }

    /// Returns a record, sealed, with the time of [`Feed::time_of`].
    fn change(
        &self,
        feed: &Feed,
        entry: &FeedEntry<SessionSlot, PendingKey>,
        at: Timestamp,
        later_acceptances: u64,
    ) -> Option<Change> {
        let (body, forget_at) = self.body(feed, &entry.kind)?;
        let accepted = self.clock_history.accepted();
        let header = Header {
            sequence: entry.changed,
            at,
            clocks_accepted: accepted.saturating_sub(later_acceptances),
            last_serial: self.sessions.last_serial(),
            last_epoch: self.epochs.current(),
        };
        let key = body.key();
        let workspace = self.limits.workspace_id;
        Some(Change {
            value: encode(&feed.keys, workspace, &header, &key, &body),
            sequence: entry.changed,
            key,
            forget_at,
        })
    }

    /// Returns the present content of a record, and the time from which it is not needed.
    fn body(&self, feed: &Feed, kind: &RecordKind) -> Option<(RecordBody, Option<Timestamp>)> {
        Some(match kind {
            RecordKind::Meta => {
                let (key, salt) = self.fingerprint_key.clone()?;
                let meta = MetaRecord {
                    key,
                    salt,
                    events: feed.events(),
                    closed_run: self.events.closed_run(),
                };
                (RecordBody::Meta(meta), None)
            }
            RecordKind::Session(slot) => {
                let Some(entry) = self.sessions.get(*slot) else {
                    debug_assert!(false, "the session of a session record must exist");
                    return None;
                };
                // When the session ends, the revocation of its token is pending until the token
                // expires.
                let until = entry.latest_end.max(entry.token_expires_at);
                let until = needed_until(until, &entry.unconfirmed);
                let record = Box::new(self.session_record(entry));
                (RecordBody::Session(record), Some(until))
            }
            RecordKind::Tombstone(tombstone) => {
                let ended = EndedRecord {
                    id: tombstone.id,
                    until: tombstone.session_until,
                    unconfirmed: self.unconfirmed(&tombstone.unconfirmed),
                };
                (RecordBody::Ended(ended), Some(tombstone.until))
            }
            RecordKind::Cutoff(cutoff) => {
                let until = cutoff.until;
                (RecordBody::Cutoff((**cutoff).clone()), Some(until))
            }
            RecordKind::Revocation(number, key) => {
                let body = RecordBody::Revocation(*number, self.unconfirmed_revocation(key)?);
                (body, Some(key.token_expires_at()))
            }
            RecordKind::Revoked(number) => {
                let body = RecordBody::Revoked(*number);
                (body, Some(Timestamp::default()))
            }
        })
    }

    fn session_record(&self, entry: &Entry) -> SessionRecord {
        SessionRecord {
            session: entry.session.clone(),
            serial: entry.serial,
            created_epoch: entry.created_epoch,
            lifetime: entry.lifetime,
            used_at: entry.used_at,
            fingerprint: entry.fingerprint.clone(),
            handle: entry.handle.clone(),
            token_expires_at: entry.token_expires_at,
            superseded: entry.superseded.tokens().to_vec(),
            grace: entry.superseded.grace(),
            until: entry.latest_end,
            unconfirmed: self.unconfirmed(&entry.unconfirmed),
        }
    }

    fn unconfirmed(&self, keys: &[PendingKey]) -> Vec<UnconfirmedRevocation> {
        let revocations = keys.iter();
        revocations
            .filter_map(|key| self.unconfirmed_revocation(key))
            .collect()
    }

    fn unconfirmed_revocation(&self, key: &PendingKey) -> Option<UnconfirmedRevocation> {
        Some(UnconfirmedRevocation {
            handle: self.pending.handle(key)?,
            token_expires_at: key.token_expires_at(),
        })
    }
}
