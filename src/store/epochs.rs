//! Kill switches (R13, R31).
//!
//! A cut-off takes effect in one step, however many sessions it is for: what began before it is over
//! from then on. Clearing those sessions away comes after, a part at a time, so that others get
//! their turn.

use super::{Entry, Link, Store};
use crate::domain::event::EndReason;
use crate::domain::id::SessionId;
use crate::domain::session::RevokeFilter;
use crate::domain::timestamp::Timestamp;
use crate::store::end::EndedTree;
use crate::store::revocations::PendingKey;
use crate::store::session_index::Epoch;

/// How many sessions one step ends, before what is below the last of them, and how many slots it
/// looks at (R20).
const MAX_STEP: usize = 1_000;

/// How many revocations one call asks the guard for at most (R20). The others are left to a flush.
pub const MAX_REVOCATIONS: usize = 1_000;

/// A kill switch that was thrown, and how far the clearing away has come.
#[derive(Debug)]
pub(super) struct CutOff {
    filter: RevokeFilter,
    /// What began before is stopped.
    epoch: Epoch,
    /// Slots before this one are done, where the cut-off is for everything.
    slot: u32,
    /// Its record in the feed.
    record: Link,
    /// Until when one of those that it has ended could come back.
    until: Timestamp,
    cleared: Cleared,
}

/// What a kill switch has ended.
#[derive(Debug, Default)]
pub struct Cleared {
    /// How many live sessions.
    pub live: usize,
    /// The guard's part of them, as far as it is to be asked.
    pub revocations: Vec<PendingKey>,
}

impl CutOff {
    fn add(&mut self, ended: EndedTree) {
        self.until = self.until.max(ended.until);
        self.cleared.add(ended);
    }
}

impl Cleared {
    fn add(&mut self, ended: EndedTree) {
        self.live = self.live.saturating_add(ended.live);
        let room = MAX_REVOCATIONS.saturating_sub(self.revocations.len());
        self.revocations.extend(ended.revocations().take(room));
    }

    /// Adds what another kill switch has ended.
    pub fn merge(&mut self, other: Self) {
        self.live = self.live.saturating_add(other.live);
        let room = MAX_REVOCATIONS.saturating_sub(self.revocations.len());
        let revocations = other.revocations.into_iter();
        self.revocations.extend(revocations.take(room));
    }
}

impl CutOff {
    fn is_for(&self, entry: &Entry) -> bool {
        let session = &entry.session;
        entry.created_epoch < self.epoch
            && match &self.filter {
                RevokeFilter::Everything => true,
                RevokeFilter::Agent(agent) => session.agent_id == *agent,
                RevokeFilter::Role(role) => session.attributes.role == *role,
                RevokeFilter::Root(_) => false,
            }
    }
}

impl Store {
    /// Ends a session that was created, and all below it, because a kill switch is for them.
    pub fn revoke_root(&mut self, id: SessionId, now: Timestamp) -> Cleared {
        self.forget_each_yes(now);
        let mut cleared = Cleared::default();
        let slot = self.slot_of(id).ok();
        let is_root = |slot: &u32| {
            let entry = self.sessions.get(*slot);
            entry.is_some_and(|entry| entry.session.parent.is_none())
        };
        if let Some(slot) = slot.filter(is_root) {
            cleared.add(self.end_tree(slot, EndReason::RevokedAll, now));
        }
        cleared
    }

    /// Throws a kill switch. [`Store::clear_away`] is to follow until it is done.
    pub fn cut_off(&mut self, filter: RevokeFilter, now: Timestamp) -> Epoch {
        self.forget_each_yes(now);
        self.epoch = self.epoch.saturating_add(1);
        match &filter {
            RevokeFilter::Everything => self.cut_off = self.epoch,
            RevokeFilter::Agent(agent) => self.agents.set_cut_off(agent, self.epoch),
            RevokeFilter::Role(role) => self.roles.set_cut_off(role, self.epoch),
            RevokeFilter::Root(_) => {}
        }
        let record = self.record_cut_off(&filter);
        self.cut_offs.push(CutOff {
            filter,
            epoch: self.epoch,
            slot: 0,
            record,
            until: Timestamp::default(),
            cleared: Cleared::default(),
        });
        self.epoch
    }

    /// Whether a kill switch has sessions left to end.
    #[must_use]
    pub fn is_clearing(&self, epoch: Epoch) -> bool {
        self.cut_offs.iter().any(|cut_off| cut_off.epoch == epoch)
    }

    /// Whether a kill switch was for the session.
    pub(super) fn is_cut_off(&self, entry: &Entry) -> bool {
        self.cut_offs.iter().any(|cut_off| cut_off.is_for(entry))
            || self.is_revoked_by_restored(entry)
    }

    /// Ends a session that a kill switch was for. That is the switch's doing, whoever comes across it.
    pub(super) fn end_cut_off(&mut self, slot: u32, now: Timestamp) {
        let entry = self.sessions.get(slot);
        let by = entry.and_then(|entry| self.cut_offs.iter().position(|it| it.is_for(entry)));
        let ended = self.end_tree(slot, EndReason::RevokedAll, now);
        if let Some(cut_off) = by.and_then(|by| self.cut_offs.get_mut(by)) {
            cut_off.add(ended);
        }
    }

    /// Ends a part of the sessions that a kill switch was for. When that was all, gives what it has
    /// ended.
    pub fn clear_away(&mut self, epoch: Epoch, now: Timestamp) -> Option<Cleared> {
        let place = self.cut_offs.iter().position(|it| it.epoch == epoch)?;
        let mut steps = MAX_STEP;
        while let Some(left) = steps.checked_sub(1) {
            steps = left;
            match self.next_to_clear(place) {
                Next::Session(slot) => {
                    let before = self.sessions.len();
                    self.end_if_over(slot, now);
                    let ended = before.saturating_sub(self.sessions.len());
                    steps = steps.saturating_sub(ended);
                }
                Next::Other => {}
                Next::None => {
                    let done = self.cut_offs.remove(place);
                    self.note_cleared(done.record, done.until);
                    return Some(done.cleared);
                }
            }
        }
        None
    }

    fn next_to_clear(&mut self, place: usize) -> Next {
        let slots = self.sessions.slots();
        let Some(cut_off) = self.cut_offs.get_mut(place) else {
            return Next::None;
        };
        let slot = match &cut_off.filter {
            RevokeFilter::Everything => {
                let slot = cut_off.slot;
                cut_off.slot = slot.saturating_add(1);
                if slot >= slots {
                    return Next::None;
                }
                let entry = self.sessions.get(slot);
                return match entry.filter(|entry| cut_off.is_for(entry)) {
                    Some(_) => Next::Session(slot),
                    None => Next::Other,
                };
            }
            // The oldest come first, and the first that began after the cut-off has none of before
            // behind it: what was under way then came to nothing.
            RevokeFilter::Agent(agent) => {
                let agent = self.agents.find(agent);
                let agent = agent.and_then(|id| self.agents.get(id));
                let oldest = agent.and_then(|agent| agent.members.behind(0).next());
                oldest.map(|(_, slot)| slot)
            }
            RevokeFilter::Role(role) => {
                let role = self.roles.find(role);
                let role = role.and_then(|id| self.roles.get(id));
                role.and_then(|role| role.members.first())
            }
            RevokeFilter::Root(_) => None,
        };
        let entry = slot.and_then(|slot| Some((slot, self.sessions.get(slot)?)));
        match entry.filter(|(_, entry)| cut_off.is_for(entry)) {
            Some((slot, _)) => Next::Session(slot),
            None => Next::None,
        }
    }
}

/// What a step of clearing away finds.
enum Next {
    /// A session that is to end.
    Session(u32),
    /// A slot where there is none.
    Other,
    /// There is nothing left.
    None,
}
