//! Kill switches (R13, R31).
//!
//! A cut-off takes effect in one step, however many sessions it is for: what began before it is over
//! from then on. Clearing those sessions away comes after, a part at a time, so that others get
//! their turn.

use super::{Entry, Store};
use crate::clock::Timestamp;
use crate::events::EndReason;
use crate::groups::Era;
use crate::revocations::PendingKey;
use crate::session::RevokeFilter;

/// How many sessions one step ends, before what is below the last of them, and how many slots it
/// looks at (R20).
const MAX_STEP: usize = 1_000;

/// A kill switch that was thrown, and how far the clearing away has come.
#[derive(Debug)]
pub struct CutOff {
    filter: RevokeFilter,
    /// What began before is stopped.
    era: Era,
    /// Slots before this one are done, where the cut-off is for everything.
    slot: u32,
    /// How many live sessions it has ended.
    pub ended: usize,
    /// The guard's part of them.
    pub revocations: Vec<PendingKey>,
}

impl Store {
    /// Throws a kill switch. [`Store::clear_away`] is to follow until it is done.
    pub fn cut_off(&mut self, filter: RevokeFilter) -> CutOff {
        self.era = self.era.saturating_add(1);
        match &filter {
            RevokeFilter::Everything => self.cut_off = self.era,
            RevokeFilter::Agent(agent) => self.agents.set_cut_off(agent, self.era),
            RevokeFilter::Role(role) => self.roles.set_cut_off(role, self.era),
            // It ends in one step, and what is to be below it cannot be then (R26).
            RevokeFilter::Root(_) => {}
        }
        self.sweeping = self.sweeping.saturating_add(1);
        CutOff {
            filter,
            era: self.era,
            slot: 0,
            ended: 0,
            revocations: Vec::new(),
        }
    }

    /// Whether a kill switch was for the session.
    pub(super) fn is_cut_off(&self, entry: &Entry) -> bool {
        let session = &entry.session;
        self.sweeping > 0
            && (entry.began < self.cut_off
                || self.agents.is_cut_off(&session.agent_id, entry.began)
                || self.roles.is_cut_off(&session.attributes.role, entry.began))
    }

    /// Ends a part of the sessions that a kill switch was for; tells whether that was all.
    pub fn clear_away(&mut self, cut_off: &mut CutOff, now: Timestamp) -> bool {
        let mut steps = MAX_STEP;
        while let Some(left) = steps.checked_sub(1) {
            steps = left;
            let slot = match self.next_to_clear(cut_off) {
                Next::Session(slot) => slot,
                Next::Other => continue,
                Next::None => {
                    self.sweeping = self.sweeping.saturating_sub(1);
                    return true;
                }
            };
            let ended = self.end_tree(slot, EndReason::RevokedAll, now);
            cut_off.ended = cut_off.ended.saturating_add(ended.live);
            cut_off.revocations.extend(ended.revocations);
            steps = steps.saturating_sub(ended.all as usize);
        }
        false
    }

    fn next_to_clear(&self, cut_off: &mut CutOff) -> Next {
        let slot = match &cut_off.filter {
            RevokeFilter::Everything => {
                if cut_off.slot >= self.sessions.slots() {
                    return Next::None;
                }
                let slot = cut_off.slot;
                cut_off.slot = slot.saturating_add(1);
                if !self.began_before(slot, cut_off.era) {
                    return Next::Other;
                }
                Some(slot)
            }
            // The oldest come first, and the first that began after the cut-off has none of before
            // behind it: what was under way then came to nothing.
            RevokeFilter::Agent(agent) => {
                let agent = self.agents.get(agent);
                let oldest = agent.and_then(|agent| agent.members.behind(0).next());
                oldest.map(|(_, slot)| slot)
            }
            RevokeFilter::Role(role) => {
                let role = self.roles.get(role);
                role.and_then(|role| role.members.first())
            }
            RevokeFilter::Root(id) => {
                let slot = self.slot_of(*id).ok();
                let is_root = |slot: &u32| {
                    let entry = self.sessions.get(*slot);
                    entry.is_some_and(|entry| entry.session.parent.is_none())
                };
                slot.filter(is_root)
            }
        };
        slot.filter(|slot| self.began_before(*slot, cut_off.era))
            .map_or(Next::None, Next::Session)
    }

    fn began_before(&self, slot: u32, era: Era) -> bool {
        let entry = self.sessions.get(slot);
        entry.is_some_and(|entry| entry.began < era)
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
