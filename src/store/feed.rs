//! What the feed hears of each step, and what is read of it (R23).
//!
//! Without a `state-key` there is no feed, and nothing is kept of what has ended.

use std::rc::Rc;

use super::{Entry, Link, Store, TOMBSTONE};
use crate::domain::error::Error;
use crate::domain::event::Run;
use crate::domain::id::SessionId;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::FingerprintKey;
use crate::persistence::change_feed::{CutoffRecord, Feed, FeedEntry, RecordKind, Tombstone};
use crate::persistence::hex;
use crate::persistence::json::Writer;
use crate::persistence::record::{self, Change, ChangePage};
use crate::persistence::seal::SALT_BYTES;
use crate::store::revocations::{Owner, PendingKey, Settled, of_use_until};

/// How many bytes of records a page has, about: it has no more records when they are more.
const PAGE_BYTES: usize = 1 << 20;

/// That a session was used is recorded so often in its idle time (R28).
const USES_RECORDED: u64 = 10;

impl Store {
    /// The records that changed after `since`, at most `max` of them.
    ///
    /// # Errors
    /// [`Error::NoStateKey`].
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
        // Where the run is closed, no room is kept ahead of its last event.
        if !is_closed {
            feed.note_event(newest_event);
        }
        feed.note_time(now, is_behind);
        let more_to_renew = feed.renew();
        let feed = self.feed.as_ref().ok_or(Error::NoStateKey)?;
        let mut page = ChangePage {
            changes: Vec::new(),
            next: since.min(feed.last()),
            more: more_to_renew,
            now,
        };
        let mut bytes = 0_usize;
        while let Some(slot) = feed.first_after(page.next) {
            if page.changes.len() >= max || bytes >= PAGE_BYTES {
                page.more = true;
                break;
            }
            let Some(row) = feed.row(slot) else {
                break;
            };
            page.next = row.changed;
            if let Some(change) = self.change(feed, row, now) {
                bytes = bytes.saturating_add(change.value.len());
                page.changes.push(change);
            }
        }
        if let (Some(feed), false) = (&mut self.feed, page.changes.is_empty()) {
            feed.note_recorded(now);
        }
        Ok(page)
    }

    /// The sequence number of the newest change; 0 without a feed.
    #[must_use]
    pub fn last_change(&self) -> u64 {
        self.feed.as_ref().map_or(0, Feed::last)
    }

    /// How many records outlive what they are about.
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.feed.as_ref().map_or(0, Feed::tombstones)
    }

    /// Closes the run of events, and records how far it has got; the next event begins the run `next`.
    ///
    /// # Errors
    /// [`Error::NoStateKey`].
    pub fn close_event_run(&mut self, next: Run) -> Result<(), Error> {
        let feed = self.feed.as_mut().ok_or(Error::NoStateKey)?;
        // Before the first session there is neither a run nor a record.
        if self.events.run().is_some() && self.fingerprint_key.is_some() {
            self.events.close_run(next);
            feed.end_events_at(self.events.last());
        }
        Ok(())
    }

    /// The key of the fingerprints is this one from here on.
    pub fn set_fingerprint_key(&mut self, key: Rc<FingerprintKey>, salt: [u8; SALT_BYTES]) {
        self.fingerprint_key = Some((key, salt));
        if let Some(feed) = &mut self.feed {
            feed.mark_meta();
        }
    }

    /// The record of a session that has ended.
    pub(super) fn tombstone(&self, id: SessionId) -> Option<u32> {
        let feed = self.feed.as_ref()?;
        feed.ended(id.key(), id).map(|(slot, _)| slot)
    }

    /// A session was made.
    pub(super) fn record_session(&mut self, slot: u32) {
        if let Some(feed) = &mut self.feed
            && let Some(entry) = self.sessions.get_mut(slot)
        {
            entry.record = feed.add(RecordKind::Session(slot)).into();
        }
    }

    /// A session has changed.
    pub(super) fn note_change(&mut self, slot: u32) {
        if let Some(feed) = &mut self.feed
            && let Some(entry) = self.sessions.get_mut(slot)
            && let Some(record) = entry.record.get()
        {
            entry.recorded_use = entry.used_at;
            feed.mark(record);
        }
    }

    /// A session was used, and nothing else has changed. Only now and then does that change its
    /// record.
    pub(super) fn note_use(&mut self, slot: u32) {
        let Some(idle) = self.limits.idle_timeout else {
            return;
        };
        let Some(entry) = self.sessions.get(slot) else {
            return;
        };
        let recorded = entry.recorded_use.as_millis();
        let since = entry.used_at.as_millis().saturating_sub(recorded);
        if since >= idle.saturating_mul(1_000) / USES_RECORDED {
            self.note_change(slot);
        }
    }

    /// A session has ended; `revocation` is the guard's part, if its token is still good there. Nothing is
    /// kept of one that time has ended, and that the guard owes nothing of: no record of it could bring it
    /// back while the clock does not go back.
    pub(super) fn record_end(
        &mut self,
        mut entry: Entry,
        revocation: Option<PendingKey>,
        now: Timestamp,
    ) {
        let Some(feed) = &mut self.feed else {
            return;
        };
        let Some(record) = entry.record.get() else {
            return;
        };
        entry.unconfirmed.extend(revocation);
        let until = of_use_until(entry.until, &entry.unconfirmed);
        if until <= now && entry.unconfirmed.is_empty() {
            feed.forget(record);
            return;
        }
        let id = entry.session.id;
        let place = id.key();
        let ended = Tombstone {
            id,
            place,
            own_until: entry.until,
            until,
            unconfirmed: entry.unconfirmed,
        };
        feed.turn(record, RecordKind::Tombstone(Box::new(ended)));
        self.bytes = self.bytes.saturating_add(TOMBSTONE);
    }

    /// A token was issued in vain and is to be revoked.
    pub(super) fn record_revocation(&mut self, key: PendingKey) {
        if let Some(feed) = &mut self.feed {
            let record = feed.add(RecordKind::Revocation(feed.next(), key));
            self.pending.set_record(&key, record.into());
        }
    }

    /// The guard has confirmed a revocation, or time has.
    pub(super) fn note_settled(&mut self, settled: &Settled) {
        let is_other = |key: &PendingKey| *key != settled.key;
        match settled.owner {
            Owner::Nobody(record) => {
                if let Some(feed) = &mut self.feed
                    && let Some(record) = record.get()
                    && let Some(RecordKind::Revocation(number, _)) = feed.get_mut(record)
                {
                    let number = *number;
                    // Of no use from the beginning of time on.
                    feed.turn(record, RecordKind::Revoked(number, Timestamp::default()));
                    self.bytes = self.bytes.saturating_add(TOMBSTONE);
                }
            }
            Owner::Session(id) => {
                if let Ok(slot) = self.slot_of(id) {
                    if let Some(entry) = self.sessions.get_mut(slot) {
                        entry.unconfirmed.retain(is_other);
                    }
                    self.note_change(slot);
                } else if let Some(record) = self.tombstone(id)
                    && let Some(feed) = &mut self.feed
                    && let Some(RecordKind::Tombstone(ended)) = feed.get_mut(record)
                {
                    ended.unconfirmed.retain(is_other);
                    let own_until = ended.unconfirmed.is_empty().then_some(ended.own_until);
                    if let Some(until) = own_until {
                        feed.set_until(record, until);
                    }
                    feed.mark(record);
                }
            }
        }
    }

    /// A kill switch was thrown: from here on its record keeps all that it is for dead, before they
    /// have records of their own that say so.
    pub(super) fn record_cut_off(&mut self, filter: &RevokeFilter) -> Link {
        let Some(feed) = &mut self.feed else {
            return Link::NONE;
        };
        self.bytes = self.bytes.saturating_add(TOMBSTONE);
        let switch = CutoffRecord {
            filter: filter.clone(),
            epoch: self.epoch,
            until: self.latest_until,
        };
        feed.add(RecordKind::CutOff(Box::new(switch))).into()
    }

    /// A kill switch has ended all that it was for, which could come back until then.
    pub(super) fn note_cleared(&mut self, record: Link, until: Timestamp) {
        let Some(record) = record.get() else {
            return;
        };
        if until == Timestamp::default() {
            self.drop_record(record);
        } else if let Some(feed) = &mut self.feed {
            feed.set_until(record, until);
        }
    }

    /// Forgets a record that outlives what it is about and is of no use any more; tells whether there
    /// was one. What the guard owes is forgotten before.
    pub fn drop_due_record(&mut self, now: Timestamp) -> bool {
        let due = self.feed.as_ref().and_then(|feed| feed.first_due(now));
        due.is_some_and(|record| {
            self.drop_record(record);
            true
        })
    }

    fn drop_record(&mut self, record: u32) {
        if let Some(feed) = &mut self.feed {
            feed.forget(record);
            self.bytes = self.bytes.saturating_sub(TOMBSTONE);
        }
    }

    /// What a record says now.
    fn change(&self, feed: &Feed, row: &FeedEntry, now: Timestamp) -> Option<Change> {
        let (key, forget_at, about, body) = match &row.about {
            RecordKind::Meta => ("meta".into(), None, "meta", self.meta_body(feed)?),
            RecordKind::Session(slot) => {
                let entry = self.sessions.get(*slot)?;
                let until = of_use_until(entry.until, &entry.unconfirmed);
                let key = session_key(entry.session.id);
                (key, Some(until), "session", self.session_body(entry))
            }
            RecordKind::Tombstone(ended) => {
                let mut body = Writer::new();
                body.number("until", ended.own_until.as_millis());
                body.list("owed", self.unconfirmed(&ended.unconfirmed));
                (session_key(ended.id), Some(ended.until), "ended", body)
            }
            RecordKind::CutOff(switch) => {
                let key = format!("cut-off/{}", switch.epoch);
                (key, Some(switch.until), "cut-off", cut_off_body(switch))
            }
            RecordKind::Revocation(number, pending) => {
                let key = format!("revocation/{number}");
                let until = pending.token_expires_at();
                (key, Some(until), "revocation", self.debt_body(pending)?)
            }
            RecordKind::Revoked(number, at) => {
                let mut body = Writer::new();
                body.flag("done", true);
                (
                    format!("revocation/{number}"),
                    Some(*at),
                    "revocation",
                    body,
                )
            }
        };
        let (at, later) = feed.time_of(row.changed, now);
        let head = record::HeaderOf {
            key: &key,
            sequence: row.changed,
            at,
            clocks_accepted: self.clocks_accepted.saturating_sub(later),
            workspace: self.limits.workspace_id,
            serial: self.serial,
            epoch: self.epoch,
        };
        Some(Change {
            value: record::write(&feed.keys, &head, (about, body)),
            sequence: row.changed,
            key,
            forget_at,
        })
    }

    fn meta_body(&self, feed: &Feed) -> Option<Writer> {
        let (key, salt) = self.fingerprint_key.as_ref()?;
        let wrapped = feed.keys.current().wrap(key.secret(), salt);
        let mut body = Writer::new();
        body.text("fingerprint-key", &hex::encode(&wrapped));
        body.text("salt", &hex::encode(salt));
        body.number("events", feed.events);
        if let Some(run) = self.events.closed_run() {
            body.number("closed-run", run.get());
        }
        Some(body)
    }

    fn session_body(&self, entry: &Entry) -> Writer {
        let session = &entry.session;
        let attributes = &session.attributes;
        let mut body = Writer::new();
        body.text("agent", &session.agent_id.to_string());
        body.text("role", attributes.role.as_str());
        body.text("scopes", attributes.scopes.as_str());
        if let Some(task) = &attributes.task_type {
            body.text("task-type", task.as_str());
        }
        body.text("metadata", attributes.metadata.as_str());
        body.number("created-at", session.created_at.as_millis());
        body.number("expires-at", session.expires_at.as_millis());
        body.number("lifetime", entry.lifetime);
        body.number("serial", entry.serial);
        body.number("used-at", entry.used_at.as_millis());
        body.text("fingerprint", &hex::encode(entry.fingerprint.as_bytes()));
        body.text("handle", &entry.handle);
        body.number("token-expires-at", entry.token_expires_at.as_millis());
        if let Some(parent) = session.parent {
            body.text("parent", &parent.to_string());
            body.text("root", &session.root.to_string());
        }
        body.number("generation", session.generation);
        if let Some(uses) = session.uses_left {
            body.number("uses-left", uses.into());
        }
        let superseded = entry.superseded.tokens().iter().map(|token| {
            let mut body = Writer::new();
            body.text("fingerprint", &hex::encode(token.fingerprint.as_bytes()));
            body.number("replaced-by", token.replaced_by);
            body.flag("by-host", token.by_host);
            body.flag("unanswered", token.unanswered);
            body
        });
        body.list("superseded", superseded);
        if let Some(grace) = entry.superseded.grace() {
            body.number("grace-until", grace.until.as_millis());
            if grace.until_by_host != grace.until {
                body.number("grace-until-by-host", grace.until_by_host.as_millis());
            }
        }
        body.number("until", entry.until.as_millis());
        body.number("began", entry.created_epoch);
        body.list("owed", self.unconfirmed(&entry.unconfirmed));
        body
    }

    fn unconfirmed(&self, keys: &[PendingKey]) -> impl Iterator<Item = Writer> {
        keys.iter().filter_map(|key| self.debt_body(key))
    }

    fn debt_body(&self, key: &PendingKey) -> Option<Writer> {
        let mut body = Writer::new();
        body.text("handle", &self.pending.get(key)?);
        body.number("expires-at", key.token_expires_at().as_millis());
        Some(body)
    }
}

fn session_key(id: SessionId) -> String {
    format!("session/{id}")
}

fn cut_off_body(switch: &CutoffRecord) -> Writer {
    let mut body = Writer::new();
    body.number("era", switch.epoch);
    body.number("until", switch.until.as_millis());
    match &switch.filter {
        RevokeFilter::Agent(agent) => body.text("agent", &agent.to_string()),
        RevokeFilter::Role(role) => body.text("role", role.as_str()),
        RevokeFilter::Everything | RevokeFilter::Root(_) => {}
    }
    body
}
