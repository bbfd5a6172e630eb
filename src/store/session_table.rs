//! The sessions and the indexes over them: by id, by token, by agent and by role.

mod delegations;
#[cfg(any(test, feature = "checks"))]
mod invariants;

use crate::collections::list::List;
use crate::collections::slab::Slab;
use crate::collections::table::{KeySet, Seed, Table};
use crate::domain::epoch::Epoch;
use crate::domain::error::Duplicate;
use crate::domain::id::{AgentId, SessionId};
use crate::domain::session::{RevokeFilter, Role};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;
use crate::store::agents::{AgentSessions, Agents};
use crate::store::entry::Entry;
use crate::store::plan::{Reservation, SessionVersion};
use crate::store::roles::Roles;
use crate::store::session_index::Bucket;
use crate::store::slots::{AgentSlot, OrphansSlot, RoleSlot, SessionSlot};

/// The sessions and their indexes. The trees of delegation are in `delegations`.
#[derive(Debug, Default)]
pub struct SessionTable {
    entries: Slab<SessionSlot, Entry>,
    /// All sessions, in the order in which they were added.
    all: List<SessionSlot>,
    by_id: Table<SessionSlot>,
    /// The ids of creates in flight.
    reserved_ids: KeySet,
    /// The sessions by the fingerprints of their current and superseded tokens.
    by_fingerprint: Table<SessionSlot>,
    /// The handles of sessions and of pending revocations. The guard must not issue one of them
    /// again (R16).
    handles: KeySet,
    seed: Seed,
    agents: Agents,
    roles: Roles,
    /// The lists in `orphans` by the ids of the parents.
    orphans_by_parent: Table<OrphansSlot>,
    /// Children that were restored before their parents.
    orphans: Slab<OrphansSlot, Vec<SessionSlot>>,
    /// The number of creates in flight.
    reserved: usize,
    /// The serial number of the newest session.
    last_serial: u64,
}

impl SessionTable {
    /// Sets the seed of the tables (R20). They must be empty.
    pub fn seed(&mut self, seed: &Seed) {
        self.seed = seed.clone();
        self.agents.seed(seed);
        self.roles.seed(seed);
    }

    /// Returns how many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many creates are in flight.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// Returns how many agents have sessions or creates in flight.
    #[must_use]
    pub fn agent_count(&self) -> usize {
        self.agents.len()
    }

    /// Returns the serial number of the newest session; 0 before the first.
    #[must_use]
    pub fn last_serial(&self) -> u64 {
        self.last_serial
    }

    /// Takes the serial number of the next session.
    pub fn next_serial(&mut self) -> u64 {
        self.last_serial = self.last_serial.saturating_add(1);
        self.last_serial
    }

    /// Raises the last serial number to at least this one.
    pub fn raise_serial_to(&mut self, serial: u64) {
        self.last_serial = self.last_serial.max(serial);
    }

    /// Returns the slot of the session with this id.
    #[must_use]
    pub fn slot_of(&self, id: SessionId) -> Option<SessionSlot> {
        let slot = self.by_id.get(id.key())?;
        let entry = self.entries.get(slot)?;
        (entry.session.id == id).then_some(slot)
    }

    /// Returns the session in this slot.
    #[must_use]
    pub fn get(&self, slot: SessionSlot) -> Option<&Entry> {
        self.entries.get(slot)
    }

    /// Returns the session in this slot, for changing it.
    pub fn get_mut(&mut self, slot: SessionSlot) -> Option<&mut Entry> {
        self.entries.get_mut(slot)
    }

    /// Returns the session with any token, if it is in the table.
    #[must_use]
    pub fn expected(&self, expected: SessionVersion) -> Option<&Entry> {
        let entry = self.entries.get(expected.slot);
        entry.filter(|entry| entry.serial == expected.serial)
    }

    /// Returns the session with any token, if it is in the table, for changing it.
    pub fn expected_mut(&mut self, expected: SessionVersion) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(expected.slot);
        entry.filter(|entry| entry.serial == expected.serial)
    }

    /// Returns the slot after `last`, or the first slot for `None`. It may be free.
    #[must_use]
    pub fn slot_after(&self, last: Option<SessionSlot>) -> Option<SessionSlot> {
        self.entries.slot_after(last)
    }

    /// Returns the session with a current or superseded token whose fingerprint has the same key.
    /// The caller must compare the fingerprint.
    #[must_use]
    pub fn by_fingerprint(&self, fingerprint: &Fingerprint) -> Option<(SessionSlot, &Entry)> {
        let slot = self.by_fingerprint.get(fingerprint.key())?;
        Some((slot, self.entries.get(slot)?))
    }

    /// Returns whether a session has a current or superseded token whose fingerprint has the same
    /// key.
    #[must_use]
    pub fn has_fingerprint(&self, fingerprint: &Fingerprint) -> bool {
        self.by_fingerprint.contains(fingerprint.key())
    }

    /// Adds a token of the session in this slot to the index.
    pub fn add_fingerprint(&mut self, fingerprint: &Fingerprint, slot: SessionSlot) {
        self.by_fingerprint.insert(fingerprint.key(), slot);
    }

    /// Adds the superseded tokens of a restored session to the index, except those that another
    /// session has.
    pub fn add_superseded(&mut self, slot: SessionSlot) {
        let Some(entry) = self.entries.get(slot) else {
            return;
        };
        for token in entry.superseded.tokens() {
            let key = token.fingerprint.key();
            if !self.by_fingerprint.contains(key) {
                self.by_fingerprint.insert(key, slot);
            }
        }
    }

    /// Removes a token of the session in this slot from the index.
    pub fn remove_fingerprint(&mut self, fingerprint: &Fingerprint, slot: SessionSlot) {
        let key = fingerprint.key();
        if self.by_fingerprint.get(key) == Some(slot) {
            self.by_fingerprint.remove(key);
        }
    }

    /// Returns whether a session or a pending revocation has this handle.
    #[must_use]
    pub fn has_handle(&self, handle: &str) -> bool {
        self.handles.contains(self.seed.key_of(handle.as_bytes()))
    }

    /// Adds a handle that the guard must not issue again.
    pub fn add_handle(&mut self, handle: &str) {
        self.handles.insert(self.seed.key_of(handle.as_bytes()));
    }

    /// Removes a handle that neither a session nor a pending revocation has.
    pub fn remove_handle(&mut self, handle: &str) {
        self.handles.remove(self.seed.key_of(handle.as_bytes()));
    }

    /// Returns whether a session or a create in flight has this id.
    #[must_use]
    pub fn has_id(&self, id: SessionId) -> bool {
        self.by_id.contains(id.key()) || self.reserved_ids.contains(id.key())
    }

    /// Checks that the hashes of this agent and role do not collide with those of others; see
    /// `SessionIndex::can_reserve`.
    ///
    /// # Errors
    /// [`Duplicate::AgentId`] or [`Duplicate::Role`], whichever collides.
    pub fn check_index(&self, agent: &AgentId, role: &Role) -> Result<(), Duplicate> {
        if !self.agents.can_reserve(agent) {
            return Err(Duplicate::AgentId);
        }
        if !self.roles.can_reserve(role) {
            return Err(Duplicate::Role);
        }
        Ok(())
    }

    /// Reserves an id, and counts a create in flight in the buckets of its agent and role.
    pub fn reserve(
        &mut self,
        id: SessionId,
        agent: &AgentId,
        role: &Role,
    ) -> (AgentSlot, RoleSlot) {
        self.reserved_ids.insert(id.key());
        self.reserved = self.reserved.saturating_add(1);
        self.reserve_buckets(agent, role)
    }

    /// Releases a reservation. Returns whether no session was created with it.
    pub fn release(&mut self, reservation: &Reservation) -> bool {
        let is_unused = self.reserved_ids.remove(reservation.id.key());
        self.reserved = self.reserved.saturating_sub(1);
        self.release_buckets(reservation.agent, reservation.role);
        is_unused
    }

    /// Counts a create in flight in the buckets of its agent and role, so that they are kept.
    pub fn reserve_buckets(&mut self, agent: &AgentId, role: &Role) -> (AgentSlot, RoleSlot) {
        (self.agents.reserve(agent), self.roles.reserve(role))
    }

    /// Stops counting a create in flight in the buckets of its agent and role.
    pub fn release_buckets(&mut self, agent: AgentSlot, role: RoleSlot) {
        self.agents.release(agent);
        self.roles.release(role);
    }

    /// Adds a session to every index. The buckets of its agent and role must be reserved.
    pub fn insert(&mut self, entry: Entry) -> SessionSlot {
        let (id, serial) = (entry.session.id, entry.serial);
        let (agent, role, parent) = (entry.agent, entry.role, entry.parent);
        let (fingerprint, handle) = (
            entry.fingerprint.key(),
            self.seed.key_of(entry.handle.as_bytes()),
        );
        let slot = self.entries.insert(entry);
        self.all.push(&mut self.entries, slot, Entry::neighbours);
        self.reserved_ids.remove(id.key());
        self.by_id.insert(id.key(), slot);
        self.by_fingerprint.insert(fingerprint, slot);
        self.handles.insert(handle);
        if let Some(parent) = parent {
            self.add_child(parent, slot);
        }
        match self.agents.get_mut(agent) {
            Some(agent) => agent.sessions.add(serial, slot),
            None => debug_assert!(false, "the bucket of the agent must be reserved"),
        }
        match self.roles.get_mut(role) {
            Some(role) => role
                .sessions
                .push(&mut self.entries, slot, Entry::same_role),
            None => debug_assert!(false, "the bucket of the role must be reserved"),
        }
        slot
    }

    /// Removes a session from every index, except the handle of its token. The caller removes the
    /// links to its parent and its children.
    pub fn remove(&mut self, slot: SessionSlot) -> Option<Entry> {
        // An entry is large, so it stays in the result and is not moved again.
        let removed = self.entries.remove(slot);
        if let Some(entry) = &removed {
            let (links, neighbours) = (entry.neighbours, Entry::neighbours);
            self.all.remove(&mut self.entries, links, neighbours);
            self.by_id.remove(entry.session.id.key());
            self.remove_fingerprint(&entry.fingerprint, slot);
            for token in entry.superseded.tokens() {
                self.remove_fingerprint(&token.fingerprint, slot);
            }
            if let Some(agent) = self.agents.get_mut(entry.agent) {
                agent.sessions.remove(entry.serial, slot);
            }
            self.agents.drop_if_unused(entry.agent);
            if let Some(role) = self.roles.get_mut(entry.role) {
                let links = Entry::same_role;
                let sessions = &mut role.sessions;
                sessions.remove(&mut self.entries, entry.same_role, links);
            }
            self.roles.drop_if_unused(entry.role);
        }
        removed
    }

    /// Returns the slot of an agent, if it has sessions or creates in flight.
    #[must_use]
    pub fn find_agent(&self, agent: &AgentId) -> Option<AgentSlot> {
        self.agents.find(agent)
    }

    /// Returns the bucket of an agent.
    #[must_use]
    pub fn agent(&self, agent: AgentSlot) -> Option<&Bucket<AgentId, AgentSessions>> {
        self.agents.get(agent)
    }

    /// Returns the result of [`AgentSessions::find_due`] for an agent. `ends_at` gets the table,
    /// which the sessions of the agent are taken out of meanwhile.
    pub fn find_due_of_agent(
        &mut self,
        agent: AgentSlot,
        max: usize,
        now: Timestamp,
        ends_at: impl Fn(&Self, SessionSlot) -> Timestamp,
    ) -> Vec<SessionSlot> {
        let Some(bucket) = self.agents.get_mut(agent) else {
            return Vec::new();
        };
        let mut sessions = std::mem::take(&mut bucket.sessions);
        let due = sessions.find_due(max, now, |slot| ends_at(self, slot));
        if let Some(bucket) = self.agents.get_mut(agent) {
            bucket.sessions = sessions;
        }
        due
    }

    /// Records with the session's agent and its root that the session expires at this time.
    pub fn add_end(&mut self, slot: SessionSlot, ends_at: Timestamp) {
        let Some(entry) = self.entries.get(slot) else {
            return;
        };
        if let Some(agent) = self.agents.get_mut(entry.agent) {
            agent.sessions.add_end(ends_at);
        }
        if let Some(root) = self.root_of(slot).filter(|root| *root != slot)
            && let Some(root) = self.entries.get_mut(root)
        {
            root.descendants_earliest_end = root.descendants_earliest_end.min(ends_at);
        }
    }

    /// Revokes creates in flight of the filter's agent or role that began before this epoch.
    pub fn revoke_before(&mut self, filter: &RevokeFilter, epoch: Epoch) {
        match filter {
            RevokeFilter::Agent(agent) => self.agents.revoke_before(agent, epoch),
            RevokeFilter::Role(role) => self.roles.revoke_before(role, epoch),
            RevokeFilter::Everything | RevokeFilter::Root(_) => {}
        }
    }

    /// Returns whether a cut-off for its agent or its role revokes the create in flight.
    #[must_use]
    pub fn is_revoked(&self, reservation: &Reservation) -> bool {
        let epoch = reservation.created_epoch;
        self.agents.is_revoked(reservation.agent, epoch)
            || self.roles.is_revoked(reservation.role, epoch)
    }

    /// Returns the session that was added first.
    #[must_use]
    pub fn first(&self) -> Option<SessionSlot> {
        self.all.first()
    }

    /// Returns the agent's oldest session.
    #[must_use]
    pub fn oldest_of_agent(&self, agent: &AgentId) -> Option<SessionSlot> {
        let agent = self.agents.get(self.agents.find(agent)?)?;
        agent.sessions.iter().next().map(|(_, slot)| slot)
    }

    /// Returns the session of the role that was added first.
    #[must_use]
    pub fn first_of_role(&self, role: &Role) -> Option<SessionSlot> {
        self.roles.get(self.roles.find(role)?)?.sessions.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures::{add, agent, role, session_id};

    #[test]
    fn r21_a_removed_session_is_in_no_index_and_its_handle_is_kept() {
        let mut sessions = SessionTable::default();
        let slot = add(&mut sessions, 1, None, 100);
        let entry = sessions.get(slot).unwrap();
        let (fingerprint, version) = (entry.fingerprint.clone(), entry.version(slot));
        assert_eq!(sessions.slot_of(session_id(1)), Some(slot));
        assert_eq!(sessions.oldest_of_agent(&agent()), Some(slot));
        assert_eq!(sessions.first_of_role(&role()), Some(slot));
        sessions.remove(slot).unwrap();
        assert_eq!(sessions.slot_of(session_id(1)), None);
        assert!(sessions.expected(version).is_none());
        assert!(!sessions.has_fingerprint(&fingerprint) && !sessions.has_id(session_id(1)));
        assert_eq!((sessions.agent_count(), sessions.len()), (0, 0));
        assert_eq!(sessions.first_of_role(&role()), None);
        assert!(sessions.has_handle("handle-1"));
        sessions.remove_handle("handle-1");
        assert!(!sessions.has_handle("handle-1"));
    }

    #[test]
    fn r12_a_session_is_not_found_by_the_version_of_an_earlier_one_in_its_slot() {
        let mut sessions = SessionTable::default();
        let slot = add(&mut sessions, 1, None, 100);
        let before = sessions.get(slot).unwrap().version(slot);
        sessions.remove(slot).unwrap();
        assert_eq!(add(&mut sessions, 2, None, 100), slot);
        assert!(sessions.expected(before).is_none());
    }

    #[test]
    fn r16_an_agent_or_a_role_with_the_hash_of_another_is_refused_by_name() {
        let mut sessions = SessionTable::default();
        let (first, worker) = (agent(), role());
        let (agent_slot, role_slot) = sessions.reserve_buckets(&first, &worker);
        let other = AgentId::parse("agent", "0a9e0000-0000-4000-8000-000000000002").unwrap();
        let admin = Role::parse("admin".into()).unwrap();
        assert_eq!(sessions.check_index(&other, &admin), Ok(()));
        sessions.agents.collide(&other, agent_slot);
        sessions.roles.collide(&admin, role_slot);
        assert_eq!(
            sessions.check_index(&other, &worker),
            Err(Duplicate::AgentId)
        );
        assert_eq!(sessions.check_index(&first, &admin), Err(Duplicate::Role));
        assert_eq!(sessions.check_index(&first, &worker), Ok(()));
    }
}
