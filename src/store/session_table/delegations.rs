//! The trees of delegation: parents and children, linked in the entries (R25, R26).

use crate::collections::list::Links;
use crate::collections::slab::Slab;
use crate::collections::table::Table;
use crate::domain::config::MAX_DEPTH;
use crate::domain::id::SessionId;
use crate::store::entry::Entry;
use crate::store::session_table::SessionTable;
use crate::store::slots::SessionSlot;

impl SessionTable {
    /// Returns the session and its ancestors, up to the root.
    pub fn ancestry(&self, slot: SessionSlot) -> impl Iterator<Item = (SessionSlot, &Entry)> {
        let entry = |slot| Some((slot, self.entries.get(slot)?));
        let parent = move |(_, child): &(SessionSlot, &Entry)| entry(child.parent?);
        // The length is bounded even if the links form a cycle.
        std::iter::successors(entry(slot), parent).take((MAX_DEPTH as usize).saturating_add(1))
    }

    /// Returns how many sessions the ancestry has, the session included.
    #[must_use]
    pub fn depth_of(&self, slot: SessionSlot) -> usize {
        self.ancestry(slot).count()
    }

    /// Returns the root of the session's tree: the session itself if it has no parent.
    #[must_use]
    pub fn root_of(&self, slot: SessionSlot) -> Option<SessionSlot> {
        self.ancestry(slot).last().map(|(root, _)| root)
    }

    /// Returns the sessions that were delegated from this one, oldest first.
    pub fn children_of(&self, slot: SessionSlot) -> impl Iterator<Item = SessionSlot> {
        let parent = self.entries.get(slot);
        let first = parent.and_then(|entry| entry.children.first());
        std::iter::successors(first, |slot| self.entries.get(*slot)?.siblings.after())
    }

    /// Returns all sessions below this one, parents before their children.
    #[must_use]
    pub fn descendants_of(&self, slot: SessionSlot) -> Vec<SessionSlot> {
        let mut descendants: Vec<SessionSlot> = self.children_of(slot).collect();
        let mut index = 0;
        while let Some(slot) = descendants.get(index).copied() {
            index = index.saturating_add(1);
            descendants.extend(self.children_of(slot));
        }
        descendants
    }

    /// Appends a session to the children of another.
    pub fn add_child(&mut self, parent: SessionSlot, child: SessionSlot) {
        let Some(mut children) = self.entries.get(parent).map(|entry| entry.children) else {
            debug_assert!(false, "the parent of a child must exist");
            return;
        };
        children.push(&mut self.entries, child, Entry::siblings);
        if let Some(entry) = self.entries.get_mut(parent) {
            entry.children = children;
        }
    }

    /// Removes a session from the children of its parent. Returns the root of the tree that it was
    /// in, or `None` if it was the root.
    pub fn remove_from_parent(&mut self, slot: SessionSlot) -> Option<SessionSlot> {
        let entry = self.entries.get_mut(slot)?;
        let siblings = entry.siblings;
        let parent = entry.parent.take()?;
        let mut children = self.entries.get(parent)?.children;
        children.remove(&mut self.entries, siblings, Entry::siblings);
        self.entries.get_mut(parent)?.children = children;
        self.root_of(parent)
    }

    /// Subtracts descendants of a root that have ended or were separated from it.
    pub fn subtract_descendants(&mut self, root: Option<SessionSlot>, count: u32) {
        if let Some(root) = root.and_then(|root| self.entries.get_mut(root)) {
            root.descendants = root.descendants.saturating_sub(count);
        }
    }

    /// Unlinks the session from its parent and its children, because a newer record replaces it.
    /// The children become orphans until that record is restored. Returns the children.
    pub fn separate(&mut self, slot: SessionSlot) -> Vec<SessionSlot> {
        let Some(id) = self.entries.get(slot).map(|entry| entry.session.id) else {
            return Vec::new();
        };
        let children: Vec<SessionSlot> = self.children_of(slot).collect();
        for child in &children {
            let size = self.tree_size(*child);
            let root = self.remove_from_parent(*child);
            self.subtract_descendants(root, size);
            if let Some(entry) = self.entries.get_mut(*child) {
                entry.descendants = size.saturating_sub(1);
            }
            self.add_orphan(id, *child);
        }
        let root = self.remove_from_parent(slot);
        self.subtract_descendants(root, 1);
        children
    }

    /// Adds a child that was restored before its parent.
    pub fn add_orphan(&mut self, parent: SessionId, child: SessionSlot) {
        let known = self.orphans_by_parent.get(parent.key());
        if let Some(children) = known.and_then(|slot| self.orphans.get_mut(slot)) {
            children.push(child);
        } else {
            let slot = self.orphans.insert(vec![child]);
            self.orphans_by_parent.insert(parent.key(), slot);
        }
    }

    /// Takes the slots of children that were restored before this parent. A slot may have another
    /// session by now, and may be in the list twice; see [`SessionTable::is_orphan_of`].
    pub fn take_orphans(&mut self, parent: SessionId) -> Vec<SessionSlot> {
        let known = self.orphans_by_parent.remove(parent.key());
        let orphans = known.and_then(|slot| self.orphans.remove(slot));
        orphans.unwrap_or_default()
    }

    /// Returns whether the session in this slot is an orphan of this parent.
    #[must_use]
    pub fn is_orphan_of(&self, slot: SessionSlot, parent: SessionId) -> bool {
        let entry = self.entries.get(slot);
        entry.is_some_and(|entry| entry.is_orphan() && entry.session.parent == Some(parent))
    }

    /// Drops the lists of orphans at the end of a restore. Their parents were not restored.
    pub fn drop_orphans(&mut self) {
        self.orphans_by_parent = Table::default();
        self.orphans = Slab::new();
    }

    /// Links an orphan, with all its descendants, to its parent. Returns false if the parent is one
    /// of the descendants, or if the tree would be deeper than any configuration allows. Only
    /// records that no instance has written say so.
    pub fn attach(&mut self, parent: SessionSlot, child: SessionSlot) -> bool {
        let descendants = self.descendants_of(child);
        // The last one is one of the deepest.
        let deepest = descendants.last().copied().unwrap_or(child);
        let depth = self.depth_of(parent).saturating_add(self.depth_of(deepest));
        let root = self.root_of(parent);
        if root == Some(child) || depth > (MAX_DEPTH as usize).saturating_add(1) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(child) {
            entry.parent = Some(parent);
            entry.siblings = Links::NONE;
            entry.descendants = 0;
        }
        self.add_child(parent, child);
        if let Some(root) = root.and_then(|root| self.entries.get_mut(root)) {
            let size = u32::try_from(descendants.len()).unwrap_or(u32::MAX);
            root.descendants = root.descendants.saturating_add(size).saturating_add(1);
        }
        true
    }

    /// Returns how many sessions the tree below this one has, this one included.
    fn tree_size(&self, slot: SessionSlot) -> u32 {
        let size = self.descendants_of(slot).len().saturating_add(1);
        u32::try_from(size).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures::{add, session_id};

    #[test]
    fn r26_descendants_are_listed_parents_first_and_ancestors_up_to_the_root() {
        let mut sessions = SessionTable::default();
        let root = add(&mut sessions, 1, None, 100);
        let first = add(&mut sessions, 2, Some(1), 100);
        let second = add(&mut sessions, 3, Some(1), 100);
        let below_first = add(&mut sessions, 4, Some(2), 100);
        assert_eq!(sessions.descendants_of(root), [first, second, below_first]);
        let ancestry = sessions.ancestry(below_first).map(|(slot, _)| slot);
        assert!(ancestry.eq([below_first, first, root]));
        assert_eq!(sessions.remove_from_parent(first), Some(root));
        assert_eq!(sessions.descendants_of(root), [second]);
        assert_eq!(sessions.root_of(below_first), Some(first));
    }

    #[test]
    fn r26_an_orphan_is_not_linked_to_its_descendant_nor_below_the_greatest_depth() {
        let mut sessions = SessionTable::default();
        let orphan = add(&mut sessions, 1, None, 100);
        let below = add(&mut sessions, 2, Some(1), 100);
        assert!(!sessions.attach(below, orphan) && !sessions.attach(orphan, orphan));
        let mut deepest = add(&mut sessions, 10, None, 100);
        for number in 11..=25 {
            deepest = add(&mut sessions, number, Some(number - 1), 100);
        }
        // With its descendant, it would be the 17th session below each other.
        assert!(!sessions.attach(deepest, orphan));
        let above = sessions.get(deepest).unwrap().parent.unwrap();
        assert!(sessions.attach(above, orphan));
        assert_eq!(sessions.ancestry(below).count(), 17);
    }

    #[test]
    fn r23_the_children_of_a_replaced_session_are_orphans_until_its_newer_record_is_restored() {
        let mut sessions = SessionTable::default();
        let root = add(&mut sessions, 1, None, 100);
        let child = add(&mut sessions, 2, Some(1), 100);
        let grandchild = add(&mut sessions, 3, Some(2), 100);
        sessions.get_mut(root).unwrap().descendants = 2;
        assert_eq!(sessions.separate(child), [grandchild]);
        assert_eq!(sessions.get(root).unwrap().descendants, 0);
        sessions.remove(child).unwrap();
        assert!(sessions.is_orphan_of(grandchild, session_id(2)));

        let child = add(&mut sessions, 2, None, 100);
        assert!(sessions.attach(root, child));
        assert_eq!(sessions.take_orphans(session_id(2)), [grandchild]);
        assert!(sessions.attach(child, grandchild));
        assert!(!sessions.is_orphan_of(grandchild, session_id(2)));
        assert_eq!(sessions.descendants_of(root), [child, grandchild]);
        assert_eq!(sessions.get(root).unwrap().descendants, 2);
    }
}
