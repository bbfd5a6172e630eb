//! The feed: the records of the state, ordered by their last change (R23).
//!
//! The content of a record is taken from the store when the record is read. The feed itself keeps
//! the order, and what the store does not keep: tombstones of sessions that could be restored
//! otherwise, cut-offs of kill switches, settled revocations, acceptances of earlier times, the
//! reserved event numbers, and the list of outdated records. A change moves a record after all
//! others, which costs the same whether the feed is read or not.
//!
//! `S` identifies a session in the store, and `P` a pending revocation.

#[cfg(any(test, feature = "checks"))]
mod invariants;

use crate::collections::ordered::Ordered;
use crate::collections::slab::Slab;
use crate::collections::slot::slot_type;
use crate::collections::table::{Table, number_key};
use crate::domain::epoch::Epoch;
use crate::domain::id::SessionId;
use crate::domain::state_key::StateKeys;
use crate::domain::timestamp::Timestamp;
use crate::persistence::record::CutoffRecord;

slot_type! {
    /// The slot of a record in the feed.
    FeedSlot
}

/// How many sequence numbers of events are reserved at a time. The meta record contains the last
/// reserved number. The next block is reserved when half of a block is left, so the meta record
/// changes for this reason at most once in 512 events.
const EVENTS_AT_A_TIME: u64 = 1_024;

/// If nothing else changes, the meta record is written again after this many seconds, so that it
/// contains the current time.
const TIME_RECORDED: u64 = 60;

/// The maximum number of outdated records that one call marks as changed (R20).
const MAX_REWRITTEN: usize = 1_000;

/// How many acceptances of an earlier time are kept. Older ones are dropped. A record that changed
/// before a dropped one gets the time before the oldest kept one. The host is assumed to have read
/// such a record already.
const MAX_ACCEPTANCES: usize = 64;

/// An acceptance of an earlier time (R6).
#[derive(Clone, Copy, Debug)]
struct Acceptance {
    /// The sequence number of the cut-off that was recorded with it.
    cutoff_sequence: u64,
    /// The time inside before the acceptance.
    before: Timestamp,
}

/// The feed.
#[derive(Debug)]
pub struct Feed<S, P> {
    /// The keys of the seals.
    pub keys: StateKeys,
    entries: Slab<FeedSlot, FeedEntry<S, P>>,
    /// The records, ordered by the sequence numbers of their last changes.
    order: Ordered<(u64, FeedSlot)>,
    /// The sequence number of the newest change.
    last: u64,
    /// The `last` after the last restore; 0 before the first one.
    restored_to: u64,
    /// The tombstones by the ids of their sessions.
    tombstones: Table<FeedSlot>,
    /// The records that are kept after their subject has ended, ordered by the time until which
    /// they are needed.
    by_needed_until: Ordered<(Timestamp, FeedSlot)>,
    meta: Option<FeedSlot>,
    /// The records of revocations without a session, by their numbers.
    revocations: Table<FeedSlot>,
    /// The records of cut-offs, by their epochs.
    cutoffs: Table<FeedSlot>,
    /// The time that was written into the newest records, when they were first read.
    recorded_at: Timestamp,
    /// The number of the newest record that was read or restored.
    read_to: u64,
    /// A sequence number that no event has exceeded.
    events: u64,
    /// The acceptances of earlier times.
    acceptances: Vec<Acceptance>,
    /// Restored records of an older format or under a previous key: the sequence numbers of their
    /// changes, and their slots.
    outdated: Vec<(u64, FeedSlot)>,
}

/// A record in the feed.
#[derive(Debug)]
pub struct FeedEntry<S, P> {
    /// The sequence number of the last change.
    pub changed: u64,
    /// What kind of record it is, and its content.
    pub kind: RecordKind<S, P>,
}

/// The kind of a record, with its content or with a reference to it in the store.
#[derive(Debug)]
pub enum RecordKind<S, P> {
    /// The instance: the key of the fingerprints and the run of events.
    Meta,
    /// A session.
    Session(S),
    /// A session that has ended.
    Tombstone(Box<Tombstone<P>>),
    /// The cut-off of a kill switch.
    Cutoff(Box<CutoffRecord>),
    /// The pending revocation of a token without a session. The number is in the record's key.
    Revocation(u64, P),
    /// A revocation without a session that is no longer pending. The host can drop the record.
    Revoked(u64),
}

/// The record of a session that has ended.
#[derive(Debug)]
pub struct Tombstone<P> {
    /// The id of the session.
    pub id: SessionId,
    /// Until when an older record could restore the session.
    pub session_until: Timestamp,
    /// Until when the tombstone is needed: until `session_until`, and while a revocation is
    /// pending.
    pub until: Timestamp,
    /// The unconfirmed revocations of the session's tokens.
    pub unconfirmed: Vec<P>,
}

impl<S, P> RecordKind<S, P> {
    /// Returns until when the record is needed, if it is kept after its subject has ended.
    fn needed_until(&self) -> Option<Timestamp> {
        match self {
            Self::Tombstone(tombstone) => Some(tombstone.until),
            Self::Cutoff(cutoff) => Some(cutoff.until),
            Self::Revoked(_) => Some(Timestamp::default()),
            Self::Meta | Self::Session(_) | Self::Revocation(..) => None,
        }
    }
}

impl<S, P> Feed<S, P> {
    /// Returns a feed without records.
    #[must_use]
    pub fn new(keys: StateKeys) -> Self {
        Self {
            keys,
            entries: Slab::new(),
            order: Ordered::default(),
            last: 0,
            restored_to: 0,
            tombstones: Table::default(),
            by_needed_until: Ordered::default(),
            meta: None,
            revocations: Table::default(),
            cutoffs: Table::default(),
            recorded_at: Timestamp::default(),
            read_to: 0,
            events: 0,
            acceptances: Vec::new(),
            outdated: Vec::new(),
        }
    }

    /// Returns the sequence number of the newest change.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the sequence number of the next change.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.last.saturating_add(1)
    }

    /// Returns whether no record has changed since the last restore. If one has, its new sequence
    /// number can be that of a record that is not restored yet.
    #[must_use]
    pub fn can_restore(&self) -> bool {
        self.last == self.restored_to
    }

    /// Sets what has been restored so far.
    pub fn set_restored(&mut self) {
        self.restored_to = self.last;
    }

    /// Returns how many records are kept after their subject has ended: tombstones, cut-offs and
    /// settled revocations.
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.by_needed_until.len()
    }

    /// Adds a record as the newest change.
    pub fn add(&mut self, kind: RecordKind<S, P>) -> FeedSlot {
        self.restore(self.next(), kind)
    }

    /// Adds a restored record with the sequence number of its last change.
    pub fn restore(&mut self, changed: u64, kind: RecordKind<S, P>) -> FeedSlot {
        let slot = self.entries.insert(FeedEntry { changed, kind });
        self.order.insert((changed, slot));
        self.last = self.last.max(changed);
        self.index(slot);
        slot
    }

    /// Marks a record as changed.
    pub fn mark(&mut self, slot: FeedSlot) {
        let next = self.next();
        let Some(entry) = self.entries.get_mut(slot) else {
            debug_assert!(false, "a record that changes must exist");
            return;
        };
        self.order.remove((entry.changed, slot));
        entry.changed = next;
        self.order.insert((next, slot));
        self.last = next;
    }

    /// Marks a record as changed, unless its last change is still to be read: then the page that
    /// has it will have this change too.
    pub fn mark_if_read(&mut self, slot: FeedSlot) {
        let entry = self.entries.get(slot);
        if entry.is_some_and(|entry| entry.changed <= self.read_to) {
            self.mark(slot);
        }
    }

    /// Replaces the kind and content of a record. This is a change.
    pub fn replace(&mut self, slot: FeedSlot, kind: RecordKind<S, P>) {
        self.unindex(slot);
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.kind = kind;
        }
        self.index(slot);
        self.mark(slot);
    }

    /// Sets an earlier time until which a record is needed. This is not a change: a host that does
    /// not read it keeps the record longer, which is harmless.
    pub fn set_until(&mut self, slot: FeedSlot, until: Timestamp) {
        self.unindex(slot);
        match self.get_mut(slot) {
            Some(RecordKind::Tombstone(tombstone)) => tombstone.until = until,
            Some(RecordKind::Cutoff(cutoff)) => cutoff.until = until,
            _ => {}
        }
        self.index(slot);
    }

    /// Drops a record that is no longer needed, and marks the meta record as changed. So the time
    /// and the sequence number of the drop are stored, and a restore does not go back behind them.
    pub fn drop_record(&mut self, slot: FeedSlot) {
        self.remove(slot);
        self.mark_meta();
    }

    /// Removes a record. This is not a change.
    pub fn remove(&mut self, slot: FeedSlot) {
        self.unindex(slot);
        if let Some(entry) = self.entries.remove(slot) {
            self.order.remove((entry.changed, slot));
        }
    }

    /// Returns the record in a slot.
    #[must_use]
    pub fn get(&self, slot: FeedSlot) -> Option<&FeedEntry<S, P>> {
        self.entries.get(slot)
    }

    /// Returns the kind and content of a record, for changing it. The caller must call
    /// [`Feed::mark`] then.
    pub fn get_mut(&mut self, slot: FeedSlot) -> Option<&mut RecordKind<S, P>> {
        self.entries.get_mut(slot).map(|entry| &mut entry.kind)
    }

    /// Returns the tombstone of a session, if there is one.
    #[must_use]
    pub fn tombstone(&self, id: SessionId) -> Option<(FeedSlot, &Tombstone<P>)> {
        let slot = self.tombstones.get(id.key())?;
        match &self.entries.get(slot)?.kind {
            RecordKind::Tombstone(tombstone) if tombstone.id == id => Some((slot, tombstone)),
            _ => None,
        }
    }

    /// Marks the meta record as changed, or adds it.
    pub fn mark_meta(&mut self) {
        match self.meta {
            Some(slot) => self.mark(slot),
            None => self.meta = Some(self.add(RecordKind::Meta)),
        }
    }

    /// Marks the meta record as changed if the newest records are older than a minute, so that it
    /// contains the current time. While the host's clock is behind, every advance of the time
    /// inside is written at once, because after a restart the host's clock would not show that
    /// time.
    pub fn mark_time(&mut self, now: Timestamp, is_behind: bool) {
        let due_at = self.recorded_at.after_seconds(TIME_RECORDED);
        let is_due = now >= due_at || (is_behind && now > self.recorded_at);
        // Before the first page is read, all records are still to be read anyway.
        let is_recorded = self.recorded_at > Timestamp::default();
        if self.meta.is_some() && is_recorded && is_due {
            self.mark_meta();
        }
    }

    /// Returns the time of the newest records that were read or restored.
    #[must_use]
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// Sets the time of the newest records, after they were restored.
    pub fn set_recorded_at(&mut self, at: Timestamp) {
        self.recorded_at = at;
        self.read_to = self.last;
    }

    /// Records that the records up to this number were read. `at` becomes the time of the newest
    /// records; it is `None` if all of them are older than the last acceptance. The time does not
    /// change if they were read before, because another reader has them with an earlier time.
    pub fn set_read(&mut self, to: u64, at: Option<Timestamp>) {
        if to > self.read_to {
            self.read_to = to;
            self.recorded_at = at.unwrap_or(self.recorded_at);
        }
    }

    /// Records that the time inside continues from `now`, which is earlier than the time `before`.
    /// The newest record must be the cut-off of this acceptance. This is a change.
    pub fn accept_time(&mut self, before: Timestamp, now: Timestamp) {
        if self.acceptances.len() >= MAX_ACCEPTANCES {
            self.acceptances.remove(0);
        }
        self.acceptances.push(Acceptance {
            cutoff_sequence: self.last,
            before,
        });
        self.recorded_at = now;
        self.mark_meta();
    }

    /// Sets the last acceptance that restored records contain.
    pub fn restore_acceptance(&mut self, cutoff_sequence: u64, before: Timestamp) {
        self.acceptances = vec![Acceptance {
            cutoff_sequence,
            before,
        }];
    }

    /// Returns the time to write into a record with this last change, and how many acceptances came
    /// after the change. A record that changed before an acceptance keeps the time from before the
    /// first such acceptance. A host may store this record and lose the cut-off that follows.
    /// Without the cut-off, a restore must not set the time back.
    #[must_use]
    pub fn time_of(&self, changed: u64, now: Timestamp) -> (Timestamp, u64) {
        let mut later = self
            .acceptances
            .iter()
            .filter(|it| it.cutoff_sequence > changed);
        match later.next() {
            Some(first) => (first.before, (later.count() as u64).saturating_add(1)),
            None => (now, 0),
        }
    }

    /// Raises the last sequence number to at least this one.
    pub fn raise_sequence_to(&mut self, sequence: u64) {
        self.last = self.last.max(sequence);
    }

    /// Restores the meta record, unless a newer one was restored.
    pub fn restore_meta(&mut self, changed: u64) -> Option<FeedSlot> {
        if let Some(slot) = self.meta {
            let meta = self.entries.get(slot);
            if meta.is_some_and(|entry| entry.changed >= changed) {
                return None;
            }
            self.remove(slot);
        }
        self.meta = Some(self.restore(changed, RecordKind::Meta));
        self.meta
    }

    /// Returns the record of the revocation without a session that has this number.
    #[must_use]
    pub fn revocation(&self, number: u64) -> Option<(FeedSlot, &FeedEntry<S, P>)> {
        let slot = self.revocations.get(number_key(number))?;
        Some((slot, self.entries.get(slot)?))
    }

    /// Returns whether the cut-off of this epoch has a record.
    #[must_use]
    pub fn has_cutoff(&self, epoch: Epoch) -> bool {
        self.cutoffs.contains(number_key(epoch.get()))
    }

    /// Reserves sequence numbers above that of the newest event, so that a restored instance does
    /// not use a number again.
    pub fn reserve_events_after(&mut self, newest: u64) {
        if newest > 0 && newest.saturating_add(EVENTS_AT_A_TIME / 2) > self.events {
            self.events = newest.saturating_add(EVENTS_AT_A_TIME);
            self.mark_meta();
        }
    }

    /// Returns a sequence number that no event has exceeded.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Records the exact sequence number of the last event of a closed run.
    pub fn close_events_at(&mut self, last: u64) {
        self.events = last;
        self.mark_meta();
    }

    /// Continues the events after those of an earlier instance. If that instance closed its run,
    /// `last` is exact. The restored meta record is outdated then, because it states that the run
    /// is closed.
    pub fn restore_events(&mut self, last: u64, is_closed: bool) {
        self.events = last;
        if let Some(slot) = self.meta.filter(|_| is_closed) {
            self.events = last.saturating_add(EVENTS_AT_A_TIME);
            self.mark_outdated(slot);
        }
    }

    /// Returns a record of an ended subject that is no longer needed, if there is one.
    #[must_use]
    pub fn first_unneeded(&self, now: Timestamp) -> Option<FeedSlot> {
        let (until, slot) = self.by_needed_until.first()?;
        let is_pending = match &self.entries.get(slot)?.kind {
            RecordKind::Tombstone(tombstone) => !tombstone.unconfirmed.is_empty(),
            _ => false,
        };
        (until <= now && !is_pending).then_some(slot)
    }

    /// Returns the first record that changed after `since`.
    #[must_use]
    pub fn first_after(&self, since: u64) -> Option<FeedSlot> {
        let (_, slot) = self.order.first_after(|(changed, _)| *changed <= since)?;
        Some(slot)
    }

    /// Adds a restored record to the outdated ones, which are written again.
    pub fn mark_outdated(&mut self, slot: FeedSlot) {
        if let Some(entry) = self.entries.get(slot) {
            self.outdated.push((entry.changed, slot));
        }
    }

    /// Marks a batch of outdated records as changed. Returns whether more are left.
    pub fn mark_some_outdated(&mut self) -> bool {
        for _ in 0..MAX_REWRITTEN {
            let Some((changed, slot)) = self.outdated.pop() else {
                return false;
            };
            let entry = self.entries.get(slot);
            if entry.is_some_and(|entry| entry.changed == changed) {
                self.mark(slot);
            }
        }
        !self.outdated.is_empty()
    }

    fn index(&mut self, slot: FeedSlot) {
        let Some(entry) = self.entries.get(slot) else {
            return;
        };
        if let Some(until) = entry.kind.needed_until() {
            self.by_needed_until.insert((until, slot));
        }
        match &entry.kind {
            RecordKind::Tombstone(tombstone) => self.tombstones.insert(tombstone.id.key(), slot),
            RecordKind::Cutoff(cutoff) => {
                self.cutoffs.insert(number_key(cutoff.epoch.get()), slot);
            }
            RecordKind::Revocation(number, _) | RecordKind::Revoked(number) => {
                self.revocations.insert(number_key(*number), slot);
            }
            RecordKind::Meta | RecordKind::Session(_) => {}
        }
    }

    fn unindex(&mut self, slot: FeedSlot) {
        let Some(entry) = self.entries.get(slot) else {
            return;
        };
        if let Some(until) = entry.kind.needed_until() {
            self.by_needed_until.remove((until, slot));
        }
        match &entry.kind {
            RecordKind::Tombstone(tombstone) => {
                self.tombstones.remove(tombstone.id.key());
            }
            RecordKind::Cutoff(cutoff) => {
                self.cutoffs.remove(number_key(cutoff.epoch.get()));
            }
            RecordKind::Revocation(number, _) | RecordKind::Revoked(number) => {
                self.revocations.remove(number_key(*number));
            }
            RecordKind::Meta | RecordKind::Session(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::session::RevokeFilter;
    use crate::domain::state_key::StateKey;

    type TestFeed = Feed<u32, u32>;

    fn feed() -> TestFeed {
        let key = StateKey::parse("state-key", &[1; 32]).unwrap();
        Feed::new(StateKeys::new(key, vec![]).unwrap())
    }

    /// Returns the tombstone of a session, without unconfirmed revocations, that is needed until
    /// this time.
    fn tombstone(id: SessionId, until: u64) -> RecordKind<u32, u32> {
        let until = Timestamp::from_millis(until);
        RecordKind::Tombstone(Box::new(Tombstone {
            id,
            session_until: until,
            until,
            unconfirmed: vec![],
        }))
    }

    fn cutoff(until: u64) -> RecordKind<u32, u32> {
        RecordKind::Cutoff(Box::new(CutoffRecord {
            filter: RevokeFilter::Everything,
            epoch: Epoch::new(1),
            until: Timestamp::from_millis(until),
        }))
    }

    fn order(feed: &TestFeed) -> Vec<FeedSlot> {
        let mut slots = Vec::new();
        let mut since = 0;
        while let Some(slot) = feed.first_after(since) {
            slots.push(slot);
            since = feed.get(slot).unwrap().changed;
        }
        slots
    }

    #[test]
    fn r23_a_change_moves_a_record_after_all_others() {
        let mut feed = feed();
        let [first, second] = [1, 2].map(|session| feed.add(RecordKind::Session(session)));
        assert_eq!(order(&feed), [first, second]);
        feed.mark(first);
        assert_eq!(order(&feed), [second, first]);
        assert_eq!(feed.last(), 3);
        feed.remove(second);
        assert_eq!((order(&feed), feed.last()), (vec![first], 3));
    }

    #[test]
    fn a_tombstone_is_needed_until_its_time_and_until_its_revocations_are_confirmed() {
        let mut feed = feed();
        let id = SessionId::parse("id", "0a9e0000-0000-4000-8000-000000000001").unwrap();
        let until = Timestamp::from_millis(10);
        let slot = feed.add(tombstone(id, 10));
        let Some(RecordKind::Tombstone(kept)) = feed.get_mut(slot) else {
            panic!("it is a tombstone");
        };
        kept.unconfirmed.push(7);
        assert_eq!(feed.tombstone(id).map(|(slot, _)| slot), Some(slot));
        assert_eq!(feed.first_unneeded(until), None);
        let Some(RecordKind::Tombstone(tombstone)) = feed.get_mut(slot) else {
            panic!("it is a tombstone");
        };
        tombstone.unconfirmed.clear();
        assert_eq!(feed.first_unneeded(Timestamp::from_millis(9)), None);
        assert_eq!(feed.first_unneeded(until), Some(slot));
        feed.drop_record(slot);
        assert!(feed.tombstone(id).is_none());
        assert_eq!(feed.tombstones(), 0);
    }

    #[test]
    fn r6_a_record_that_changed_before_an_acceptance_keeps_the_time_before_it() {
        let mut feed = feed();
        let before = Timestamp::from_millis(90);
        let now = Timestamp::from_millis(50);
        feed.add(RecordKind::Session(1));
        feed.add(RecordKind::Session(2));
        feed.accept_time(before, now);
        assert_eq!(feed.time_of(1, now), (before, 1));
        // The cut-off of the acceptance is the newest record.
        assert_eq!(feed.time_of(2, now), (now, 0));
        assert_eq!(feed.time_of(3, now), (now, 0));
        let mut restored = self::feed();
        restored.restore_acceptance(2, before);
        assert_eq!(restored.time_of(1, now), (before, 1));
        assert_eq!(restored.time_of(2, now), (now, 0));
    }

    #[test]
    fn r23_a_restore_keeps_the_newest_meta_record_and_the_highest_sequence_number() {
        let mut feed = feed();
        feed.raise_sequence_to(9);
        feed.raise_sequence_to(4);
        assert_eq!(feed.last(), 9);
        let first = feed.restore_meta(5).unwrap();
        assert_eq!(feed.restore_meta(3), None);
        assert_eq!(feed.restore_meta(5), None);
        assert_eq!(order(&feed), [first]);
        let newer = feed.restore_meta(7).unwrap();
        assert_eq!(order(&feed), [newer]);
        assert_eq!(feed.get(newer).map(|entry| entry.changed), Some(7));
    }

    #[test]
    fn r12_a_revocation_without_a_session_is_found_by_its_number() {
        let mut feed = feed();
        assert!(feed.revocation(3).is_none());
        let slot = feed.add(RecordKind::Revocation(3, 8));
        assert_eq!(feed.revocation(3).map(|(slot, _)| slot), Some(slot));
        feed.replace(slot, RecordKind::Revoked(3));
        assert_eq!(feed.revocation(3).map(|(slot, _)| slot), Some(slot));
        feed.remove(slot);
        assert!(feed.revocation(3).is_none());
    }

    #[test]
    fn r23_outdated_records_are_written_again_1_000_at_a_time() {
        let mut feed = feed();
        for session in 0..1_001 {
            let slot = feed.restore(session, RecordKind::Session(0));
            feed.mark_outdated(slot);
        }
        feed.raise_sequence_to(1_000);
        assert!(feed.mark_some_outdated());
        assert_eq!(feed.last(), 2_000);
        assert!(!feed.mark_some_outdated());
        assert_eq!(feed.last(), 2_001);
        assert!(!feed.mark_some_outdated());
        assert_eq!(feed.last(), 2_001);
    }

    #[test]
    fn r12_a_tombstone_is_not_found_by_another_id_with_the_same_key() {
        let id = |text| SessionId::parse("id", text).unwrap();
        let one = id("00000000-0000-4000-8000-000000000001");
        let other = id("00000000-0000-4001-8000-000000000000");
        assert_eq!(one.key(), other.key());
        let mut feed = feed();
        feed.add(tombstone(one, 10));
        assert!(feed.tombstone(one).is_some());
        assert!(feed.tombstone(other).is_none());
    }

    #[test]
    fn a_record_whose_time_is_set_earlier_is_needed_until_then() {
        let mut feed = feed();
        let at = Timestamp::from_millis;
        let id = SessionId::parse("id", "0a9e0000-0000-4000-8000-000000000001").unwrap();
        for kind in [tombstone(id, 10), cutoff(10)] {
            let slot = feed.add(kind);
            feed.set_until(slot, at(5));
            assert_eq!(feed.first_unneeded(at(4)), None);
            assert_eq!(feed.first_unneeded(at(5)), Some(slot));
            let until = feed.get(slot).unwrap().kind.needed_until();
            assert_eq!(until, Some(at(5)));
            feed.remove(slot);
            assert_eq!(feed.first_unneeded(Timestamp::MAX), None);
        }
    }

    #[test]
    fn r17_sequence_numbers_of_events_are_reserved_in_advance() {
        let mut feed = feed();
        feed.reserve_events_after(0);
        assert_eq!((feed.events, feed.last()), (0, 0));
        feed.reserve_events_after(1);
        let reserved = feed.events;
        assert!(reserved > EVENTS_AT_A_TIME);
        let changes = feed.last();
        feed.reserve_events_after(EVENTS_AT_A_TIME / 2);
        assert_eq!((feed.events, feed.last()), (reserved, changes));
        feed.reserve_events_after(EVENTS_AT_A_TIME);
        assert!(feed.events > reserved && feed.last() > changes);
    }
}
