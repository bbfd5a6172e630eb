//! The cut-offs of earlier instances (R31). They also revoke sessions that are restored after them.

use crate::domain::epoch::Epoch;
use crate::domain::id::AgentId;
use crate::domain::session::{RevokeFilter, Role};
use crate::persistence::record::CutoffRecord;
use crate::store::entry::Entry;
use crate::store::slots::SessionSlot;

/// The cut-offs of earlier instances: the newest for everything, for each agent and for each role.
#[derive(Debug, Default)]
pub struct RestoredCutoffs {
    everything: Epoch,
    agents: NewestEpochs<AgentId>,
    roles: NewestEpochs<Role>,
    /// The last slot that was checked.
    pub checked: Option<SessionSlot>,
}

/// The newest epoch of each key, sorted by key.
#[derive(Debug)]
struct NewestEpochs<K>(Vec<(K, Epoch)>);

impl<K> Default for NewestEpochs<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> NewestEpochs<K> {
    fn add(&mut self, key: K, epoch: Epoch) {
        match self.0.binary_search_by(|(other, _)| other.cmp(&key)) {
            Err(index) => self.0.insert(index, (key, epoch)),
            Ok(index) => {
                if let Some((_, newest)) = self.0.get_mut(index) {
                    *newest = epoch.max(*newest);
                }
            }
        }
    }

    /// Returns the newest epoch of this key, or the first epoch, which revokes nothing.
    fn get(&self, key: &K) -> Epoch {
        let index = self.0.binary_search_by(|(other, _)| other.cmp(key));
        let entry = index.ok().and_then(|index| self.0.get(index));
        entry.map_or(Epoch::default(), |(_, epoch)| *epoch)
    }
}

impl RestoredCutoffs {
    /// Adds a cut-off that was restored.
    pub fn add(&mut self, cutoff: &CutoffRecord) {
        let epoch = cutoff.epoch;
        match &cutoff.filter {
            RevokeFilter::Agent(agent) => self.agents.add(*agent, epoch),
            RevokeFilter::Role(role) => self.roles.add(role.clone(), epoch),
            RevokeFilter::Everything | RevokeFilter::Root(_) => {
                self.everything = epoch.max(self.everything);
            }
        }
    }

    /// Returns whether one of the cut-offs revokes the session.
    #[must_use]
    pub fn revokes(&self, entry: &Entry) -> bool {
        let session = &entry.session;
        let began = entry.created_epoch;
        began < self.everything
            || began < self.agents.get(&session.agent_id)
            || began < self.roles.get(&session.attributes.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r31_the_newest_cut_off_of_each_key_is_kept() {
        let mut newest = NewestEpochs::default();
        for (key, epoch) in [("b", 2), ("a", 5), ("b", 7), ("b", 3)] {
            newest.add(key, Epoch::new(epoch));
        }
        assert_eq!(newest.get(&"a"), Epoch::new(5));
        assert_eq!(newest.get(&"b"), Epoch::new(7));
        assert_eq!(newest.get(&"c"), Epoch::default());
    }
}
