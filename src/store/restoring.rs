//! Taking records back (R23): in any order, each as often as it comes.
//!
//! Of two records with one key the newer counts, and the end of a session counts above all (R12).
//! What belongs together may come apart: a child that is here before its parent is over until that
//! comes, and what a kill switch was for is over when both are here. So nothing has to be put right at
//! the end, and whoever comes across such a session ends it, as any other that is over.

use std::hash::BuildHasher;
use std::rc::Rc;

use super::{
    Denials, Entry, Link, Links, List, Store, Superseded, TOMBSTONE, current::MAX_OWED,
    pending_size,
};
use crate::clock::Timestamp;
use crate::error::{Error, Limit};
use crate::feed::{About, Ended, Switch};
use crate::groups::Era;
use crate::hex;
use crate::id::{AgentId, SessionId};
use crate::json::Object;
use crate::record::{Change, Head, read_head, refused};
use crate::revocations::{Owner, PendingKey};
use crate::scope::Scopes;
use crate::seal::{SALT_BYTES, StateKey};
use crate::session::{Attributes, Metadata, RevokeFilter, Role, Session, TaskType};
use crate::superseded::{MAX_REMEMBERED, Remembered};
use crate::table::Table;
use crate::token::{Fingerprint, FingerprintKey};

/// How many bytes can be taken back: what an instance can be configured to hold.
const MAX_RESTORED: u64 = 3 << 30;

/// How many slots one call looks at for what kill switches of instances before this one were for
/// (R20).
const MAX_LOOKED_AT: u32 = 10_000;

/// Kill switches of instances before this one: the newest of each kind.
#[derive(Debug, Default)]
pub struct Before {
    everything: Era,
    agents: Newest<AgentId>,
    roles: Newest<Role>,
    /// Slots before this one are cleared.
    slot: u32,
}

/// The newest kill switch for each of some things, in their order.
#[derive(Debug)]
struct Newest<K>(Vec<(K, Era)>);

impl<K> Default for Newest<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> Newest<K> {
    fn note(&mut self, key: K, era: Era) {
        match self.0.binary_search_by(|(other, _)| other.cmp(&key)) {
            Err(place) => self.0.insert(place, (key, era)),
            Ok(place) => {
                if let Some((_, newest)) = self.0.get_mut(place) {
                    *newest = era.max(*newest);
                }
            }
        }
    }

    fn get(&self, key: &K) -> Option<&Era> {
        let place = self.0.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        self.0.get(place).map(|(_, era)| era)
    }
}

/// A record that was opened and read, in types that cannot be wrong.
#[derive(Debug)]
pub struct Restored {
    sequence: u64,
    at: Timestamp,
    serial: u64,
    era: Era,
    /// It is to be given again, in the current format and under the current key.
    is_outdated: bool,
    what: What,
}

#[derive(Debug)]
enum What {
    Meta {
        key: Rc<FingerprintKey>,
        salt: [u8; SALT_BYTES],
        events: u64,
    },
    Session(Box<Entry>, Vec<Debt>),
    Ended(SessionId, Timestamp, Vec<Debt>),
    CutOff(Switch),
    Revocation(u64, Debt),
    /// A token that was issued in vain, and is revoked.
    Revoked(u64),
}

/// A token that the guard is still to revoke.
#[derive(Debug)]
struct Debt {
    handle: Rc<str>,
    token_expires_at: Timestamp,
}

impl Restored {
    /// What it counts against `max-state-bytes`.
    fn size(&self) -> u64 {
        let debts = |debts: &[Debt]| {
            let sizes = debts.iter().map(|debt| pending_size(&debt.handle));
            sizes.fold(0, u64::saturating_add)
        };
        match &self.what {
            What::Meta { .. } => 0,
            What::Session(entry, owed) => entry.size().saturating_add(debts(owed)),
            What::Ended(_, _, owed) => debts(owed).saturating_add(TOMBSTONE),
            What::CutOff(_) | What::Revoked(_) => TOMBSTONE,
            What::Revocation(_, debt) => pending_size(&debt.handle),
        }
    }
}

impl Store {
    /// Takes records back, all or none of them. Gives the latest time that one of them was written at,
    /// and the key of the fingerprints if it was among them.
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
        let mut at = Timestamp::default();
        for record in records {
            at = at.max(record.at);
            self.take_back(record);
        }
        let key = self.fingerprint_key.as_ref().map(|(key, _)| Rc::clone(key));
        Ok((at, key))
    }

    /// Ends a part of what kill switches of instances before this one were for and has come back
    /// without its end. The guard's part is pending.
    pub fn clear_away_before(&mut self, now: Timestamp) {
        for _ in 0..MAX_LOOKED_AT {
            let Some(before) = &mut self.before else {
                return;
            };
            let slot = before.slot;
            before.slot = slot.saturating_add(1);
            if slot >= self.sessions.slots() {
                self.before = None;
            } else if self
                .sessions
                .get(slot)
                .is_some_and(|entry| self.was_cut_off(entry))
            {
                self.end_if_over(slot, now);
            }
        }
    }

    /// Nothing comes back any more: what never found its parent is over, and needs no place where it
    /// waits.
    pub fn end_restoring(&mut self) {
        self.orphans = Table::default();
    }

    /// Whether a kill switch of an instance before this one was for the session.
    pub(super) fn was_cut_off(&self, entry: &Entry) -> bool {
        let Some(before) = &self.before else {
            return false;
        };
        let session = &entry.session;
        let eras = [
            Some(&before.everything),
            before.agents.get(&session.agent_id),
            before.roles.get(&session.attributes.role),
        ];
        eras.into_iter().flatten().any(|era| entry.began < *era)
    }

    fn take_back(&mut self, record: Restored) {
        let sequence = record.sequence;
        self.serial = self.serial.max(record.serial);
        self.era = self.era.max(record.era);
        if let Some(feed) = &mut self.feed {
            feed.note_sequence(sequence);
        }
        let slot = match record.what {
            What::Meta { key, salt, events } => self.take_meta_back(sequence, key, salt, events),
            What::Revoked(number) => self.take_revoked_back(sequence, number),
            What::Session(entry, owed) => self.take_session_back(sequence, *entry, owed),
            What::Ended(id, until, owed) => self.take_end_back(sequence, id, until, owed),
            What::CutOff(switch) => self.take_cut_off_back(sequence, switch),
            What::Revocation(number, debt) => self.take_revocation_back(sequence, number, debt),
        };
        if record.is_outdated
            && let Some(slot) = slot
            && let Some(feed) = &mut self.feed
        {
            feed.note_outdated(slot);
        }
    }

    fn take_meta_back(
        &mut self,
        sequence: u64,
        key: Rc<FingerprintKey>,
        salt: [u8; SALT_BYTES],
        events: u64,
    ) -> Option<u32> {
        let feed = self.feed.as_mut()?;
        let slot = feed.place_meta(sequence)?;
        feed.events = feed.events.max(events);
        self.events.go_on_behind(events);
        self.fingerprint_key = Some((key, salt));
        Some(slot)
    }

    fn take_session_back(
        &mut self,
        sequence: u64,
        mut entry: Entry,
        owed: Vec<Debt>,
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
        entry.owed = self.owe_back(Owner::Session(id), owed);
        self.serial = self.serial.max(entry.serial);
        self.era = self.era.max(entry.began);
        let parent = entry.session.parent;
        let superseded: Vec<u64> = entry
            .superseded
            .tokens()
            .iter()
            .map(|it| it.fingerprint.key())
            .collect();
        let (agent_id, role) = (
            entry.session.agent_id,
            entry.session.attributes.role.clone(),
        );
        self.agents.reserve(&agent_id);
        self.roles.reserve(&role);
        let slot = self.insert(entry).slot;
        self.agents.release(&agent_id);
        self.roles.release(&role);
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
        let place = self.seed.hash_one(id);
        for child in self.orphans.remove(place).unwrap_or_default() {
            let is_child =
                |entry: &Entry| entry.parent == Link::NONE && entry.session.parent == Some(id);
            if self.sessions.get(child).is_some_and(is_child) {
                self.come_below(slot, child);
            }
        }
        let record = self.feed.as_mut()?.place(sequence, About::Session(slot));
        self.sessions.get_mut(slot)?.record = record.into();
        Some(record)
    }

    fn take_end_back(
        &mut self,
        sequence: u64,
        id: SessionId,
        until: Timestamp,
        owed: Vec<Debt>,
    ) -> Option<u32> {
        if let Ok(slot) = self.slot_of(id) {
            self.take_out_quietly(slot);
        }
        let place = self.seed.hash_one(id);
        if let Some((slot, ended)) = self.feed.as_ref()?.ended(place, id) {
            if self.feed.as_ref()?.row(slot)?.changed >= sequence {
                return None;
            }
            let owed = ended.owed.clone();
            self.forgive(&owed);
            self.feed.as_mut()?.remove(slot);
            self.bytes = self.bytes.saturating_sub(TOMBSTONE);
        }
        let owed = self.owe_back(Owner::Session(id), owed);
        let ends = owed.iter().map(PendingKey::token_expires_at);
        let ended = Ended {
            id,
            place,
            own_until: until,
            until: ends.fold(until, Ord::max),
            owed,
        };
        self.bytes = self.bytes.saturating_add(TOMBSTONE);
        Some(
            self.feed
                .as_mut()?
                .place(sequence, About::Ended(Box::new(ended))),
        )
    }

    fn take_cut_off_back(&mut self, sequence: u64, switch: Switch) -> Option<u32> {
        let feed = self.feed.as_mut()?;
        if feed.has_switch(switch.era) {
            return None;
        }
        let era = switch.era;
        let before = self.before.get_or_insert_default();
        match &switch.filter {
            RevokeFilter::Agent(agent) => before.agents.note(*agent, era),
            RevokeFilter::Role(role) => before.roles.note(role.clone(), era),
            RevokeFilter::Everything | RevokeFilter::Root(_) => {
                before.everything = era.max(before.everything);
            }
        }
        self.era = self.era.max(era);
        self.bytes = self.bytes.saturating_add(TOMBSTONE);
        Some(feed.place(sequence, About::CutOff(Box::new(switch))))
    }

    fn take_revoked_back(&mut self, sequence: u64, number: u64) -> Option<u32> {
        self.give_way(sequence, number)?;
        self.bytes = self.bytes.saturating_add(TOMBSTONE);
        let revoked = About::Revoked(number, Timestamp::default());
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
            About::Revocation(_, key) => self.forgive(&[key]),
            _ => self.bytes = self.bytes.saturating_sub(TOMBSTONE),
        }
        self.feed.as_mut()?.remove(slot);
        Some(())
    }

    fn take_revocation_back(&mut self, sequence: u64, number: u64, debt: Debt) -> Option<u32> {
        self.give_way(sequence, number)?;
        if self.handles.contains(self.seed.hash_one(&debt.handle)) {
            // Its token is a session's.
            return None;
        }
        let key = *self
            .owe_back(Owner::Nobody(Link::NONE), vec![debt])
            .first()?;
        let record = self
            .feed
            .as_mut()?
            .place(sequence, About::Revocation(number, key));
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
        self.forgive(&entry.owed);
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
        let place = self.seed.hash_one(parent);
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
    fn owe_back(&mut self, owner: Owner, debts: Vec<Debt>) -> Vec<PendingKey> {
        let owe = |debt: Debt| {
            self.handles.insert(self.seed.hash_one(&debt.handle), ());
            self.add_pending(owner, debt.handle, debt.token_expires_at)
        };
        debts.into_iter().map(owe).collect()
    }

    /// The guard is not to revoke these, as far as it was asked on behalf of a record that gives way to
    /// a newer one.
    fn forgive(&mut self, owed: &[PendingKey]) {
        for key in owed {
            if let Some(settled) = self.pending.settle(key) {
                self.handles.remove(self.seed.hash_one(&settled.handle));
                self.bytes = self.bytes.saturating_sub(pending_size(&settled.handle));
            }
        }
    }

    /// Reads what a record says.
    fn read(&self, change: &Change) -> Result<Restored, Error> {
        let refuse = |why: &str| refused(&change.key, why);
        let feed = self.feed.as_ref().ok_or(Error::NoStateKey)?;
        let opened = feed.keys.open(&change.value).ok_or_else(|| {
            refuse("is damaged, or not sealed with state-key or one of previous-state-keys")
        })?;
        let record = Object::parse(&opened.object).ok_or_else(|| refuse("is not JSON"))?;
        let head = read_head(change, &record, self.limits.workspace_id)?;
        let what = self.read_body(&head, &record, opened.key);
        let what = what.map_err(|error| refuse(&reason_of(error)))?;
        Ok(Restored {
            sequence: change.sequence,
            at: head.at,
            serial: head.serial,
            era: head.era,
            is_outdated: head.is_old || !opened.is_current,
            what: what.ok_or_else(|| refuse("does not say what its key is about"))?,
        })
    }

    fn read_body(
        &self,
        head: &Head<'_>,
        record: &Object<'_>,
        key: &StateKey,
    ) -> Result<Option<What>, Error> {
        let (kind, name) = head.key.split_once('/').unwrap_or((head.key, ""));
        let body = |about| record.object(about);
        Ok(match kind {
            "meta" => body("meta")
                .map(|meta| self.read_meta(meta, key))
                .transpose()?,
            "session" => {
                let id = SessionId::parse("key", name)?;
                if let Some(ended) = body("ended") {
                    Some(What::Ended(id, time(ended, "until")?, read_owed(ended)?))
                } else if let Some(session) = body("session") {
                    let entry = self.read_session(id, session)?;
                    Some(What::Session(Box::new(entry), read_owed(session)?))
                } else {
                    None
                }
            }
            "cut-off" => {
                let switch = body("cut-off").map(read_cut_off).transpose()?;
                switch
                    .filter(|it| it.era.to_string() == name)
                    .map(What::CutOff)
            }
            "revocation" if body("revocation").is_some_and(|it| it.flag("done")) => {
                name.parse().ok().map(What::Revoked)
            }
            "revocation" => {
                let debt = body("revocation").map(read_debt).transpose()?;
                name.parse()
                    .ok()
                    .zip(debt)
                    .map(|(number, debt)| What::Revocation(number, debt))
            }
            _ => None,
        })
    }

    fn read_meta(&self, meta: &Object<'_>, key: &StateKey) -> Result<What, Error> {
        let wrapped = bytes(meta, "fingerprint-key")?;
        let salt = bytes(meta, "salt")?;
        let secret = key.wrap(&wrapped, &salt);
        let known = self.fingerprint_key.as_ref();
        if known.is_some_and(|(known, _)| *known.secret() != secret) {
            return Err(Error::invalid(
                "fingerprint-key",
                "is that of other sessions",
            ));
        }
        let key = FingerprintKey::from_secret(secret).ok_or(Error::EntropyUnavailable)?;
        Ok(What::Meta {
            key: Rc::new(key),
            salt,
            events: number(meta, "events")?,
        })
    }

    fn read_session(&self, id: SessionId, record: &Object<'_>) -> Result<Entry, Error> {
        let agent_id = AgentId::parse("agent", text(record, "agent")?)?;
        let task_type = record
            .text("task-type")
            .map(|task| TaskType::parse(task.into()));
        let attributes = Attributes {
            role: Role::parse(text(record, "role")?.into())?,
            scopes: Scopes::parse_joined(text(record, "scopes")?)?,
            task_type: task_type.transpose()?,
            metadata: Metadata::parse(text(record, "metadata")?.into())?,
        };
        if !self.agents.can_reserve(&agent_id) || !self.roles.can_reserve(&attributes.role) {
            // Once in some 2^64 pairs; another instance draws another seed.
            return Err(Error::invalid("agent", "has no place in this instance"));
        }
        let session_id = |name| {
            record
                .text(name)
                .map(|id| SessionId::parse(name, id))
                .transpose()
        };
        let (parent, root) = (session_id("parent")?, session_id("root")?);
        if parent.is_some() != root.is_some() || parent == Some(id) {
            return Err(Error::invalid(
                "parent",
                "must be another session, with its root",
            ));
        }
        let uses_left = record.number("uses-left").map(|uses| {
            let uses = u32::try_from(uses).ok().filter(|uses| *uses > 0);
            uses.ok_or_else(|| missing("uses-left"))
        });
        let expires_at = time(record, "expires-at")?;
        let until = record
            .number("until")
            .map_or(expires_at, Timestamp::from_millis);
        let used_at = time(record, "used-at")?;
        Ok(Entry {
            session: Session {
                id,
                agent_id,
                workspace_id: self.limits.workspace_id,
                attributes: Rc::new(attributes),
                created_at: time(record, "created-at")?,
                expires_at,
                parent,
                root: root.unwrap_or(id),
                generation: record.number("generation").unwrap_or_default(),
                uses_left: uses_left.transpose()?,
            },
            serial: number(record, "serial")?,
            began: record.number("began").unwrap_or_default(),
            lifetime: number(record, "lifetime")?,
            used_at,
            recorded_use: used_at,
            indexed_at: Timestamp::default(),
            fingerprint: Fingerprint::from_bytes(bytes(record, "fingerprint")?),
            handle: read_handle(record)?,
            token_expires_at: time(record, "token-expires-at")?,
            superseded: read_superseded(record)?,
            owed: Vec::new(),
            until: until.max(expires_at),
            record: Link::NONE,
            denials: Denials::default(),
            watchers: 0,
            parent: Link::NONE,
            children: List::default(),
            siblings: Links::NONE,
            same_role: Links::NONE,
            descendants: 0,
            none_over_before: Timestamp::MAX,
        })
    }
}

fn read_superseded(record: &Object<'_>) -> Result<Superseded, Error> {
    let tokens = record.list("superseded").map(|token| {
        Ok(Remembered {
            fingerprint: Fingerprint::from_bytes(bytes(token, "fingerprint")?),
            replaced_by: number(token, "replaced-by")?,
            by_host: token.flag("by-host"),
            unanswered: token.flag("unanswered"),
        })
    });
    let tokens: Vec<Remembered> = tokens.collect::<Result<_, Error>>()?;
    if tokens.len() > MAX_REMEMBERED {
        return Err(Error::invalid("superseded", "must be at most 8"));
    }
    let grace_until = record.number("grace-until").map(Timestamp::from_millis);
    Ok(Superseded::restored(tokens, grace_until))
}

fn read_owed(record: &Object<'_>) -> Result<Vec<Debt>, Error> {
    let owed: Vec<Debt> = record
        .list("owed")
        .map(read_debt)
        .collect::<Result<_, Error>>()?;
    // One more than a live session can have: its own, when it has ended.
    if owed.len() > MAX_OWED.saturating_add(1) {
        return Err(Error::invalid("owed", "must be at most 65"));
    }
    Ok(owed)
}

fn read_debt(record: &Object<'_>) -> Result<Debt, Error> {
    Ok(Debt {
        handle: read_handle(record)?,
        token_expires_at: time(record, "expires-at")?,
    })
}

fn read_handle(record: &Object<'_>) -> Result<Rc<str>, Error> {
    let handle = text(record, "handle")?;
    if crate::guard::is_handle(handle) {
        return Ok(handle.into());
    }
    Err(Error::invalid("handle", "must have 1 to 512 bytes"))
}

fn read_cut_off(record: &Object<'_>) -> Result<Switch, Error> {
    let filter = match (record.text("agent"), record.text("role")) {
        (Some(agent), _) => RevokeFilter::Agent(AgentId::parse("agent", agent)?),
        (None, Some(role)) => RevokeFilter::Role(Role::parse(role.into())?),
        (None, None) => RevokeFilter::Everything,
    };
    Ok(Switch {
        filter,
        era: number(record, "era")?,
        until: time(record, "until")?,
    })
}

fn text<'a>(record: &'a Object<'_>, name: &'static str) -> Result<&'a str, Error> {
    record.text(name).ok_or_else(|| missing(name))
}

fn number(record: &Object<'_>, name: &'static str) -> Result<u64, Error> {
    record.number(name).ok_or_else(|| missing(name))
}

fn time(record: &Object<'_>, name: &'static str) -> Result<Timestamp, Error> {
    number(record, name).map(Timestamp::from_millis)
}

fn bytes<const N: usize>(record: &Object<'_>, name: &'static str) -> Result<[u8; N], Error> {
    hex::decode(text(record, name)?).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> Error {
    Error::invalid(name, "is missing or not what it must be")
}

/// What is wrong with a part of a record, for people.
fn reason_of(error: Error) -> String {
    match error {
        Error::InvalidArgument(argument) => format!("{} {}", argument.field, argument.reason),
        _ => "has a part that is not valid".into(),
    }
}
