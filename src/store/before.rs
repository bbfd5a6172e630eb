//! Kill switches of instances before this one (R31). What they were for and had not ended yet may come
//! back: it is over from then on, and cleared away a part at a time.

use super::{Entry, Store};
use crate::clock::Timestamp;
use crate::feed::Switch;
use crate::groups::Era;
use crate::id::AgentId;
use crate::session::{RevokeFilter, Role};

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

impl Before {
    /// This one came back.
    pub(super) fn note(&mut self, switch: &Switch) {
        let era = switch.era;
        match &switch.filter {
            RevokeFilter::Agent(agent) => self.agents.note(*agent, era),
            RevokeFilter::Role(role) => self.roles.note(role.clone(), era),
            RevokeFilter::Everything | RevokeFilter::Root(_) => {
                self.everything = era.max(self.everything);
            }
        }
    }
}

impl Store {
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
}
