//! Restoring records (R23): in any order, and each one any number of times.
//!
//! Of two records with the same key the newer one counts. The record of a session's end takes
//! precedence over all other records of the session (R12).
//!
//! Records that belong together can be restored at different times. A child is due while its parent
//! is not restored. A session is due as soon as it and a cut-off that revokes it are restored. Due
//! sessions are ended by the calls that find them, like those that have expired, so no last step
//! has to repair the state.

use std::rc::Rc;

use crate::domain::error::{Error, Limit};
use crate::domain::superseded::Superseded;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::FingerprintKey;
use crate::persistence::change_feed::{FeedSlot, Tombstone};
use crate::persistence::decode::{DecodedRecord, decode};
use crate::persistence::record::{
    Change, CutoffRecord, EndedRecord, MetaRecord, RecordBody, SessionRecord,
    UnconfirmedRevocation, refused,
};
use crate::store::budget::{TOMBSTONE_SIZE, pending_size, session_size};
use crate::store::entry::{Entry, NewEntry};
use crate::store::plan::NewToken;
use crate::store::revocations::{Owner, PendingKey, needed_until};
use crate::store::slots::SessionSlot;
use crate::store::state::{RecordKind, Store};

impl Store {
    /// Restores records, all or none of them. Returns the time inside according to all records
    /// restored so far, and the key of the fingerprints if one of them had it.
    ///
    /// # Errors
    /// [`Error::NoStateKey`] without a feed, [`Error::AlreadyStarted`] if restored records have
    /// changed since they were restored, [`Error::RefusedRecord`] for the first record that
    /// cannot be restored, [`Error::LimitReached`] if the records are too large.
    pub fn restore(
        &mut self,
        changes: &[Change],
    ) -> Result<(Timestamp, Option<Rc<FingerprintKey>>), Error> {
        let records = changes.iter().map(|change| self.read(change));
        let records: Vec<DecodedRecord> = match self.feed {
            Some(ref feed) if !feed.can_restore() => return Err(Error::AlreadyStarted),
            Some(_) => records.collect::<Result<_, Error>>()?,
            None => return Err(Error::NoStateKey),
        };
        let sizes = records.iter().map(|record| restored_size(&record.body));
        if !self.budget.can_restore(sizes.fold(0, u64::saturating_add)) {
            return Err(Error::LimitReached(Limit::StateBytes));
        }
        self.lifetimes.set_restored();
        for record in records {
            self.restore_record(record);
        }
        let time = self.clock_history.restored_time();
        if let Some(feed) = &mut self.feed {
            feed.set_restored();
            feed.set_recorded_at(time);
            if let Some(acceptance) = self.clock_history.restored_acceptance() {
                feed.restore_acceptance(acceptance.sequence, acceptance.before);
            }
        }
        let key = self.fingerprint_key.as_ref().map(|(key, _)| Rc::clone(key));
        Ok((time, key))
    }

    /// Ends the restore. Children whose parents were not restored stay due.
    pub fn end_restoring(&mut self) {
        self.sessions.drop_orphans();
    }

    /// Decodes a record and checks that it fits into this instance.
    pub(super) fn read(&self, change: &Change) -> Result<DecodedRecord, Error> {
        let feed = self.feed.as_ref().ok_or(Error::NoStateKey)?;
        let record = decode(change, &feed.keys, self.limits.workspace_id)?;
        match &record.body {
            RecordBody::Meta(meta) => {
                let known = self.fingerprint_key.as_ref();
                if known.is_some_and(|(known, _)| known.secret() != meta.key.secret()) {
                    let why = "its fingerprint-key differs from that of an earlier record";
                    return Err(refused(&change.key, why));
                }
            }
            RecordBody::Session(it) => {
                let session = &it.session;
                let role = &session.attributes.role;
                if self.sessions.check_index(&session.agent_id, role).is_err() {
                    // This happens once in about 2^64 pairs. Another instance draws another seed.
                    let why = "its agent or role has the same hash as another one";
                    return Err(refused(&change.key, why));
                }
            }
            _ => {}
        }
        Ok(record)
    }

    fn restore_record(&mut self, record: DecodedRecord) {
        let header = record.header;
        let sequence = header.sequence;
        self.clock_history
            .restore(sequence, header.at, header.clocks_accepted);
        self.sessions.raise_serial_to(header.last_serial);
        self.epochs.raise_to(header.last_epoch);
        if let Some(feed) = &mut self.feed {
            feed.raise_sequence_to(sequence);
        }
        let slot = match record.body {
            RecordBody::Meta(meta) => self.restore_meta(sequence, meta),
            RecordBody::Session(session) => self.restore_session(sequence, *session),
            RecordBody::Ended(ended) => self.restore_ended(sequence, ended),
            RecordBody::Cutoff(cutoff) => self.restore_cutoff(sequence, cutoff),
            RecordBody::Revocation(number, revocation) => {
                self.restore_revocation(sequence, number, revocation)
            }
            RecordBody::Revoked(number) => self.restore_revoked(sequence, number),
        };
        if record.is_outdated
            && let Some(slot) = slot
            && let Some(feed) = &mut self.feed
        {
            feed.mark_outdated(slot);
        }
    }

    fn restore_meta(&mut self, sequence: u64, meta: MetaRecord) -> Option<FeedSlot> {
        let feed = self.feed.as_mut()?;
        // Only the newest meta record counts the events. If it closes a run, the count is exact;
        // earlier ones contain reserved numbers.
        let slot = feed.restore_meta(sequence)?;
        feed.restore_events(meta.events, meta.closed_run.is_some());
        self.events.continue_after(meta.events, meta.closed_run);
        self.fingerprint_key = Some((meta.key, meta.salt));
        Some(slot)
    }

    fn restore_session(&mut self, sequence: u64, record: SessionRecord) -> Option<FeedSlot> {
        let id = record.session.id;
        if self.tombstone(id).is_some() {
            return None;
        }
        if let Some(slot) = self.sessions.slot_of(id) {
            if self.changed_at(slot) >= sequence {
                return None;
            }
            self.remove_older(slot);
        }
        let unconfirmed = self.add_unconfirmed(Owner::Session(id), record.unconfirmed);
        self.sessions.raise_serial_to(record.serial);
        self.epochs.raise_to(record.created_epoch);
        let parent = record.session.parent;
        let agent_id = record.session.agent_id;
        let attributes = &record.session.attributes;
        let (agent, role) = self.sessions.reserve_buckets(&agent_id, &attributes.role);
        let mut entry = Entry::from(NewEntry {
            session: record.session,
            serial: record.serial,
            agent,
            role,
            parent: None,
            created_epoch: record.created_epoch,
            lifetime: record.lifetime,
            used_at: record.used_at,
            token: NewToken {
                fingerprint: record.fingerprint,
                handle: record.handle,
                expires_at: record.token_expires_at,
            },
        });
        entry.latest_end = record.until;
        entry.unconfirmed = unconfirmed;
        entry.superseded = Superseded::restored(record.superseded, record.grace);
        let slot = self.insert(entry);
        self.sessions.release_buckets(agent, role);
        self.sessions.add_superseded(slot);
        if let Some(parent) = parent {
            if let Some(parent) = self.sessions.slot_of(parent) {
                self.attach(parent, slot);
            } else {
                self.sessions.add_orphan(parent, slot);
                self.update_end(slot);
            }
        }
        for child in self.sessions.take_orphans(id) {
            if self.sessions.is_orphan_of(child, id) {
                self.attach(slot, child);
            }
        }
        let kind = RecordKind::Session(slot);
        let record = self.feed.as_mut()?.restore(sequence, kind);
        self.sessions.get_mut(slot)?.record = Some(record);
        Some(record)
    }

    fn restore_ended(&mut self, sequence: u64, record: EndedRecord) -> Option<FeedSlot> {
        let id = record.id;
        if let Some(slot) = self.sessions.slot_of(id) {
            self.remove_older(slot);
        }
        if let Some((slot, tombstone)) = self.feed.as_ref()?.tombstone(id) {
            if self.feed.as_ref()?.get(slot)?.changed >= sequence {
                return None;
            }
            let unconfirmed = tombstone.unconfirmed.clone();
            self.drop_unconfirmed(&unconfirmed);
            self.feed.as_mut()?.remove(slot);
            self.budget.release(TOMBSTONE_SIZE);
        }
        let unconfirmed = self.add_unconfirmed(Owner::Session(id), record.unconfirmed);
        let tombstone = Tombstone {
            id,
            session_until: record.until,
            until: needed_until(record.until, &unconfirmed),
            unconfirmed,
        };
        self.budget.add(TOMBSTONE_SIZE);
        let kind = RecordKind::Tombstone(Box::new(tombstone));
        Some(self.feed.as_mut()?.restore(sequence, kind))
    }

    fn restore_cutoff(&mut self, sequence: u64, cutoff: CutoffRecord) -> Option<FeedSlot> {
        let feed = self.feed.as_mut()?;
        if feed.has_cutoff(cutoff.epoch) {
            return None;
        }
        self.epochs.restore(&cutoff);
        self.budget.add(TOMBSTONE_SIZE);
        Some(feed.restore(sequence, RecordKind::Cutoff(Box::new(cutoff))))
    }

    fn restore_revocation(
        &mut self,
        sequence: u64,
        number: u64,
        revocation: UnconfirmedRevocation,
    ) -> Option<FeedSlot> {
        if !self.remove_older_revocation(sequence, number) {
            return None;
        }
        if self.sessions.has_handle(&revocation.handle) {
            // The token belongs to a session and is revoked when that ends, so the record is not
            // needed. It is written again as done, because the host would keep it otherwise.
            return self.restore_revoked(sequence, number);
        }
        let owner = Owner::Discarded(None);
        let key = *self.add_unconfirmed(owner, vec![revocation]).first()?;
        let kind = RecordKind::Revocation(number, key);
        let record = self.feed.as_mut()?.restore(sequence, kind);
        self.pending.set_record(&key, record);
        Some(record)
    }

    fn restore_revoked(&mut self, sequence: u64, number: u64) -> Option<FeedSlot> {
        if !self.remove_older_revocation(sequence, number) {
            return None;
        }
        self.budget.add(TOMBSTONE_SIZE);
        let kind = RecordKind::Revoked(number);
        Some(self.feed.as_mut()?.restore(sequence, kind))
    }

    /// Removes the record of this revocation if it is older. Returns false if there is a newer one.
    fn remove_older_revocation(&mut self, sequence: u64, number: u64) -> bool {
        let Some(feed) = &mut self.feed else {
            return false;
        };
        let Some((slot, entry)) = feed.revocation(number) else {
            return true;
        };
        if entry.changed >= sequence {
            return false;
        }
        let pending = match entry.kind {
            RecordKind::Revocation(_, key) => Some(key),
            _ => None,
        };
        feed.remove(slot);
        match pending {
            Some(key) => self.drop_unconfirmed(&[key]),
            None => self.budget.release(TOMBSTONE_SIZE),
        }
        true
    }

    /// Returns the sequence number of the last change of a session's record.
    fn changed_at(&self, slot: SessionSlot) -> u64 {
        let record = self.sessions.get(slot).and_then(|entry| entry.record);
        let entry = record.and_then(|record| self.feed.as_ref()?.get(record));
        entry.map_or(0, |entry| entry.changed)
    }

    /// Removes a session that a newer record replaces. This is not an end: no event is recorded,
    /// and the children become orphans until that record is restored.
    fn remove_older(&mut self, slot: SessionSlot) {
        for child in self.sessions.separate(slot) {
            self.update_ends(child);
        }
        let Some(entry) = self.remove(slot) else {
            debug_assert!(false, "a session that is replaced must exist");
            return;
        };
        self.sessions.remove_handle(&entry.handle);
        self.drop_unconfirmed(&entry.unconfirmed);
        if let Some(feed) = &mut self.feed
            && let Some(record) = entry.record
        {
            feed.remove(record);
        }
    }

    /// Links a session to its parent, after both are restored. If it cannot be linked, it stays
    /// due.
    fn attach(&mut self, parent: SessionSlot, child: SessionSlot) {
        if self.sessions.attach(parent, child) {
            self.update_ends(child);
        }
    }

    /// Updates the times at which a session and all its descendants expire. They depend on whether
    /// its parent is restored.
    fn update_ends(&mut self, slot: SessionSlot) {
        self.update_end(slot);
        for descendant in self.sessions.descendants_of(slot) {
            self.update_end(descendant);
        }
    }

    /// Adds the unconfirmed revocations of a record.
    fn add_unconfirmed(
        &mut self,
        owner: Owner,
        revocations: Vec<UnconfirmedRevocation>,
    ) -> Vec<PendingKey> {
        let add = |revocation: UnconfirmedRevocation| {
            self.sessions.add_handle(&revocation.handle);
            self.add_pending(owner, revocation.handle, revocation.token_expires_at)
        };
        revocations.into_iter().map(add).collect()
    }
}

/// Returns the bytes that a restored record counts against `max-state-bytes`.
pub(super) fn restored_size(body: &RecordBody) -> u64 {
    let pending = |revocations: &[UnconfirmedRevocation]| {
        let sizes = revocations.iter().map(|it| pending_size(&it.handle));
        sizes.fold(0, u64::saturating_add)
    };
    match body {
        RecordBody::Meta(_) => 0,
        RecordBody::Session(record) => {
            let attributes = &record.session.attributes;
            let superseded = Superseded::size_of(record.superseded.len());
            session_size(attributes, &record.handle, superseded)
                .saturating_add(pending(&record.unconfirmed))
        }
        RecordBody::Ended(record) => pending(&record.unconfirmed).saturating_add(TOMBSTONE_SIZE),
        RecordBody::Cutoff(_) | RecordBody::Revoked(_) => TOMBSTONE_SIZE,
        RecordBody::Revocation(_, revocation) => pending_size(&revocation.handle),
    }
}
