//! Taking records back (R23): in any order, each as often as it comes.
//!
//! Of two records with one key the newer counts, and the end of a session counts above all (R12).
//! What belongs together may come apart: a child that is here before its parent is over until that
//! comes, and what a kill switch was for is over when both are here. So nothing has to be put right at
//! the end, and whoever comes across such a session ends it, as any other that is over.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::rc::Rc;

use super::decode::{DecodedBody, Meta, Restored, UnconfirmedRevocation};
use super::{Entry, Link, Links, Store, TOMBSTONE, pending_size};
use crate::collections::table::Table;
use crate::domain::error::{Error, Limit};
use crate::domain::id::SessionId;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::FingerprintKey;
use crate::persistence::change_feed::{CutoffRecord, RecordKind, Tombstone};
use crate::persistence::record::Change;
use crate::store::revocations::{Owner, PendingKey, of_use_until};

/// The time inside as restored records have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestoredTime {
    /// The latest since an earlier time was accepted last.
    time: Timestamp,
    /// The lowest sequence number of a record with that time or an earlier one.
    since: u64,
    /// The latest before the acceptance.
    before: Timestamp,
}

impl Default for RestoredTime {
    fn default() -> Self {
        Self {
            time: Timestamp::default(),
            since: u64::MAX,
            before: Timestamp::default(),
        }
    }
}

/// How many bytes can be taken back: what an instance can be configured to hold.
const MAX_RESTORED: u64 = 3 << 30;

impl Store {
    /// Takes records back, all or none of them. Returns the time inside as all restored records have
    /// it, and the key of the fingerprints if it was among them.
    ///
    /// # Errors
    /// [`Error::NoStateKey`], [`Error::RefusedRecord`], [`Error::LimitReached`].
    pub fn restore(
        &mut self,
        changes: &[Change],
    ) -> Result<(Timestamp, Option<Rc<FingerprintKey>>), Error> {
        if self.feed.is_none() {
            return Err(Error::NoStateKey);
        }
        let records = changes.iter().map(|change| self.read(change));
        let records: Vec<Restored> = records.collect::<Result<_, Error>>()?;
        let size = records
            .iter()
            .map(Restored::size)
            .fold(self.bytes, u64::saturating_add);
        // What there was may be more than there could be made now: that what ends leaves something behind
        // is never refused, and some of it may come twice.
        if size > MAX_RESTORED {
            return Err(Error::LimitReached(Limit::StateBytes));
        }
        self.restored = true;
        for record in records {
            self.take_time_back(&record);
            self.take_back(record);
        }
        if let Some(feed) = &mut self.feed {
            let RestoredTime {
                time,
                since,
                before,
            } = self.restored_time;
            feed.note_recorded(time);
            if self.clocks_accepted > 0 {
                feed.restore_acceptance(since, before);
            }
        }
        let key = self.fingerprint_key.as_ref().map(|(key, _)| Rc::clone(key));
        Ok((self.restored_time.time, key))
    }

    /// The time inside is the latest of the records that were written since an earlier time was
    /// accepted last (R6). What changed before that acceptance has the time before it, also when this
    /// instance gives it again.
    fn take_time_back(&mut self, record: &Restored) {
        let restored = &mut self.restored_time;
        match record.clocks_accepted.cmp(&self.clocks_accepted) {
            Ordering::Less => restored.before = restored.before.max(record.at),
            Ordering::Equal => {
                restored.time = restored.time.max(record.at);
                restored.since = restored.since.min(record.sequence);
            }
            Ordering::Greater => {
                self.clocks_accepted = record.clocks_accepted;
                *restored = RestoredTime {
                    time: record.at,
                    since: record.sequence,
                    before: restored.before.max(restored.time),
                };
            }
        }
    }

    /// Nothing comes back any more: what never found its parent is over, and needs no place where it
    /// waits.
    pub fn end_restoring(&mut self) {
        self.orphans = Table::default();
    }

    fn take_back(&mut self, record: Restored) {
        let sequence = record.sequence;
        self.serial = self.serial.max(record.serial);
        self.epoch = self.epoch.max(record.epoch);
        if let Some(feed) = &mut self.feed {
            feed.note_sequence(sequence);
        }
        let slot = match record.what {
            DecodedBody::Meta(meta) => self.take_meta_back(sequence, meta),
            DecodedBody::Revoked(number) => self.take_revoked_back(sequence, number),
            DecodedBody::Session(entry, unconfirmed) => {
                self.take_session_back(sequence, *entry, unconfirmed)
            }
            DecodedBody::Ended(id, until, unconfirmed) => {
                self.take_end_back(sequence, id, until, unconfirmed)
            }
            DecodedBody::CutOff(switch) => self.take_cut_off_back(sequence, switch),
            DecodedBody::Revocation(number, debt) => {
                self.take_revocation_back(sequence, number, debt)
            }
        };
        if record.is_outdated
            && let Some(slot) = slot
            && let Some(feed) = &mut self.feed
        {
            feed.note_outdated(slot);
        }
    }

    fn take_meta_back(&mut self, sequence: u64, meta: Meta) -> Option<u32> {
        let feed = self.feed.as_mut()?;
        // The newest one alone says where the events have got to: one that closes a run counts them
        // exactly, where those before it keep room ahead.
        let slot = feed.place_meta(sequence)?;
        match meta.closed_run {
            Some(_) => feed.go_on_behind(meta.events),
            None => feed.events = meta.events,
        }
        self.events.go_on_behind(meta.events, meta.closed_run);
        self.fingerprint_key = Some((meta.key, meta.salt));
        Some(slot)
    }

    fn take_session_back(
        &mut self,
        sequence: u64,
        mut entry: Entry,
        unconfirmed: Vec<UnconfirmedRevocation>,
    ) -> Option<u32> {
        let id = entry.session.id;
        if self.tombstone(id).is_some() {
            return None;
        }
        if let Ok(slot) = self.slot_of(id) {
            if self.changed_at(slot) >= sequence {
                return None;
            }
            self.take_out_quietly(slot);
        }
        entry.unconfirmed = self.owe_back(Owner::Session(id), unconfirmed);
        self.serial = self.serial.max(entry.serial);
        self.epoch = self.epoch.max(entry.created_epoch);
        let parent = entry.session.parent;
        let superseded: Vec<u64> = entry
            .superseded
            .tokens()
            .iter()
            .map(|it| it.fingerprint.key())
            .collect();
        let session = &entry.session;
        entry.agent = self.agents.reserve(&session.agent_id);
        entry.role = self.roles.reserve(&session.attributes.role);
        let (agent, role) = (entry.agent, entry.role);
        let slot = self.insert(entry).slot;
        self.agents.release(agent);
        self.roles.release(role);
        for token in superseded {
            if !self.by_fingerprint.contains(token) {
                self.by_fingerprint.insert(token, slot);
            }
        }
        if let Some(parent) = parent {
            match self.slot_of(parent) {
                Ok(parent) => self.come_below(parent, slot),
                Err(_) => self.wait_for(parent, slot),
            }
        }
        let place = id.key();
        for child in self.orphans.remove(place).unwrap_or_default() {
            let is_child =
                |entry: &Entry| entry.parent == Link::NONE && entry.session.parent == Some(id);
            if self.sessions.get(child).is_some_and(is_child) {
                self.come_below(slot, child);
            }
        }
        let record = self
            .feed
            .as_mut()?
            .place(sequence, RecordKind::Session(slot));
        self.sessions.get_mut(slot)?.record = record.into();
        Some(record)
    }

    fn take_end_back(
        &mut self,
        sequence: u64,
        id: SessionId,
        until: Timestamp,
        unconfirmed: Vec<UnconfirmedRevocation>,
    ) -> Option<u32> {
        if let Ok(slot) = self.slot_of(id) {
            self.take_out_quietly(slot);
        }
        let place = id.key();
        if let Some((slot, ended)) = self.feed.as_ref()?.ended(place, id) {
            if self.feed.as_ref()?.row(slot)?.changed >= sequence {
                return None;
            }
            let unconfirmed = ended.unconfirmed.clone();
            self.forgive(&unconfirmed);
            self.feed.as_mut()?.remove(slot);
            self.bytes = self.bytes.saturating_sub(TOMBSTONE);
        }
        let unconfirmed = self.owe_back(Owner::Session(id), unconfirmed);
        let ended = Tombstone {
            id,
            place,
            own_until: until,
            until: of_use_until(until, &unconfirmed),
            unconfirmed,
        };
        self.bytes = self.bytes.saturating_add(TOMBSTONE);
        Some(
            self.feed
                .as_mut()?
                .place(sequence, RecordKind::Tombstone(Box::new(ended))),
        )
    }

    fn take_cut_off_back(&mut self, sequence: u64, switch: CutoffRecord) -> Option<u32> {
        let feed = self.feed.as_mut()?;
        if feed.has_switch(switch.epoch) {
            return None;
        }
        let epoch = switch.epoch;
        self.restored_cutoffs.get_or_insert_default().note(&switch);
        self.epoch = self.epoch.max(epoch);
        self.bytes = self.bytes.saturating_add(TOMBSTONE);
        Some(feed.place(sequence, RecordKind::CutOff(Box::new(switch))))
    }

    fn take_revoked_back(&mut self, sequence: u64, number: u64) -> Option<u32> {
        self.give_way(sequence, number)?;
        self.bytes = self.bytes.saturating_add(TOMBSTONE);
        let revoked = RecordKind::Revoked(number, Timestamp::default());
        Some(self.feed.as_mut()?.place(sequence, revoked))
    }

    /// An older record of a token that was issued in vain gives way; nothing where it is not older.
    fn give_way(&mut self, sequence: u64, number: u64) -> Option<()> {
        let Some((slot, row)) = self.feed.as_ref()?.revocation(number) else {
            return Some(());
        };
        if row.changed >= sequence {
            return None;
        }
        match row.about {
            RecordKind::Revocation(_, key) => self.forgive(&[key]),
            _ => self.bytes = self.bytes.saturating_sub(TOMBSTONE),
        }
        self.feed.as_mut()?.remove(slot);
        Some(())
    }

    fn take_revocation_back(
        &mut self,
        sequence: u64,
        number: u64,
        debt: UnconfirmedRevocation,
    ) -> Option<u32> {
        self.give_way(sequence, number)?;
        if self.handles.contains(self.seed.hash_one(&debt.handle)) {
            // Its token is a session's, whose end has it revoked. The record is of no use, and is given
            // again as such: otherwise it would stay in the store under its old key for ever.
            return self.take_revoked_back(sequence, number);
        }
        let key = *self
            .owe_back(Owner::Nobody(Link::NONE), vec![debt])
            .first()?;
        let record = self
            .feed
            .as_mut()?
            .place(sequence, RecordKind::Revocation(number, key));
        self.pending.set_record(&key, record.into());
        Some(record)
    }

    /// When the session's record changed last.
    fn changed_at(&self, slot: u32) -> u64 {
        let record = self.sessions.get(slot).and_then(|entry| entry.record.get());
        let row = record.and_then(|record| self.feed.as_ref()?.row(record));
        row.map_or(0, |row| row.changed)
    }

    /// A session gives way to a newer record of it: nothing happens to it that anybody should hear
    /// of, and those below it wait for it to come back.
    fn take_out_quietly(&mut self, slot: u32) {
        let children: Vec<u32> = self.children_of(slot).collect();
        let Some(id) = self.sessions.get(slot).map(|entry| entry.session.id) else {
            return;
        };
        for child in children {
            let below = self.below(child);
            if let Some(root) = self
                .leave_parent(child)
                .and_then(|root| self.sessions.get_mut(root))
            {
                root.descendants = root.descendants.saturating_sub(below);
            }
            if let Some(entry) = self.sessions.get_mut(child) {
                entry.descendants = below.saturating_sub(1);
            }
            self.wait_for(id, child);
        }
        if let Some(root) = self
            .leave_parent(slot)
            .and_then(|root| self.sessions.get_mut(root))
        {
            root.descendants = root.descendants.saturating_sub(1);
        }
        let Some(entry) = self.take_out(slot) else {
            return;
        };
        self.handles.remove(self.seed.hash_one(&entry.handle));
        self.forgive(&entry.unconfirmed);
        if let Some(feed) = &mut self.feed
            && let Some(record) = entry.record.get()
        {
            feed.remove(record);
        }
    }

    /// The session and all below it.
    fn below(&self, slot: u32) -> u32 {
        let below = self.descendants_of(slot).len().saturating_add(1);
        u32::try_from(below).unwrap_or(u32::MAX)
    }

    /// A child that is here before its parent. It is over until that comes.
    fn wait_for(&mut self, parent: SessionId, child: u32) {
        let place = parent.key();
        match self.orphans.get_mut(place) {
            Some(children) => children.push(child),
            None => self.orphans.insert(place, vec![child]),
        }
        self.note_end(child);
    }

    /// A session and its parent are both here.
    fn come_below(&mut self, parent: u32, slot: u32) {
        let below = self.below(slot);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.parent = parent.into();
            entry.siblings = Links::NONE;
            entry.descendants = 0;
        }
        self.join_parent(parent, slot);
        let root = self.chain(parent).last().map(|(root, _)| root);
        if let Some(root) = root.and_then(|root| self.sessions.get_mut(root)) {
            root.descendants = root.descendants.saturating_add(below);
        }
        self.note_end(slot);
        for below in self.descendants_of(slot) {
            self.note_end(below);
        }
    }

    /// The guard is still to revoke these.
    fn owe_back(&mut self, owner: Owner, debts: Vec<UnconfirmedRevocation>) -> Vec<PendingKey> {
        let owe = |debt: UnconfirmedRevocation| {
            self.handles.insert(self.seed.hash_one(&debt.handle), ());
            self.add_pending(owner, debt.handle, debt.token_expires_at)
        };
        debts.into_iter().map(owe).collect()
    }

    /// The guard is not to revoke these, as far as it was asked on behalf of a record that gives way to
    /// a newer one.
    fn forgive(&mut self, unconfirmed: &[PendingKey]) {
        for key in unconfirmed {
            if let Some(settled) = self.pending.settle(key) {
                self.handles.remove(self.seed.hash_one(&settled.handle));
                self.bytes = self.bytes.saturating_sub(pending_size(&settled.handle));
            }
        }
    }
}
