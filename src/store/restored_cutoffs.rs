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

/// The newest epoch of each key. A key is the bytes of an id or of a role. The entries are sorted
/// by key, in chunks, so that a new one moves few others and not half of all.
#[derive(Debug, Default)]
struct NewestEpochs(Vec<Vec<(Box<[u8]>, Epoch)>>);

/// The entries of a chunk, at most.
const MAX_CHUNK: usize = 512;

impl NewestEpochs {
    fn add(&mut self, key: &[u8], epoch: Epoch) {
        let index = self.chunk_of(key);
        let Some(chunk) = self.0.get_mut(index) else {
            self.0.push(vec![(key.into(), epoch)]);
            return;
        };
        match find(chunk, key) {
            Ok(place) => {
                if let Some((_, newest)) = chunk.get_mut(place) {
                    *newest = epoch.max(*newest);
                }
            }
            Err(place) => {
                chunk.insert(place, (key.into(), epoch));
                if chunk.len() > MAX_CHUNK {
                    let second = chunk.split_off(MAX_CHUNK / 2);
                    chunk.shrink_to_fit();
                    self.0.insert(index.saturating_add(1), second);
                }
            }
        }
    }

    /// Returns the newest epoch of this key, or the first epoch, which revokes nothing.
    fn get(&self, key: &[u8]) -> Epoch {
        let chunk = self.0.get(self.chunk_of(key));
        let entry = chunk.and_then(|chunk| chunk.get(find(chunk, key).ok()?));
        entry.map_or(Epoch::default(), |(_, epoch)| *epoch)
    }

    /// Returns the index of the chunk in which the key belongs: the last that begins with a key
    /// that is not later, or the first.
    fn chunk_of(&self, key: &[u8]) -> usize {
        let begins_before = |chunk: &Vec<(Box<[u8]>, Epoch)>| {
            let first = chunk.first();
            first.is_some_and(|(first, _)| **first <= *key)
        };
        self.0.partition_point(begins_before).saturating_sub(1)
    }
}

/// Returns the position of the key, or as an error the position where it belongs.
fn find(chunk: &[(Box<[u8]>, Epoch)], key: &[u8]) -> Result<usize, usize> {
    chunk.binary_search_by(|(other, _)| (**other).cmp(key))
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

    #[test]
    fn r20_many_keys_are_kept_in_order_in_chunks_of_bounded_size() {
        let mut newest = NewestEpochs::default();
        let key = |number: u32| number.wrapping_mul(0x9e37_79b1).to_be_bytes();
        let count = 10_000;
        for number in 0..count {
            newest.add(&key(number), Epoch::new(number.into()));
        }
        for number in 0..count {
            newest.add(&key(number), Epoch::default());
        }
        assert!((0..count).all(|number| newest.get(&key(number)) == Epoch::new(number.into())));
        assert_eq!(newest.get(&key(count)), Epoch::default());
        assert!(newest.0.iter().all(|chunk| chunk.len() <= MAX_CHUNK));
        let keys: Vec<_> = newest.0.iter().flatten().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), count as usize);
        assert!(keys.is_sorted());
    }
}
