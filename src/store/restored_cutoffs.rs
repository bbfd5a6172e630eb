//! Kill switches of instances before this one (R31). What they were for and had not ended yet may come
//! back: it is over from then on, and cleared away a part at a time.

use super::{Entry, Store};
use crate::domain::id::AgentId;
use crate::domain::session::{RevokeFilter, Role};
use crate::domain::timestamp::Timestamp;
use crate::persistence::change_feed::CutoffRecord;
use crate::store::session_index::Epoch;

/// How many slots one call looks at for what kill switches of instances before this one were for
/// (R20).
const MAX_LOOKED_AT: u32 = 10_000;

/// Kill switches of instances before this one: the newest of each kind.
#[derive(Debug, Default)]
pub struct RestoredCutoffs {
    everything: Epoch,
    agents: Newest<AgentId>,
    roles: Newest<Role>,
    /// Slots before this one are cleared.
    slot: u32,
}

/// The newest kill switch for each of some things, in their order.
#[derive(Debug)]
struct Newest<K>(Vec<(K, Epoch)>);

impl<K> Default for Newest<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> Newest<K> {
    fn note(&mut self, key: K, epoch: Epoch) {
        match self.0.binary_search_by(|(other, _)| other.cmp(&key)) {
            Err(place) => self.0.insert(place, (key, epoch)),
            Ok(place) => {
                if let Some((_, newest)) = self.0.get_mut(place) {
                    *newest = epoch.max(*newest);
                }
            }
        }
    }

    fn get(&self, key: &K) -> Option<&Epoch> {
        let place = self.0.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        self.0.get(place).map(|(_, epoch)| epoch)
    }
}

impl RestoredCutoffs {
    /// This one came back.
    pub(super) fn note(&mut self, switch: &CutoffRecord) {
        let epoch = switch.epoch;
        match &switch.filter {
            RevokeFilter::Agent(agent) => self.agents.note(*agent, epoch),
            RevokeFilter::Role(role) => self.roles.note(role.clone(), epoch),
            RevokeFilter::Everything | RevokeFilter::Root(_) => {
                self.everything = epoch.max(self.everything);
            }
        }
    }
}

impl Store {
    /// Ends a part of what kill switches of instances before this one were for and has come back
    /// without its end. The guard's part is pending.
    pub fn clear_away_before(&mut self, now: Timestamp) {
        for _ in 0..MAX_LOOKED_AT {
            let Some(before) = &mut self.restored_cutoffs else {
                return;
            };
            let slot = before.slot;
            before.slot = slot.saturating_add(1);
            if slot >= self.sessions.slots() {
                self.restored_cutoffs = None;
            } else if self
                .sessions
                .get(slot)
                .is_some_and(|entry| self.is_revoked_by_restored(entry))
            {
                self.end_if_over(slot, now);
            }
        }
    }

    /// Whether a kill switch of an instance before this one was for the session.
    pub(super) fn is_revoked_by_restored(&self, entry: &Entry) -> bool {
        let Some(before) = &self.restored_cutoffs else {
            return false;
        };
        let session = &entry.session;
        let eras = [
            Some(&before.everything),
            before.agents.get(&session.agent_id),
            before.roles.get(&session.attributes.role),
        ];
        eras.into_iter()
            .flatten()
            .any(|epoch| entry.created_epoch < *epoch)
    }
}
