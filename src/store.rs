//! The sessions of an instance and every index over them.
//!
//! The store does no I/O and never waits. Each of its methods is one step that no other call sees
//! half of. Whoever waits for the guard takes a plan along (`plan`) and comes back with it: the
//! commit checks that what was true is still true, and changes the state, in that one step
//! (R12-R14, R19).

mod agents;
mod create;
mod current;
mod decode;
mod end;
mod epochs;
mod event_log;
mod feed;
mod lag;
mod life;
pub(crate) mod plan;
mod query;
mod restore;
mod restored_cutoffs;
pub(crate) mod revocations;
mod roles;
pub(crate) mod session_index;
pub(crate) mod superseded;
mod validation_cache;

use std::hash::BuildHasher;
use std::rc::Rc;

use crate::collections::list::{Link, Links, List};
use crate::collections::ordered::{Due, Ordered};
use crate::collections::slab::Slab;
use crate::collections::table::{Seed, Table};
use crate::domain::config::Limits;
use crate::domain::error::{Duplicate, Error, GuardError};
use crate::domain::event::{Denial, EventKind};
use crate::domain::id::SessionId;
use crate::domain::session::Session;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{Fingerprint, FingerprintKey};
use crate::persistence::change_feed::Feed;
use crate::persistence::seal::SALT_BYTES;
use crate::store::agents::Agents;
use crate::store::event_log::EventLog;
use crate::store::plan::NewToken;
use crate::store::revocations::{PendingKey, PendingRevocations};
use crate::store::roles::Roles;
use crate::store::session_index::{Epoch, GroupId};
use crate::store::superseded::{REMEMBERED_SIZE, Superseded};

pub use current::Used;
use epochs::CutOff;
pub use epochs::{Cleared, MAX_REVOCATIONS};
use restore::RestoredTime;
use restored_cutoffs::RestoredCutoffs;

/// What a session, a reservation or a pending revocation counts besides its texts; see
/// `max-state-bytes` in the WIT.
const OVERHEAD: u64 = 1_024;

/// What is kept free for a token that is being issued: its handle can have 512 bytes, and the token
/// before it is remembered.
const RESERVE: u64 = OVERHEAD + 512 + REMEMBERED_SIZE;

/// What a record counts that outlives what it is about.
const TOMBSTONE: u64 = 256;

/// Stands for the slot of a session that is to be.
const RESERVED: u32 = u32::MAX;

/// The state of an instance.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    sessions: Slab<Entry>,
    /// The slot of each session; [`RESERVED`] for an id whose create waits for the guard.
    by_id: Table<u32>,
    /// The slot of the session that has, or had, a token with this fingerprint.
    by_fingerprint: Table<u32>,
    /// Handles of live sessions and of pending revocations: none of them may be given out again
    /// (R16).
    handles: Table<()>,
    /// Makes the keys of handles, and of what is told of sessions that ended.
    seed: Seed,
    agents: Agents,
    roles: Roles,
    /// When each session is over, or earlier: use, which makes that later, moves nothing in it (R28).
    /// `life` looks at what comes before now, and moves what has been used.
    expiry: Ordered<Due>,
    /// Up to here the index holds only sessions that are over, and none joins them.
    scanned_to: Due,
    /// How many cut-offs there have been.
    epoch: Epoch,
    /// What began before this era is stopped (R31).
    cut_off: Epoch,
    /// How often an earlier time was accepted (R6). A record with a lower number says nothing of
    /// the time.
    clocks_accepted: u64,
    /// The time inside as restored records have it.
    restored_time: RestoredTime,
    /// The cut-offs that have not ended all their sessions yet. Only they can be for a session that
    /// there is.
    cut_offs: Vec<CutOff>,
    /// How sessions ended for which an operation still waits, by their serial numbers.
    end_outcomes: Table<EndOutcome>,
    /// How many creates wait for the guard.
    reserved: usize,
    pending: PendingRevocations,
    events: EventLog,
    /// The records of the state, where the host wants to keep them.
    feed: Option<Feed>,
    /// The key of the fingerprints and its salt, as far as there is one.
    fingerprint_key: Option<(Rc<FingerprintKey>, [u8; SALT_BYTES])>,
    /// A yes of the guard that is remembered until then, or not even so long, does not count (R34).
    cached_before: Timestamp,
    /// No session ever had a later end.
    latest_until: Timestamp,
    /// Children that came back before their parents, by the parents' ids.
    orphans: Table<Vec<u32>>,
    /// Some of the sessions have come back.
    restored: bool,
    /// Kill switches of instances before this one, while some of what they were for may have come
    /// back.
    restored_cutoffs: Option<RestoredCutoffs>,
    bytes: u64,
    /// The serial number of the newest session.
    serial: u64,
    totals: Totals,
}

/// Counts since the instance started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions made.
    pub created: u64,
    /// Refreshes that won.
    pub refreshed: u64,
    /// Rotations that won.
    pub rotated: u64,
    /// Attempts that were refused.
    pub denied: u64,
    /// Sessions ended.
    pub ended: u64,
}

#[derive(Debug)]
struct Entry {
    /// Its generation counts the tokens that the session has had. Only the newest one is good (R14).
    session: Session,
    /// Tells this session from every other that ever lay in the slot; rises with each session.
    serial: u64,
    /// Among the sessions of its agent, and of its role.
    agent: GroupId,
    role: GroupId,
    /// When its create began, in cut-offs.
    created_epoch: Epoch,
    /// In seconds; each refresh grants it again (R5).
    lifetime: u64,
    /// When it was last used (R28).
    used_at: Timestamp,
    /// The same, as its record says.
    recorded_use: Timestamp,
    /// Where it stands in the expiry index.
    indexed_at: Timestamp,
    fingerprint: Fingerprint,
    handle: Rc<str>,
    token_expires_at: Timestamp,
    /// Until when the guard's yes to its token is remembered (R34). It is in no record.
    cached_until: Timestamp,
    superseded: Superseded,
    /// The guard has not confirmed the revocation of these tokens that it had.
    unconfirmed: Vec<PendingKey>,
    /// The latest end that it ever had: until then an older record of it could be taken for good.
    until: Timestamp,
    /// Its record in the feed.
    record: Link,
    denials: Denials,
    /// How many operations wait for the guard on its behalf.
    watchers: u32,
    /// The slot of the session that it was delegated from, which lives as long as it does (R26).
    parent: Link,
    children: List,
    siblings: Links,
    same_role: Links,
    /// At the top of delegations: how many sessions are below, or are to be.
    descendants: u32,
    /// None of them is over before this.
    none_over_before: Timestamp,
}

#[derive(Debug)]
struct EndOutcome {
    error: Error,
    watchers: u32,
}

/// Which denials of a session were recorded in the last window, so that trying again and again does
/// not fill the events.
#[derive(Debug, Default)]
struct Denials {
    /// When the first of them was, which began the window.
    since: Timestamp,
    /// A bit for each reason.
    recorded: u8,
}

impl Denials {
    /// How long a window is. Each reason is recorded once in it.
    const SECONDS: u64 = 1;

    /// Whether this one is to be recorded.
    fn admit(&mut self, denial: Denial, now: Timestamp) -> bool {
        if now >= self.since.after_seconds(Self::SECONDS) {
            *self = Self {
                since: now,
                recorded: 0,
            };
        }
        let bit = 1 << denial as u8;
        let is_new = self.recorded & bit == 0;
        self.recorded |= bit;
        is_new
    }
}

impl Entry {
    /// A session with its token, in no index yet.
    fn new(
        session: Session,
        serial: u64,
        created_epoch: Epoch,
        lifetime: u64,
        token: NewToken,
    ) -> Self {
        Self {
            serial,
            agent: GroupId::NONE,
            role: GroupId::NONE,
            created_epoch,
            lifetime,
            used_at: Timestamp::default(),
            recorded_use: Timestamp::default(),
            indexed_at: Timestamp::default(),
            fingerprint: token.fingerprint,
            handle: token.handle,
            token_expires_at: token.expires_at,
            cached_until: Timestamp::default(),
            superseded: Superseded::default(),
            unconfirmed: Vec::new(),
            until: session.expires_at,
            record: Link::NONE,
            denials: Denials::default(),
            watchers: 0,
            parent: Link::NONE,
            children: List::default(),
            siblings: Links::NONE,
            same_role: Links::NONE,
            descendants: 0,
            none_over_before: Timestamp::MAX,
            session,
        }
    }

    fn size(&self) -> u64 {
        self.session
            .attributes
            .size()
            .saturating_add(pending_size(&self.handle))
            .saturating_add(self.superseded.size())
    }

    fn siblings(&mut self) -> &mut Links {
        &mut self.siblings
    }

    fn same_role(&mut self) -> &mut Links {
        &mut self.same_role
    }
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            sessions: Slab::new(),
            by_id: Table::default(),
            by_fingerprint: Table::default(),
            handles: Table::default(),
            seed: Seed::default(),
            agents: Agents::default(),
            roles: Roles::default(),
            expiry: Ordered::default(),
            scanned_to: Due::default(),
            epoch: 0,
            cut_off: 0,
            clocks_accepted: 0,
            restored_time: RestoredTime::default(),
            cut_offs: Vec::new(),
            end_outcomes: Table::default(),
            reserved: 0,
            pending: PendingRevocations::default(),
            events: EventLog::new(limits.event_capacity),
            feed: None,
            fingerprint_key: None,
            cached_before: Timestamp::default(),
            latest_until: Timestamp::default(),
            orphans: Table::default(),
            restored: false,
            restored_cutoffs: None,
            bytes: 0,
            serial: 0,
            totals: Totals::default(),
            limits,
        }
    }

    /// Sets the seed of the tables (R20). Call it while there is nothing in them.
    pub fn seed(&mut self, seed: &Seed) {
        self.seed = seed.clone();
        self.agents.seed(seed);
        self.roles.seed(seed);
    }

    /// Sets the limits, before the first session.
    ///
    /// # Errors
    /// [`Error::AlreadyConfigured`] when there has been one, or one is being created.
    pub fn configure(&mut self, limits: Limits) -> Result<(), Error> {
        if self.serial > 0 || self.reserved > 0 {
            return Err(Error::AlreadyConfigured);
        }
        self.events.set_capacity(limits.event_capacity);
        self.feed = limits.state_keys.clone().map(Feed::new);
        if let (Some(feed), Some(_)) = (&mut self.feed, &self.fingerprint_key) {
            feed.mark_meta();
        }
        self.limits = limits;
        Ok(())
    }

    /// How many ends of sessions somebody still has to hear of.
    #[cfg(test)]
    pub fn end_outcomes(&self) -> usize {
        self.end_outcomes.count()
    }

    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn slot_of(&self, id: SessionId) -> Result<u32, Error> {
        let slot = self.by_id.get(id.key()).copied();
        slot.filter(|slot| {
            self.sessions
                .get(*slot)
                .is_some_and(|entry| entry.session.id == id)
        })
        .ok_or(Error::SessionNotFound)
    }

    /// An attempt with this session was refused (R32).
    fn deny(&mut self, slot: u32, denial: Denial, now: Timestamp) {
        self.totals.denied = self.totals.denied.saturating_add(1);
        if let Some(entry) = self.sessions.get_mut(slot)
            && entry.denials.admit(denial, now)
        {
            let kind = EventKind::Denied(denial);
            self.events.record(now, &entry.session, kind);
        }
    }

    /// Until when a session with this token can live: as long as is wanted, or less if the guard
    /// granted less (R8).
    fn check_token(
        &self,
        token: &NewToken,
        wanted: Timestamp,
        now: Timestamp,
    ) -> Result<Timestamp, Error> {
        if wanted <= now {
            return Err(Error::SessionExpired);
        }
        if token.expires_at <= now {
            return Err(Error::Guard(GuardError::Expired));
        }
        if self.handles.contains(self.seed.hash_one(&token.handle)) {
            return Err(Error::Collision(Duplicate::Handle));
        }
        if self.by_fingerprint.contains(token.fingerprint.key()) {
            return Err(Error::Collision(Duplicate::Token));
        }
        Ok(wanted.min(token.expires_at))
    }
}

fn pending_size(handle: &str) -> u64 {
    OVERHEAD.saturating_add(handle.len() as u64)
}
