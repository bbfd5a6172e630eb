//! The invariants of the session table: its indexes have the sessions and nothing else.

use std::collections::BTreeSet;

use crate::checks::{Checked, ensure, equal};
use crate::domain::config::MAX_DEPTH;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Fingerprint;
use crate::store::entry::Entry;
use crate::store::lifetimes::Lifetimes;
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;

impl SessionTable {
    /// Returns the sessions and their slots.
    pub fn iter(&self) -> impl Iterator<Item = (SessionSlot, &Entry)> {
        self.entries.iter()
    }

    /// Checks all indexes over the sessions. `pending_handles` are the handles of the pending
    /// revocations, and `is_restored` is whether sessions were restored.
    ///
    /// # Errors
    /// The text of the first violation.
    pub fn check<'a>(
        &'a self,
        pending_handles: impl Iterator<Item = &'a str>,
        lifetimes: &Lifetimes,
        is_restored: bool,
    ) -> Checked {
        self.entries.check()?;
        let all = self.all.slots(&self.entries, |entry| entry.neighbours)?;
        equal("sessions in the list of all", all.len(), self.len())?;
        self.check_ids()?;
        self.check_tokens(is_restored)?;
        self.check_handles(pending_handles, is_restored)?;
        self.check_agents(lifetimes)?;
        self.check_roles()?;
        for (slot, entry) in self.iter() {
            self.check_parent(slot, entry, is_restored)?;
            self.check_children(slot, entry, lifetimes)?;
        }
        Ok(())
    }

    /// Returns how many lists of children without their parents there are.
    pub fn lists_of_orphans(&self) -> usize {
        self.orphans.len()
    }

    fn check_ids(&self) -> Checked {
        self.by_id.check()?;
        for (slot, entry) in self.iter() {
            let found = self.slot_of(entry.session.id);
            equal("slot of a session by id", found, Some(slot))?;
            let is_counted = entry.serial <= self.last_serial;
            ensure(is_counted, || "a serial number is above the last".into())?;
        }
        equal("number of ids", self.by_id.iter().count(), self.len())?;
        self.reserved_ids.check()?;
        equal(
            "number of reserved ids",
            self.reserved_ids.len(),
            self.reserved,
        )
    }

    /// Checks the index by token. Records that no instance has written can give two sessions the
    /// same token. Then it is found for one of them, or for none if that one has ended.
    fn check_tokens(&self, is_restored: bool) -> Checked {
        self.by_fingerprint.check()?;
        let mut tokens: usize = 0;
        for (slot, entry) in self.iter() {
            for fingerprint in fingerprints(entry) {
                tokens = tokens.saturating_add(1);
                let found = self.by_fingerprint.get(fingerprint.key());
                if !is_restored {
                    equal("slot of a session by token", found, Some(slot))?;
                }
            }
        }
        for (key, slot) in self.by_fingerprint.iter() {
            let mut tokens = self.entries.get(slot).into_iter().flat_map(fingerprints);
            let is_token = tokens.any(|it| it.key() == key);
            ensure(is_token, || "the index by token has another token".into())?;
        }
        let indexed = self.by_fingerprint.iter().count();
        let is_complete = indexed == tokens || (is_restored && indexed < tokens);
        ensure(is_complete, || {
            format!("{indexed} tokens are indexed, not {tokens}")
        })
    }

    /// Checks the handles of the tokens that are current or whose revocation is pending. Records
    /// that no instance has written can give two tokens the same handle.
    fn check_handles<'a>(
        &'a self,
        pending: impl Iterator<Item = &'a str>,
        is_restored: bool,
    ) -> Checked {
        self.handles.check()?;
        let current = self.iter().map(|(_, entry)| &*entry.handle);
        let in_use: Vec<&str> = current.chain(pending).collect();
        let handles: BTreeSet<&str> = in_use.iter().copied().collect();
        let is_taken = handles.iter().all(|handle| self.has_handle(handle));
        ensure(is_taken, || "a handle that is in use is not taken".into())?;
        equal("number of handles", self.handles.len(), handles.len())?;
        ensure(is_restored || handles.len() == in_use.len(), || {
            "two tokens have the same handle (R16)".into()
        })
    }

    fn check_agents(&self, lifetimes: &Lifetimes) -> Checked {
        equal("creates of agents", self.agents.check()?, self.reserved)?;
        let mut listed: usize = 0;
        for (agent, bucket) in self.agents.iter() {
            let mut last = 0;
            for (serial, slot) in bucket.sessions.iter() {
                let entry = self.entries.get(slot);
                let is_same = |entry: &Entry| entry.agent == agent && entry.serial == serial;
                ensure(entry.is_some_and(is_same) && last <= serial, || {
                    "a session in the list of an agent is another one or out of order".into()
                })?;
                let ends_at = lifetimes.ends_at(self, slot);
                let is_orphan = ends_at == Timestamp::default();
                ensure(
                    is_orphan || bucket.sessions.earliest_end() <= ends_at,
                    || "a session ends before the earliest end of its agent".into(),
                )?;
                last = serial;
                listed = listed.saturating_add(1);
            }
        }
        equal("sessions of agents", listed, self.len())
    }

    fn check_roles(&self) -> Checked {
        equal("creates of roles", self.roles.check()?, self.reserved)?;
        let mut listed: usize = 0;
        for (role, bucket) in self.roles.iter() {
            for slot in bucket
                .sessions
                .slots(&self.entries, |entry| entry.same_role)?
            {
                let entry = self.entries.get(slot);
                ensure(entry.is_some_and(|entry| entry.role == role), || {
                    "a session is in the list of another role".into()
                })?;
                listed = listed.saturating_add(1);
            }
        }
        equal("sessions of roles", listed, self.len())
    }

    fn check_parent(&self, slot: SessionSlot, entry: &Entry, is_restored: bool) -> Checked {
        let Some(parent_slot) = entry.parent else {
            return ensure(is_restored || !entry.is_orphan(), || {
                "a parent is missing".into()
            });
        };
        let parent = self.entries.get(parent_slot);
        let parent = parent.ok_or("the parent of a session does not exist")?;
        equal("parent", entry.session.parent, Some(parent.session.id))?;
        ensure(
            self.children_of(parent_slot).any(|child| child == slot),
            || "a child is not in the list of its parent".into(),
        )?;
        // The ancestry is cut at this length, so a longer one or a cycle ends at a child.
        let root = self.root_of(slot).and_then(|root| self.entries.get(root));
        ensure(root.is_some_and(|root| root.parent.is_none()), || {
            format!("a session has more than {MAX_DEPTH} ancestors, or is its own")
        })?;
        let root = root.map(|root| root.session.id);
        ensure(is_restored || root == Some(entry.session.root), || {
            "the root of a session is another one".into()
        })
    }

    fn check_children(&self, slot: SessionSlot, entry: &Entry, lifetimes: &Lifetimes) -> Checked {
        for child in entry
            .children
            .slots(&self.entries, |entry| entry.siblings)?
        {
            let parent = self.entries.get(child).and_then(|child| child.parent);
            equal("parent of a child", parent, Some(slot))?;
        }
        if entry.parent.is_some() || entry.is_orphan() {
            return Ok(());
        }
        for descendant in self.descendants_of(slot) {
            let ends_at = lifetimes.ends_at(self, descendant);
            ensure(entry.descendants_earliest_end <= ends_at, || {
                "a session ends before the earliest end below its root".into()
            })?;
        }
        Ok(())
    }

    /// Checks that each root counts its descendants. Returns how many creates in flight the roots
    /// count besides.
    ///
    /// # Errors
    /// The text of the violation.
    pub fn check_descendants(&self) -> Result<usize, String> {
        let mut in_flight: usize = 0;
        for (slot, entry) in self.iter().filter(|(_, entry)| entry.parent.is_none()) {
            let exist = self.descendants_of(slot).len();
            let besides = (entry.descendants as usize).checked_sub(exist);
            let besides = besides.ok_or("a root counts too few descendants")?;
            in_flight = in_flight.saturating_add(besides);
        }
        ensure(in_flight <= self.reserved, || {
            "roots count descendants that do not exist".into()
        })?;
        Ok(in_flight)
    }
}

/// Returns the fingerprints of the current and the superseded tokens.
fn fingerprints(entry: &Entry) -> impl Iterator<Item = &Fingerprint> {
    let superseded = entry.superseded.tokens().iter();
    std::iter::once(&entry.fingerprint).chain(superseded.map(|token| &token.fingerprint))
}
