//! The records that a host stores.

use std::collections::BTreeMap;

use clawdb_session::{Change, ChangePage, Timestamp};

use crate::script::Script;
use crate::world::Manager;

/// The state key of all managers, except of those that are given another one.
pub const STATE_KEY: [u8; 32] = [5; 32];

/// The records that a host has stored.
#[derive(Default)]
pub struct Records {
    /// All versions of each record by key, the newest last.
    versions: BTreeMap<String, Vec<Change>>,
    read_to: u64,
}

impl Records {
    /// Reads the feed to its end, in pages of at most `limit` records.
    pub fn read(&mut self, manager: &Manager, limit: u32) {
        loop {
            let ChangePage {
                changes,
                next,
                more,
                ..
            } = manager.changes(self.read_to, limit).unwrap();
            assert!(next >= self.read_to && changes.len() <= limit as usize);
            self.read_to = next;
            for change in changes {
                let versions = self.versions.entry(change.key.clone()).or_default();
                let newest = versions.last().map_or(0, |it| it.sequence);
                assert!(change.sequence > newest, "a record was read again");
                versions.push(change);
            }
            if !more {
                return;
            }
        }
    }

    /// Returns the records that are needed at this time, or all for `None`: the newest version of
    /// each, and earlier ones that the script chooses. The script also chooses their order.
    pub fn needed(&self, now: Option<Timestamp>, script: &mut Script<'_>) -> Vec<Change> {
        let is_needed = |versions: &&Vec<Change>| {
            let newest = versions.last();
            let is_past = |at: Timestamp| now.is_some_and(|now| at <= now);
            newest.is_some_and(|it| !it.forget_at.is_some_and(is_past))
        };
        let mut changes = Vec::new();
        for versions in self.versions.values().filter(is_needed) {
            let earlier = match script.byte() {
                0..=127 => 1,
                other => usize::from(other) - 126,
            };
            changes.extend(versions.iter().rev().take(earlier).cloned());
        }
        for index in (1..changes.len()).rev() {
            changes.swap(index, script.below(256) % (index + 1));
        }
        changes
    }
}
