//! Which records there are, in the order in which they changed last (R23). What they say is in the
//! store; here is what only they say: which sessions have ended and could otherwise come back, and
//! which kill switches were thrown.
//!
//! A change moves a record behind all others: that is all it costs, whoever reads, and however many do.

use std::collections::VecDeque;

use crate::collections::ordered::{Due, Ordered};
use crate::collections::slab::Slab;
use crate::collections::table::Table;
use crate::domain::id::SessionId;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::persistence::seal::StateKeys;
use crate::store::revocations::PendingKey;
use crate::store::session_index::Epoch;

/// How many events have a sequence number before the record of them changes again.
const EVENTS_AT_A_TIME: u64 = 1_024;

/// How often the time alone is a change, in seconds, so that the clock is kept also where nothing happens
/// for long.
const TIME_RECORDED: u64 = 60;

/// How many records are given again in one call because they are of an older format or under a
/// previous key (R20).
const MAX_RENEWED: usize = 1_000;

/// How many acceptances of an earlier time are remembered. What changed before all of these is taken
/// to have been read.
const MAX_ACCEPTANCES: usize = 64;

/// An earlier time was accepted (R6).
#[derive(Clone, Copy, Debug)]
struct Acceptance {
    /// The sequence number of its cut-off.
    cut_off: u64,
    /// The time until then.
    before: Timestamp,
}

/// The records.
#[derive(Debug)]
pub struct Feed {
    pub keys: StateKeys,
    rows: Slab<FeedEntry>,
    /// When each changed, and its slot.
    order: Ordered<(u64, u32)>,
    last: u64,
    /// The records of sessions that have ended.
    ended: Table<u32>,
    /// When records that outlive what they are about are of no use any more.
    due: Ordered<Due>,
    meta: Option<u32>,
    /// The records of tokens that were issued in vain.
    revocations: Table<u32>,
    /// The kill switches of which there are records, in order.
    switches: VecDeque<Epoch>,
    /// The time that the newest records have.
    recorded_at: Timestamp,
    /// No event has a higher sequence number.
    pub events: u64,
    /// When earlier times were accepted.
    acceptances: Vec<Acceptance>,
    /// Records to give again.
    outdated: Vec<(u64, u32)>,
}

/// A record.
#[derive(Debug)]
pub struct FeedEntry {
    /// Counted in changes.
    pub changed: u64,
    pub about: RecordKind,
}

/// What a record is about.
#[derive(Debug)]
pub enum RecordKind {
    /// What belongs to no session.
    Meta,
    /// The live session in this slot of the store.
    Session(u32),
    /// A session that has ended.
    Tombstone(Box<Tombstone>),
    /// A kill switch.
    CutOff(Box<CutoffRecord>),
    /// A token that was issued in vain and is to be revoked. The number names the record.
    Revocation(u64, PendingKey),
    /// It was revoked then: its record is to go, in the store too.
    Revoked(u64, Timestamp),
}

/// A tombstone.
#[derive(Debug)]
pub struct Tombstone {
    pub id: SessionId,
    /// The place of the id in the tables.
    pub place: u64,
    /// Until when an older record of it could be taken for good.
    pub own_until: Timestamp,
    /// The same, or until when the guard is to be asked, whichever is later.
    pub until: Timestamp,
    /// What the guard has not confirmed.
    pub unconfirmed: Vec<PendingKey>,
}

/// A kill switch that was thrown.
#[derive(Debug)]
pub struct CutoffRecord {
    pub filter: RevokeFilter,
    pub epoch: Epoch,
    /// Until when a session that it was for could come back.
    pub until: Timestamp,
}

impl RecordKind {
    /// When the record is of no use any more, for those that outlive what they are about.
    fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Tombstone(ended) => Some(ended.until),
            Self::CutOff(switch) => Some(switch.until),
            Self::Revoked(_, at) => Some(*at),
            Self::Meta | Self::Session(_) | Self::Revocation(..) => None,
        }
    }
}

impl Feed {
    /// No records yet.
    #[must_use]
    pub fn new(keys: StateKeys) -> Self {
        Self {
            keys,
            rows: Slab::new(),
            order: Ordered::default(),
            last: 0,
            ended: Table::default(),
            due: Ordered::default(),
            meta: None,
            revocations: Table::default(),
            switches: VecDeque::new(),
            recorded_at: Timestamp::default(),
            events: 0,
            acceptances: Vec::new(),
            outdated: Vec::new(),
        }
    }

    /// The sequence number of the newest change.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The sequence number of the next change.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.last.saturating_add(1)
    }

    /// How many records outlive what they are about.
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.due.len()
    }

    /// A record more.
    pub fn add(&mut self, about: RecordKind) -> u32 {
        self.last = self.next();
        self.place(self.last, about)
    }

    /// A record that changed then.
    pub fn place(&mut self, changed: u64, about: RecordKind) -> u32 {
        let slot = self.rows.insert(FeedEntry { changed, about });
        self.order.insert((changed, slot));
        self.last = self.last.max(changed);
        self.index(slot);
        slot
    }

    /// The record has changed.
    pub fn mark(&mut self, slot: u32) {
        let next = self.next();
        let Some(row) = self.rows.get_mut(slot) else {
            return;
        };
        self.order.remove(&(row.changed, slot));
        row.changed = next;
        self.order.insert((next, slot));
        self.last = next;
    }

    /// The record is about something else from here on, which is a change.
    pub fn turn(&mut self, slot: u32, about: RecordKind) {
        self.unindex(slot);
        if let Some(row) = self.rows.get_mut(slot) {
            row.about = about;
        }
        self.index(slot);
        self.mark(slot);
    }

    /// Changes until when a record is of use, without that being a change: a store may keep it longer.
    pub fn set_until(&mut self, slot: u32, until: Timestamp) {
        self.unindex(slot);
        match self.get_mut(slot) {
            Some(RecordKind::Tombstone(ended)) => ended.until = until,
            Some(RecordKind::CutOff(switch)) => switch.until = until,
            _ => {}
        }
        self.index(slot);
    }

    /// A record is of no use any more, because of the time or of what the guard said. That is a change
    /// of what belongs to no session: the time is recorded with it, behind which the clock does not go
    /// back, and the sequence goes on from here wherever the records are taken back.
    pub fn forget(&mut self, slot: u32) {
        self.remove(slot);
        self.mark_meta();
    }

    /// A record less.
    pub fn remove(&mut self, slot: u32) {
        self.unindex(slot);
        if let Some(row) = self.rows.remove(slot) {
            self.order.remove(&(row.changed, slot));
        }
    }

    /// A record.
    #[must_use]
    pub fn row(&self, slot: u32) -> Option<&FeedEntry> {
        self.rows.get(slot)
    }

    /// What a record is about, to change. Call [`Feed::mark`] for it.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut RecordKind> {
        self.rows.get_mut(slot).map(|row| &mut row.about)
    }

    /// The record of a session that has ended.
    #[must_use]
    pub fn ended(&self, place: u64, id: SessionId) -> Option<(u32, &Tombstone)> {
        let slot = *self.ended.get(place)?;
        match &self.rows.get(slot)?.about {
            RecordKind::Tombstone(ended) if ended.id == id => Some((slot, ended)),
            _ => None,
        }
    }

    /// Something has changed that belongs to no session.
    pub fn mark_meta(&mut self) {
        match self.meta {
            Some(slot) => self.mark(slot),
            None => self.meta = Some(self.add(RecordKind::Meta)),
        }
    }

    /// It is this time now. The time alone is a change when the records are older than a minute; and
    /// at once while the host's clock is behind, because no reading would tell it after a restart.
    pub fn note_time(&mut self, now: Timestamp, is_behind: bool) {
        let due_at = self.recorded_at.after_seconds(TIME_RECORDED);
        let is_due = now >= due_at || (is_behind && now > self.recorded_at);
        // Before the first record is read, what there is has to be read anyway.
        let is_recorded = self.recorded_at > Timestamp::default();
        if self.meta.is_some() && is_recorded && is_due {
            self.mark_meta();
        }
    }

    /// Records have this time: they were read then, or restored.
    pub fn note_recorded(&mut self, at: Timestamp) {
        self.recorded_at = at;
    }

    /// The time goes on from `now`, which is before the time until now, `before`. The newest record is
    /// the cut-off that makes that safe. That is a change.
    pub fn accept_time(&mut self, before: Timestamp, now: Timestamp) {
        if self.acceptances.len() >= MAX_ACCEPTANCES {
            self.acceptances.remove(0);
        }
        let cut_off = self.last;
        self.acceptances.push(Acceptance { cut_off, before });
        self.recorded_at = now;
        self.mark_meta();
    }

    /// Records have come back that say this of the last acceptance.
    pub fn restore_acceptance(&mut self, cut_off: u64, before: Timestamp) {
        self.acceptances = vec![Acceptance { cut_off, before }];
    }

    /// Returns the time to write into a record that changed then, and how many acceptances later than
    /// that there were. A store may keep this record and lose the cut-off after it: the earlier time
    /// must not come back without the cut-off.
    #[must_use]
    pub fn time_of(&self, changed: u64, now: Timestamp) -> (Timestamp, u64) {
        let mut later = self.acceptances.iter().filter(|it| it.cut_off > changed);
        match later.next() {
            Some(first) => (first.before, (later.count() as u64).saturating_add(1)),
            None => (now, 0),
        }
    }

    /// A record with this sequence number was given back, whether it counts or not.
    pub fn note_sequence(&mut self, sequence: u64) {
        self.last = self.last.max(sequence);
    }

    /// What belongs to no session comes back, if it had not, or as it was before.
    pub fn place_meta(&mut self, changed: u64) -> Option<u32> {
        if let Some(slot) = self.meta {
            if self
                .rows
                .get(slot)
                .is_some_and(|row| row.changed >= changed)
            {
                return None;
            }
            self.remove(slot);
        }
        self.meta = Some(self.place(changed, RecordKind::Meta));
        self.meta
    }

    /// The record of a token that was issued in vain.
    #[must_use]
    pub fn revocation(&self, number: u64) -> Option<(u32, &FeedEntry)> {
        let slot = *self.revocations.get(spread(number))?;
        Some((slot, self.rows.get(slot)?))
    }

    /// Whether there is a record of this kill switch.
    #[must_use]
    pub fn has_switch(&self, epoch: Epoch) -> bool {
        self.switches.binary_search(&epoch).is_ok()
    }

    /// The newest event has this sequence number. It is not given again, also not across a restore,
    /// nor are those of the next events: room is kept well ahead of them.
    pub fn note_event(&mut self, newest: u64) {
        if newest > 0 && newest.saturating_add(EVENTS_AT_A_TIME / 2) > self.events {
            self.events = newest.saturating_add(EVENTS_AT_A_TIME);
            self.mark_meta();
        }
    }

    /// No event has passed `last`, and none will before a call of [`Feed::note_event`].
    pub fn end_events_at(&mut self, last: u64) {
        self.events = last;
        self.mark_meta();
    }

    /// The events go on behind `last`, where another instance has closed its run. That is a change of
    /// what belongs to no session: what was read says that the run is closed, and it is not any more.
    pub fn go_on_behind(&mut self, last: u64) {
        self.events = last.saturating_add(EVENTS_AT_A_TIME);
        if let Some(slot) = self.meta {
            self.note_outdated(slot);
        }
    }

    /// A record that outlives what it is about and is of no use any more.
    #[must_use]
    pub fn first_due(&self, now: Timestamp) -> Option<u32> {
        let (at, slot) = *self.due.first()?;
        let owes = match &self.rows.get(slot)?.about {
            RecordKind::Tombstone(ended) => !ended.unconfirmed.is_empty(),
            _ => false,
        };
        (at <= now && !owes).then_some(slot)
    }

    /// The record that changed first after `since`.
    #[must_use]
    pub fn first_after(&self, since: u64) -> Option<u32> {
        let (_, slot) = self.order.first_after(&(since, u32::MAX))?;
        Some(slot)
    }

    /// A record that came back is to be given again.
    pub fn note_outdated(&mut self, slot: u32) {
        if let Some(row) = self.rows.get(slot) {
            self.outdated.push((row.changed, slot));
        }
    }

    /// Gives records again that are outdated, some at a time. Tells whether there are more.
    pub fn renew(&mut self) -> bool {
        for _ in 0..MAX_RENEWED {
            let Some((changed, slot)) = self.outdated.pop() else {
                return false;
            };
            if self
                .rows
                .get(slot)
                .is_some_and(|row| row.changed == changed)
            {
                self.mark(slot);
            }
        }
        !self.outdated.is_empty()
    }

    fn index(&mut self, slot: u32) {
        let Some(row) = self.rows.get(slot) else {
            return;
        };
        if let Some(until) = row.about.until() {
            self.due.insert((until, slot));
        }
        match &row.about {
            RecordKind::Tombstone(ended) => self.ended.insert(ended.place, slot),
            RecordKind::CutOff(switch) => {
                if let Err(place) = self.switches.binary_search(&switch.epoch) {
                    self.switches.insert(place, switch.epoch);
                }
            }
            RecordKind::Revocation(number, _) | RecordKind::Revoked(number, _) => {
                self.revocations.insert(spread(*number), slot);
            }
            RecordKind::Meta | RecordKind::Session(_) => {}
        }
    }

    fn unindex(&mut self, slot: u32) {
        let Some(row) = self.rows.get(slot) else {
            return;
        };
        if let Some(until) = row.about.until() {
            self.due.remove(&(until, slot));
        }
        match &row.about {
            RecordKind::Tombstone(ended) => {
                self.ended.remove(ended.place);
            }
            RecordKind::CutOff(switch) => {
                if let Ok(place) = self.switches.binary_search(&switch.epoch) {
                    self.switches.remove(place);
                }
            }
            RecordKind::Revocation(number, _) | RecordKind::Revoked(number, _) => {
                self.revocations.remove(spread(*number));
            }
            RecordKind::Meta | RecordKind::Session(_) => {}
        }
    }
}

/// A number that nobody chooses, as the key of a table.
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
