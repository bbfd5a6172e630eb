//! The cut-offs of earlier instances (R31). They also revoke sessions that are restored after them.

use crate::domain::epoch::Epoch;
use crate::domain::session::RevokeFilter;
use crate::persistence::record::CutoffRecord;
use crate::store::entry::Entry;
use crate::store::slots::SessionSlot;

/// The cut-offs of earlier instances: the newest for everything, for each agent and for each role.
#[derive(Debug, Default)]
pub struct RestoredCutoffs {
    everything: Epoch,
    agents: NewestEpochs,
    roles: NewestEpochs,
    /// The last slot that was checked.
    pub checked: Option<SessionSlot>,
}

/// The newest epoch of each key, sorted by key. A key is the bytes of an id or of a role.
#[derive(Debug, Default)]
struct NewestEpochs(Vec<(Box<[u8]>, Epoch)>);

impl NewestEpochs {
    fn add(&mut self, key: &[u8], epoch: Epoch) {
        match self.find(key) {
            Err(index) => self.0.insert(index, (key.into(), epoch)),
            Ok(index) => {
                if let Some((_, newest)) = self.0.get_mut(index) {
                    *newest = epoch.max(*newest);
                }
            }
        }
    }

    /// Returns the newest epoch of this key, or the first epoch, which revokes nothing.
    fn get(&self, key: &[u8]) -> Epoch {
        let index = self.find(key);
        let entry = index.ok().and_then(|index| self.0.get(index));
        entry.map_or(Epoch::default(), |(_, epoch)| *epoch)
    }

    /// Returns the position of the key, or as an error the position where it belongs.
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(key))
    }
}

impl RestoredCutoffs {
    /// Adds a cut-off that was restored.
    pub fn add(&mut self, cutoff: &CutoffRecord) {
        let epoch = cutoff.epoch;
        match &cutoff.filter {
            RevokeFilter::Agent(agent) => self.agents.add(agent.as_ref(), epoch),
            RevokeFilter::Role(role) => self.roles.add(role.as_ref(), epoch),
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
            || began < self.agents.get(session.agent_id.as_ref())
            || began < self.roles.get(session.attributes.role.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AgentId;
    use crate::domain::session::Role;
    use crate::store::fixtures::{add, agent, at, role};
    use crate::store::session_table::SessionTable;

    #[test]
    fn r31_a_restored_cut_off_revokes_what_began_before_it_and_matches_its_filter() {
        let mut sessions = SessionTable::default();
        let slot = add(&mut sessions, 1, None, 60);
        let other_agent = AgentId::parse("agent", "0a9e0000-0000-4000-8000-000000000002").unwrap();
        let other_role = Role::parse("other".into()).unwrap();
        for (filter, matches) in [
            (RevokeFilter::Everything, true),
            (RevokeFilter::Agent(agent()), true),
            (RevokeFilter::Agent(other_agent), false),
            (RevokeFilter::Role(role()), true),
            (RevokeFilter::Role(other_role), false),
        ] {
            let mut cutoffs = RestoredCutoffs::default();
            cutoffs.add(&CutoffRecord {
                filter: filter.clone(),
                epoch: Epoch::new(5),
                until: at(60),
            });
            for (began, is_before) in [(4, true), (5, false), (6, false)] {
                let entry = sessions.get_mut(slot).unwrap();
                entry.created_epoch = Epoch::new(began);
                assert_eq!(
                    cutoffs.revokes(entry),
                    matches && is_before,
                    "{filter:?} {began}"
                );
            }
        }
    }

    #[test]
    fn r31_the_newest_cut_off_of_each_key_is_kept() {
        let mut newest = NewestEpochs::default();
        for (key, epoch) in [(b"b", 2), (b"a", 5), (b"b", 7), (b"b", 3)] {
            newest.add(key, Epoch::new(epoch));
        }
        assert_eq!(newest.get(b"a"), Epoch::new(5));
        assert_eq!(newest.get(b"b"), Epoch::new(7));
        assert_eq!(newest.get(b"c"), Epoch::default());
    }
}
